package agentapi

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"

	"connectrpc.com/connect"

	"github.com/sekisho/sekisho/internal/httpx"
)

// serveFile puts or gets a file of an artifact.
func (s *Server) serveFile(w *httpx.Response, r *http.Request, c *caller) error {
	w.Event.Operation = "AgentGetFile"
	if r.Method == http.MethodPut {
		w.Event.Operation = "AgentPutFile"
	} else if r.Method != http.MethodGet {
		return &httpx.Error{Status: http.StatusMethodNotAllowed, Message: "files are put and got"}
	}
	if err := s.authenticate(r.Context(), c, r.Method); err != nil {
		return s.failFile(w, r, err)
	}
	w.Event.Principal = c.agent.ARN
	q := r.URL.Query()
	attempt, err := strconv.Atoi(q.Get("attempt"))
	claim := Claim{Job: q.Get("job"), Attempt: attempt, Agent: c.agent.ID}
	if err != nil || claim.Job == "" || attempt < 1 {
		return s.failFile(w, r, invalid("the call names no job"))
	}
	artifact, kind, name := q.Get("artifact"), q.Get("kind"), q.Get("name")
	err = checkFields(field{"the job's id", claim.Job, maxID}, field{"the artifact's name", artifact, maxID}, field{"the kind", kind, maxID},
		field{"the file's name", name, maxText})
	if err != nil {
		return s.failFile(w, r, err)
	}
	if r.Method == http.MethodPut {
		if r.ContentLength < 0 {
			return s.failFile(w, r, invalid("the length of the file must be stated"))
		}
		body := newCheckedBody(r.Body, r.ContentLength, c.proof.Body)
		if err := s.o.Jobs.Server(claim).PutFile(r.Context(), artifact, kind, name, r.ContentLength, body); err != nil {
			return s.failFile(w, r, err)
		}
		if _, err := io.Copy(io.Discard, body); err != nil { // of an empty file, nothing was read
			return s.failFile(w, r, err)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if c.proof.Body != sha256.Sum256(nil) {
		return s.failFile(w, r, connect.NewError(connect.CodeUnauthenticated, errBody))
	}
	run, err := strconv.ParseInt(q.Get("run"), 10, 64)
	if err != nil || run < 0 {
		return s.failFile(w, r, invalid("the call names no run"))
	}
	f, err := s.o.Jobs.Server(claim).GetFile(r.Context(), run, artifact, name)
	if err != nil {
		return s.failFile(w, r, err)
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, err = io.Copy(w, f)
	return err
}

// failFile answers an error in the form of a unary call, and returns the whole of it for the log.
func (s *Server) failFile(w *httpx.Response, r *http.Request, err error) error {
	if w.Written() {
		return err
	}
	if e, ok := errors.AsType[*httpx.BodyError](err); ok {
		return e
	}
	told, ok := errors.AsType[*connect.Error](err)
	if !ok {
		code, message := s.explain(err)
		if message == "" {
			message = "internal error; request id: " + w.Event.RequestID
		}
		told = connect.NewError(code, errors.New(message))
	}
	unary := r.Clone(r.Context())
	unary.Method = http.MethodPost
	unary.Header.Set("Content-Type", "application/json")
	_ = s.errors.Write(w, unary, told)
	return err
}

var errBody = errors.New("the body is not the one that the proof is over")

// checkedBody is a body that ends with an error, and without its last bytes, unless it is the one that a proof is over.
type checkedBody struct {
	r       io.Reader
	hash    hash.Hash
	left    int64
	want    [sha256.Size]byte
	checked bool
}

// newCheckedBody returns the body of so many bytes with a hash.
func newCheckedBody(r io.Reader, size int64, want [sha256.Size]byte) *checkedBody {
	return &checkedBody{r: io.LimitReader(r, size), hash: sha256.New(), left: size, want: want}
}

func (b *checkedBody) Read(p []byte) (int, error) {
	if b.checked {
		return 0, io.EOF
	}
	n, err := b.r.Read(p)
	b.hash.Write(p[:n])
	b.left -= int64(n)
	if b.left > 0 && err == nil {
		return n, nil
	}
	if err != nil && err != io.EOF {
		return 0, err
	}
	if b.left != 0 || [sha256.Size]byte(b.hash.Sum(nil)) != b.want {
		return 0, connect.NewError(connect.CodeUnauthenticated, fmt.Errorf("read file: %w", errBody))
	}
	b.checked = true
	return n, io.EOF
}
