package ociserver

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// maxTagParams bounds the ?tag= of one push (distribution-spec, "Pushing Manifests": at least 10).
const maxTagParams = 100

func (s *Server) ping(w *httpx.Response, req *request) error {
	return writeJSON(w, req, "application/json", []byte("{}"))
}

func (r *request) reference(w *httpx.Response) (oci.Reference, error) {
	ref, err := oci.ParseReference(r.last)
	if err != nil {
		code := "MANIFEST_INVALID"
		if strings.Contains(r.last, ":") {
			code = "DIGEST_INVALID"
		}
		return ref, &protocolError{http.StatusBadRequest, code, err.Error()}
	}
	w.Event.Tag, w.Event.Digest = ref.Tag, string(ref.Digest)
	return ref, nil
}

// getManifest answers GET and HEAD. Whatever Accept says, the manifest is served as it was pushed: another format would
// have another digest (distribution-spec, "Pulling manifests").
func (s *Server) getManifest(w *httpx.Response, req *request) error {
	ref, err := req.reference(w)
	if err != nil {
		return err
	}
	m, err := s.Registry.Manifest(req.Context(), req.caller, req.repo, ref)
	if err != nil {
		return err
	}
	w.Event.Digest = string(m.Digest)
	h := w.Header()
	h["Content-Type"] = []string{m.MediaType}
	return serveBytes(w, req, string(m.Digest), m.Data)
}

func (s *Server) putManifest(w *httpx.Response, req *request) error {
	ref, err := req.reference(w)
	if err != nil {
		return err
	}
	put := registry.ManifestPut{Digest: ref.Digest, MediaType: req.Header.Get("Content-Type")}
	if ref.Tag != "" {
		put.Tags = []string{ref.Tag}
	}
	extra := req.URL.Query()["tag"]
	switch {
	case len(extra) > maxTagParams:
		return &protocolError{http.StatusRequestURITooLong, "TAG_INVALID", "at most " + strconv.Itoa(maxTagParams) + " tag parameters are accepted"}
	case len(extra) > 0 && ref.Tag != "":
		return &protocolError{http.StatusBadRequest, "TAG_INVALID", "tag parameters go with a push by digest; this one is by tag"}
	}
	for _, tag := range extra {
		if err := oci.CheckTag(tag); err != nil {
			return &protocolError{http.StatusBadRequest, "TAG_INVALID", err.Error()}
		}
		put.Tags = append(put.Tags, tag)
	}
	if put.Data, err = httpx.ReadBody(req.Request, oci.MaxManifest); err != nil {
		return err
	}
	m, err := s.Registry.PutManifest(req.Context(), req.caller, req.repo, put)
	if err != nil {
		return err
	}
	w.Event.Digest = string(m.Digest)
	h := w.Header()
	h["Location"] = []string{"/v2/" + req.path + "/manifests/" + string(m.Digest)}
	h["Docker-Content-Digest"] = []string{string(m.Digest)}
	if m.Subject != "" {
		h["Oci-Subject"] = []string{string(m.Subject)}
	}
	if len(extra) > 0 {
		h["Oci-Tag"] = []string{strings.Join(extra, ", ")}
	}
	return writeStatus(w, http.StatusCreated)
}

func (s *Server) deleteManifest(w *httpx.Response, req *request) error {
	ref, err := req.reference(w)
	if err != nil {
		return err
	}
	if _, err := s.Registry.DeleteManifest(req.Context(), req.caller, req.repo, ref, registry.DeleteOptions{}); err != nil {
		return err
	}
	return writeStatus(w, http.StatusAccepted)
}

func writeStatus(w *httpx.Response, status int) error {
	w.Header()["Content-Length"] = zero
	w.WriteHeader(status)
	return nil
}

var zero = []string{"0"}

func writeJSON(w *httpx.Response, req *request, contentType string, body []byte) error {
	h := w.Header()
	h["Content-Type"] = []string{contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(body)
	return err
}
