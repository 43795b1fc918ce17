package ociserver

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// page reads the n and last of a listing. empty says that n is 0.
func (r *request) page() (p registry.Page, empty bool, err error) {
	q := r.URL.Query()
	p.After = q.Get("last")
	if len(p.After) > oci.MaxName || strings.ContainsFunc(p.After, notPrintable) {
		return p, false, &protocolError{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "last is no name: it is too long, or has characters that no name has"}
	}
	if !q.Has("n") {
		return p, false, nil
	}
	n, err := strconv.ParseUint(q.Get("n"), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return p, false, &protocolError{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n must be a number of names from 0 on, such as 100"}
	}
	p.Limit = int(min(n, registry.MaxPage)) // out of range, n is the largest number
	return p, n == 0, nil
}

// next sets the Link to the page after last (RFC 8288; distribution-spec, "Listing Tags").
func next(h http.Header, path string, p registry.Page, last string, extra url.Values) {
	q := url.Values{"last": {last}}
	if p.Limit > 0 {
		q.Set("n", strconv.Itoa(p.Limit))
	}
	for k, v := range extra {
		q[k] = v
	}
	h["Link"] = []string{"<" + path + "?" + q.Encode() + `>; rel="next"`}
}

func (s *Server) tags(w *httpx.Response, req *request) error {
	p, empty, err := req.page()
	if err != nil {
		return err
	}
	if empty {
		p.Limit = 1 // whether it may be listed is still a question
	}
	names, more, err := s.Registry.Tags(req.Context(), req.caller, req.repo, p)
	if err != nil {
		return err
	}
	if empty {
		names, more = nil, false
	}
	if more {
		next(w.Header(), "/v2/"+req.path+"/tags/list", p, names[len(names)-1], nil)
	}
	return writeJSON(w, req, "application/json", namesJSON(`{"name":"`+req.path+`","tags":`, names))
}

// namesJSON writes names, which need no escaping, as an array behind head, and closes the object.
func namesJSON(head string, names []string) []byte {
	n := len(head) + 3
	for _, name := range names {
		n += len(name) + 3
	}
	b := append(make([]byte, 0, n), head...)
	b = append(b, '[')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, name...)
		b = append(b, '"')
	}
	return append(b, ']', '}')
}

func (s *Server) catalog(w *httpx.Response, req *request) error {
	p, empty, err := req.page()
	if err != nil {
		return err
	}
	if empty {
		p.Limit = 1
	}
	repos, more, err := s.Registry.Repositories(req.Context(), req.caller, req.repo.Account, p)
	if err != nil {
		return err
	}
	if empty {
		repos, more = nil, false
	}
	names := make([]string, len(repos))
	for i, r := range repos {
		names[i] = r.Name
	}
	if more {
		next(w.Header(), "/v2/_catalog", p, names[len(names)-1], nil)
	}
	return writeJSON(w, req, "application/json", namesJSON(`{"repositories":`, names))
}

func (s *Server) referrers(w *httpx.Response, req *request) error {
	d, err := req.digest()
	if err != nil {
		return err
	}
	p, empty, err := req.page()
	if err != nil {
		return err
	}
	if empty {
		p.Limit = 1
	}
	artifactType := req.URL.Query().Get("artifactType")
	if strings.ContainsFunc(artifactType, notPrintable) {
		return &protocolError{http.StatusBadRequest, "MANIFEST_INVALID", "artifactType is no media type"}
	}
	list, err := s.Registry.Referrers(req.Context(), req.caller, req.repo, d, artifactType, p)
	if err != nil {
		return err
	}
	if empty {
		list = &registry.Referrers{}
	}
	h := w.Header()
	var extra url.Values
	if artifactType != "" {
		h["Oci-Filters-Applied"] = []string{"artifactType"}
		extra = url.Values{"artifactType": {artifactType}}
	}
	if list.Next != "" {
		next(h, "/v2/"+req.path+"/referrers/"+string(d), p, list.Next, extra)
	}
	const head = `{"schemaVersion":2,"mediaType":"` + oci.TypeIndex + `","manifests":[`
	n := len(head) + 2
	for _, ref := range list.Descriptors {
		n += len(ref) + 1
	}
	b := append(make([]byte, 0, n), head...)
	for i, ref := range list.Descriptors {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, ref...)
	}
	return writeJSON(w, req, oci.TypeIndex, append(b, ']', '}'))
}
