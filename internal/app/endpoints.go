package app

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

// Check reports what is wrong with a configuration that only a part behind it can judge: the policies of endpoints. It
// is for [config.Options].
func Check(c *config.Config, report func(key string, err error)) {
	for i := range c.Endpoints {
		if _, err := endpointPolicy(&c.Endpoints[i]); err != nil {
			report(fmt.Sprintf("endpoints[%d].policy", i), err)
		}
	}
}

// maxPolicyFile bounds what is read of a policy's file; the parser has a limit of its own.
const maxPolicyFile = 1 << 20

// endpointPolicy reads the policy of an endpoint. It is nil if there is none.
func endpointPolicy(e *config.Endpoint) (*policy.Policy, error) {
	text, where := []byte(e.Policy), ""
	switch {
	case e.Policy == "":
		return nil, nil
	case !strings.HasPrefix(strings.TrimSpace(e.Policy), "{"):
		f, err := os.Open(e.Policy)
		if err != nil {
			return nil, fmt.Errorf("it is neither a JSON object nor the name of a file: %w", err)
		}
		defer f.Close()
		if text, err = io.ReadAll(io.LimitReader(f, maxPolicyFile)); err != nil {
			return nil, err
		}
		where = e.Policy + ": "
	}
	p, err := policy.Parse(text, policy.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("%s%w", where, err)
	}
	return p, nil
}

// endpointPolicies returns the policies of the endpoints that have one, by the endpoint's id.
func endpointPolicies(c *config.Config) (map[string]policy.Named, error) {
	policies := map[string]policy.Named{}
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		p, err := endpointPolicy(e)
		if err != nil {
			return nil, fmt.Errorf("policy of the private endpoint %s: %w", e.ID, err)
		}
		if p != nil {
			policies[e.ID] = policy.Named{Name: "endpoint policy of " + e.ID, Policy: p}
		}
	}
	return policies, nil
}

// ways returns every address to serve on and what comes in there, in the order of [config.Config.Addresses].
func ways(c *config.Config) (addrs []string, options []httpx.ListenOptions) {
	known := map[string]*httpx.Endpoint{}
	var senders []httpx.Sender
	for _, e := range c.Endpoints {
		known[e.ID] = &httpx.Endpoint{ID: e.ID, VPC: e.VPC,
			Proxies: httpx.Proxies{Trusted: e.Forwarders, Forwarded: c.Proxies.Header == "forwarded"}}
		if len(e.Senders) > 0 {
			senders = append(senders, httpx.Sender{Prefixes: e.Senders, Endpoint: known[e.ID]})
		}
	}
	if len(c.ProxyProtocol.Trusted) > 0 { // after those that lead to one endpoint alone
		senders = append(senders, httpx.Sender{Prefixes: c.ProxyProtocol.Trusted})
	}
	for range c.Listen {
		options = append(options, httpx.ListenOptions{})
	}
	for range c.ProxyProtocol.Listen {
		options = append(options, httpx.ListenOptions{Senders: senders, Endpoints: known})
	}
	for _, e := range c.Endpoints {
		own := httpx.ListenOptions{Endpoint: known[e.ID]}
		if len(e.Senders) > 0 {
			own.Senders = []httpx.Sender{{Prefixes: e.Senders, Endpoint: known[e.ID]}}
		}
		for range e.Listen {
			options = append(options, own)
		}
	}
	return c.Addresses(), options
}

// dkr is the service of /v2/, as endpoints have it; the one of the JSON API goes by another name there too.
const dkr = "ecr.dkr"

// endpointService returns what an AWS service is called where an endpoint lists it.
func endpointService(name string) string {
	if name == "ecr" {
		return "ecr.api"
	}
	return name
}

// endpoint returns the configuration of an endpoint, nil if there is none.
func (in *Instance) endpoint(id string) *config.Endpoint {
	i := slices.IndexFunc(in.Config.Endpoints, func(e config.Endpoint) bool { return e.ID == id })
	if i < 0 {
		return nil
	}
	return &in.Config.Endpoints[i]
}

// leads returns an error unless the endpoint that a request came through is there and leads to a service. Where it came
// through none, everything is reached.
func (in *Instance) leads(id, service string) error {
	if id == "" {
		return nil
	}
	switch e := in.endpoint(id); {
	case e == nil:
		return &httpx.EndpointError{Endpoint: id}
	case len(e.Services) > 0 && !slices.Contains(e.Services, service):
		return &httpx.EndpointError{Endpoint: id, Service: service}
	}
	return nil
}

// admit is leads for a caller; a refusal of an action is in the audit record.
func (in *Instance) admit(c *iam.Caller, service, action string) error {
	err := in.leads(c.Endpoint, service)
	if err != nil && action != "" {
		e := event(c, action, "*")
		e.Reason = err.Error()
		in.Audit.Record(e)
	}
	return err
}
