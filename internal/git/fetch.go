package git

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
)

// maxHaves bounds a request for objects: what the client has, and what it wants.
const maxHaves = 64 << 20

// Protocol is the version of git's protocol that a client asks for, as in its Git-Protocol header. What is not known is
// left out, as it must be.
func Protocol(header string) string {
	for key := range strings.SplitSeq(header, ":") {
		if key == "version=1" || key == "version=2" {
			return key
		}
	}
	return ""
}

// AdvertiseFetch writes the refs of a repository, or what the server can do, for a client that is going to fetch. Errors:
// *iam.DeniedError, kinds NotFound, Invalid and Unavailable.
func (s *Service) AdvertiseFetch(ctx context.Context, c *iam.Caller, n Name, protocol string, w io.Writer) error {
	r, err := s.allowed(ctx, c, "Pull", n)
	if err != nil {
		return err
	}
	if err := s.Available(); err != nil {
		return err
	}
	head := &lazy{w: w}
	if protocol != "version=2" {
		head.first = "001e# service=git-upload-pack\n" + flushPacket
	}
	return s.upload(ctx, r, protocol, []string{"--http-backend-info-refs"}, nil, head)
}

// Upload answers a client's request for objects. Errors, as long as nothing was written: *iam.DeniedError, kinds NotFound,
// Invalid, TooLarge and Unavailable.
func (s *Service) Upload(ctx context.Context, c *iam.Caller, n Name, protocol string, body io.Reader, w io.Writer) error {
	r, err := s.allowed(ctx, c, "Pull", n)
	if err != nil {
		return err
	}
	over := errorf(TooLarge, "the request has more than %s; the client names too many commits", bytesText(maxHaves))
	return s.upload(ctx, r, protocol, nil, &capped{body, maxHaves, over}, w)
}

func (s *Service) upload(ctx context.Context, r *Repository, protocol string, args []string, in io.Reader, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Limits.Time)
	defer cancel()
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	out := &counter{w: w}
	p := &program{dir: s.folder(r.ID), stdin: in, stdout: out}
	p.args = append(append([]string{"upload-pack", "--strict", "--stateless-rpc"}, args...), p.dir)
	if protocol != "" {
		p.env = []string{"GIT_PROTOCOL=" + protocol}
	}
	err = s.run(ctx, p)
	if out.n > 0 && exitCode(err) > 0 {
		s.o.Logger.Info("a fetch was refused by git", "repo", r.ARN, "err", err)
		return nil // what it wrote tells the client; an error would break that off
	}
	if e, ok := errors.AsType[*exitError](err); ok && exitCode(err) > 0 {
		s.o.Logger.Warn("a fetch failed", "repo", r.ARN, "err", err)
		return errorf(Invalid, "git refused the request: %s", oneLine(e.stderr))
	}
	return err
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// lazy writes something before what is written first, and nothing if nothing is.
type lazy struct {
	w     io.Writer
	first string
}

func (l *lazy) Write(p []byte) (int, error) {
	if l.first != "" {
		if _, err := io.WriteString(l.w, l.first); err != nil {
			return 0, err
		}
		l.first = ""
	}
	return l.w.Write(p)
}
