package ociserver

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

var (
	octets      = []string{"application/octet-stream"}
	acceptBytes = []string{"bytes"}
)

func (s *Server) headBlob(w *httpx.Response, req *request) error {
	d, err := req.digest()
	if err != nil {
		return err
	}
	w.Event.Digest = string(d)
	desc, err := s.Registry.StatBlob(req.Context(), req.caller, req.repo, d)
	if err != nil {
		return err
	}
	h := w.Header()
	v := [3]string{string(d), `"` + string(d) + `"`, strconv.FormatInt(desc.Size, 10)}
	h["Docker-Content-Digest"] = v[0:1:1]
	h["Etag"] = v[1:2:2]
	h["Content-Length"] = v[2:3:3]
	h["Content-Type"] = octets
	h["Accept-Ranges"] = acceptBytes
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) getBlob(w *httpx.Response, req *request) error {
	d, err := req.digest()
	if err != nil {
		return err
	}
	w.Event.Digest = string(d)
	b, err := s.Registry.OpenBlob(req.Context(), req.caller, req.repo, d)
	if err != nil {
		return err
	}
	defer b.Close()
	h := w.Header()
	h["Content-Type"] = octets
	if b.Data != nil {
		h["Accept-Ranges"] = acceptBytes
		return serveBytes(w, req, string(d), b.Data)
	}
	h["Docker-Content-Digest"] = []string{string(d)}
	if b.URL != "" {
		h["Location"] = []string{b.URL}
		return writeStatus(w, http.StatusTemporaryRedirect)
	}
	h["Etag"] = []string{`"` + string(d) + `"`}
	return serveContent(w, req, b.Content, b.Size)
}

func (s *Server) deleteBlob(w *httpx.Response, req *request) error {
	d, err := req.digest()
	if err != nil {
		return err
	}
	w.Event.Digest = string(d)
	if err := s.Registry.DeleteBlob(req.Context(), req.caller, req.repo, d); err != nil {
		return err
	}
	return writeStatus(w, http.StatusAccepted)
}

// startUpload answers the three POSTs: a mount, a whole blob, and the start of an upload.
func (s *Server) startUpload(w *httpx.Response, req *request) error {
	q := req.URL.Query()
	if a := q.Get("digest-algorithm"); a != "" && a != "sha256" && a != "sha512" {
		return &protocolError{http.StatusBadRequest, "DIGEST_INVALID", "digest-algorithm must be sha256 or sha512"}
	}
	if q.Has("mount") {
		done, err := s.mount(w, req, q.Get("mount"), q.Get("from"))
		if done || err != nil {
			return err
		}
	}
	var want digest.Digest
	if q.Has("digest") {
		d, err := parseDigest(q.Get("digest"))
		if err != nil {
			return err
		}
		want = d
	}
	id, err := s.Registry.StartUpload(req.Context(), req.caller, req.repo)
	if err != nil {
		return err
	}
	if want != "" {
		return s.complete(w, req, id, want)
	}
	req.progress(w, id, 0)
	return writeStatus(w, http.StatusAccepted)
}

func parseDigest(s string) (digest.Digest, error) {
	d, err := oci.ParseDigest(s)
	if err != nil {
		return "", &protocolError{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	return d, nil
}

func (r *request) uploadPath(id string) string { return "/v2/" + r.path + "/blobs/uploads/" + id }

// mount answers 201 if the blob is to be had from another repository; else done is false and an upload is to start
// (distribution-spec, "Mounting a blob from another repository"), also where the caller may not read the source: clients
// try their luck with whatever repository they once saw the blob in. A header of that answer then says which action on
// the source was missing. Without from, any repository of the account that the caller may read will do.
func (s *Server) mount(w *httpx.Response, req *request, what, from string) (done bool, err error) {
	d, err := parseDigest(what)
	if err != nil {
		return false, err
	}
	w.Event.Digest = string(d)
	sources, err := s.sources(req, d, from)
	if err != nil {
		return false, err
	}
	for _, source := range sources {
		_, err := s.Registry.MountBlob(req.Context(), req.caller, req.repo, source, d)
		if _, denied := errors.AsType[*iam.DeniedError](err); denied {
			_, a := explain(err, w.Event.RequestID)
			w.Header()["Sekisho-Mount-Error"] = []string{printable(a.Code + ": " + a.Message)}
			continue // if it is the push that is denied, so is the upload
		}
		if errors.Is(err, registry.ErrOf(registry.BlobUnknown)) {
			continue
		}
		if err != nil {
			return false, err
		}
		return true, created(w, req, d)
	}
	return false, nil
}

func (s *Server) sources(req *request, d digest.Digest, from string) ([]registry.Repo, error) {
	if from == "" {
		return s.Registry.Holders(req.Context(), req.caller, req.repo.Account, d)
	}
	source := s.repo(from, req.repo.Account)
	if oci.CheckName(source.Name) != nil {
		return nil, nil // nothing can be there, so the client is told to upload
	}
	return []registry.Repo{source}, nil
}

func created(w *httpx.Response, req *request, d digest.Digest) error {
	h := w.Header()
	h["Location"] = []string{"/v2/" + req.path + "/blobs/" + string(d)}
	h["Docker-Content-Digest"] = []string{string(d)}
	return writeStatus(w, http.StatusCreated)
}

// chunk reads where the body of a PATCH or PUT goes, and returns the body, which fails if it has not the bytes that its
// Content-Range says.
func (r *request) chunk() (at int64, body io.Reader, err error) {
	v := r.Header.Get("Content-Range")
	if v == "" {
		return registry.AtEnd, r.Body, nil
	}
	first, last, err := oci.ContentRange(v)
	if err != nil {
		return 0, nil, &protocolError{http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", err.Error()}
	}
	n := last - first + 1
	switch {
	case n < 0: // more than there are numbers for
		return 0, nil, &protocolError{http.StatusRequestEntityTooLarge, "SIZE_INVALID", "Content-Range says more bytes than a layer may have"}
	case r.ContentLength < 0:
		return first, &chunkReader{body: r.Body, left: n}, nil
	case r.ContentLength != n:
		return 0, nil, &protocolError{http.StatusBadRequest, "SIZE_INVALID", "Content-Range says " + strconv.FormatInt(n, 10) + " bytes, Content-Length says " + strconv.FormatInt(r.ContentLength, 10)}
	}
	return first, r.Body, nil
}

// chunkReader fails where a body of unknown length ends before or after what its Content-Range says.
type chunkReader struct {
	body io.Reader
	left int64
}

func (c *chunkReader) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if int64(n) > c.left {
		n, err = int(c.left), errChunkLength
	}
	c.left -= int64(n)
	if err == io.EOF && c.left > 0 {
		err = errChunkLength
	}
	return n, err
}

var errChunkLength = &protocolError{http.StatusBadRequest, "SIZE_INVALID", "the body has not as many bytes as its Content-Range says; ask for the upload's status and go on from there"}

func (s *Server) appendUpload(w *httpx.Response, req *request) error {
	at, body, err := req.chunk()
	if err != nil {
		return err
	}
	size, err := s.Registry.AppendUpload(req.Context(), req.caller, req.repo, req.last, at, body)
	if err != nil {
		return req.outOfRange(w, req.last, err)
	}
	req.progress(w, req.last, size)
	return writeStatus(w, http.StatusAccepted)
}

// progress says where an upload stands. An upload without bytes has no last one; 0-0 is what clients expect then.
func (r *request) progress(w *httpx.Response, id string, size int64) {
	h := w.Header()
	h["Location"] = []string{r.uploadPath(id)}
	h["Docker-Upload-Uuid"] = []string{id}
	h["Range"] = []string{"0-" + strconv.FormatInt(max(size-1, 0), 10)}
}

// outOfRange adds to a 416 what the client needs to go on.
func (r *request) outOfRange(w *httpx.Response, id string, err error) error {
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Kind == registry.RangeInvalid {
		r.progress(w, id, e.Offset)
	}
	return err
}

func (s *Server) completeUpload(w *httpx.Response, req *request) error {
	q := req.URL.Query()
	if !q.Has("digest") {
		return &protocolError{http.StatusBadRequest, "DIGEST_INVALID", "the digest parameter is missing; it says what the whole upload must be"}
	}
	d, err := parseDigest(q.Get("digest"))
	if err != nil {
		return err
	}
	return s.complete(w, req, req.last, d)
}

func (s *Server) complete(w *httpx.Response, req *request, id string, d digest.Digest) error {
	w.Event.Digest = string(d)
	at, body, err := req.chunk()
	if err != nil {
		return err
	}
	end := registry.UploadEnd{Digest: d, At: at, Size: req.ContentLength}
	if req.Body != nil && req.Body != http.NoBody {
		end.Body = body
	}
	if _, err := s.Registry.CompleteUpload(req.Context(), req.caller, req.repo, id, end); err != nil {
		return req.outOfRange(w, id, err)
	}
	return created(w, req, d)
}

func (s *Server) uploadStatus(w *httpx.Response, req *request) error {
	size, err := s.Registry.UploadSize(req.Context(), req.caller, req.repo, req.last)
	if err != nil {
		return err
	}
	req.progress(w, req.last, size)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) cancelUpload(w *httpx.Response, req *request) error {
	if err := s.Registry.CancelUpload(req.Context(), req.caller, req.repo, req.last); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
