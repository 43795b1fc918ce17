package iam

import (
	"net/http"

	"github.com/sekisho/sekisho/internal/httpx"
)

// FactsOf fills in the facts of the request that a caller makes, all but Arrived. Every protocol calls it: one that knew a fact less
// would let through what policies say of that fact.
func (c *Caller) FactsOf(w *httpx.Response, r *http.Request) {
	c.SourceIP, c.SecureTransport = w.Origin.Client, w.Origin.Secure
	c.Endpoint, c.VPC = w.Origin.Endpoint, w.Origin.VPC
	c.RequestID, c.UserAgent = w.Event.RequestID, r.UserAgent()
}
