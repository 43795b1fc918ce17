package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// ask makes a call of a job until there is an answer, or the claim is lost.
func ask[Q, A any](ctx context.Context, r *remote, do func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *Q) (*A, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-r.lost:
			cancel(work.ErrClaimLost)
		case <-ctx.Done():
		}
	}()
	out, err := retry(ctx, func(ctx context.Context) (*connect.Response[A], error) { return do(ctx, connect.NewRequest(q)) })
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		err = result(err)
		if errors.Is(err, work.ErrClaimLost) {
			r.lose()
		}
		return nil, err
	}
	return out.Msg, nil
}

// Attach implements [work.Server].
func (r *remote) Attach(ctx context.Context, a work.Attachment) error {
	if len(a.Data) > rpc.MaxAttachment {
		return fmt.Errorf("the attachment %s has %d bytes; %d are the most", a.Name, len(a.Data), rpc.MaxAttachment)
	}
	_, err := ask(ctx, r, r.client.Attach, &agentv1.AttachRequest{Claim: r.claim, Step: a.Step, Type: a.Type, Name: a.Name, Data: a.Data})
	return err
}

// SetRunNumber implements [work.Server].
func (r *remote) SetRunNumber(ctx context.Context, number string) error {
	_, err := ask(ctx, r, r.client.SetRunNumber, &agentv1.SetRunNumberRequest{Claim: r.claim, Number: number})
	return err
}

// AddTag implements [work.Server].
func (r *remote) AddTag(ctx context.Context, tag string) error {
	_, err := ask(ctx, r, r.client.AddTag, &agentv1.AddTagRequest{Claim: r.claim, Tag: tag})
	return err
}

// FinishArtifact implements [work.Server].
func (r *remote) FinishArtifact(ctx context.Context, artifact, kind string, properties map[string]string) error {
	_, err := ask(ctx, r, r.client.FinishArtifact, &agentv1.FinishArtifactRequest{Claim: r.claim, Artifact: artifact, Kind: kind, Properties: properties})
	return err
}

// Artifacts implements [work.Server].
func (r *remote) Artifacts(ctx context.Context, run int64) ([]work.Artifact, error) {
	out, err := ask(ctx, r, r.client.Artifacts, &agentv1.ArtifactsRequest{Claim: r.claim, Run: run})
	if err != nil {
		return nil, err
	}
	list := make([]work.Artifact, 0, len(out.GetArtifacts()))
	for _, a := range out.GetArtifacts() {
		list = append(list, work.Artifact{Name: a.GetName(), Kind: a.GetKind(), Properties: a.GetProperties(), Files: int(a.GetFiles()), Size: a.GetSize()})
	}
	return list, nil
}

// Files implements [work.Server].
func (r *remote) Files(ctx context.Context, run int64, artifact string) iter.Seq2[work.File, error] {
	return func(yield func(work.File, error) bool) {
		after := ""
		for {
			out, err := ask(ctx, r, r.client.Files, &agentv1.FilesRequest{Claim: r.claim, Run: run, Artifact: artifact, After: after})
			if err != nil {
				yield(work.File{}, err)
				return
			}
			for _, f := range out.GetFiles() {
				if !yield(work.File{Name: f.GetName(), Size: f.GetSize(), SHA256: f.GetSha256()}, nil) {
					return
				}
				after = f.GetName()
			}
			if !out.GetMore() || len(out.GetFiles()) == 0 {
				return
			}
		}
	}
}

// Runs implements [work.Server].
func (r *remote) Runs(ctx context.Context, q work.RunQuery) ([]int64, error) {
	out, err := ask(ctx, r, r.client.Runs, &agentv1.RunsRequest{
		Claim: r.claim, Project: q.Project, Pipeline: q.Pipeline, Branch: q.Branch, Tags: q.Tags, Run: q.Run, AllowPartial: q.AllowPartial, AllowFailed: q.AllowFailed,
	})
	return out.GetRuns(), err
}

// IdentityToken implements [work.Server].
func (r *remote) IdentityToken(ctx context.Context, audience string) (string, error) {
	out, err := ask(ctx, r, r.client.IdentityToken, &agentv1.IdentityTokenRequest{Claim: r.claim, Audience: audience})
	return out.GetToken(), err
}

// Login implements [work.Server].
func (r *remote) Login(ctx context.Context) (*work.Credentials, error) {
	out, err := ask(ctx, r, r.client.Login, &agentv1.LoginRequest{Claim: r.claim})
	if err != nil {
		return nil, err
	}
	if out.GetAccessKeyId() == "" {
		return nil, errors.New("the job has no identity of its own")
	}
	return &work.Credentials{
		AccessKeyID: out.GetAccessKeyId(), SecretAccessKey: out.GetSecretAccessKey(), SessionToken: out.GetSessionToken(), Expires: out.GetExpires().AsTime(),
	}, nil
}

// Approve implements [work.Server].
func (r *remote) Approve(ctx context.Context, step, instructions string, notify []string, timeout time.Duration, onTimeout string) (work.Result, string, error) {
	for {
		out, err := ask(ctx, r, r.client.Approve, &agentv1.ApproveRequest{
			Claim: r.claim, Step: step, Instructions: instructions, Notify: notify, Timeout: durationpb.New(timeout), OnTimeout: onTimeout,
		})
		if err != nil {
			return "", "", err
		}
		if out.GetResult() != "" {
			return work.Result(out.GetResult()), out.GetMessage(), nil
		}
	}
}

func (r *remote) fileURL(q url.Values) string {
	q.Set("job", r.claim.GetJob())
	q.Set("attempt", strconv.Itoa(int(r.claim.GetAttempt())))
	return r.client.base + rpc.FilesPath + "?" + q.Encode()
}

// PutFile implements [work.Server]. The file is hashed first, because what is sent is signed; what can't be read twice goes through
// a temporary file.
func (r *remote) PutFile(ctx context.Context, artifact, kind, name string, size int64, from io.Reader) error {
	sum := sha256.New()
	source, ok := from.(io.ReadSeeker)
	var start int64
	if ok {
		var err error
		if start, err = source.Seek(0, io.SeekCurrent); err != nil {
			ok = false
		}
	}
	if !ok {
		temp, err := os.CreateTemp(r.spool.dir, "put-*")
		if err != nil {
			return fmt.Errorf("upload %s: %w", name, err)
		}
		defer os.Remove(temp.Name())
		defer temp.Close()
		if err := copyExactly(io.MultiWriter(temp, sum), from, size); err != nil {
			return fmt.Errorf("upload %s: %w", name, err)
		}
		source, start = temp, 0
	} else if err := copyExactly(sum, source, size); err != nil {
		return fmt.Errorf("upload %s: %w", name, err)
	}
	body := &payload{sum: sumOf(sum), size: size, open: func() (io.ReadCloser, error) {
		if size == 0 {
			return http.NoBody, nil
		}
		if _, err := source.Seek(start, io.SeekStart); err != nil {
			return nil, err
		}
		return io.NopCloser(&exact{source, size}), nil
	}}
	q := url.Values{"artifact": {artifact}, "kind": {kind}, "name": {name}}
	resp, err := r.file(ctx, http.MethodPut, r.fileURL(q), body)
	if err != nil {
		return fmt.Errorf("upload %s: %w", name, err)
	}
	return resp.Body.Close()
}

func sumOf(h hash.Hash) (sum [sha256.Size]byte) {
	copy(sum[:], h.Sum(nil))
	return sum
}

// copyExactly copies a file that has the size that it is said to have.
func copyExactly(to io.Writer, from io.Reader, size int64) error {
	n, err := io.Copy(to, io.LimitReader(from, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("the file has not the %d bytes that it had before: it changes while it is read", size)
	}
	return err
}

// exact reads so many bytes and then none. It is a type of its own, so that nothing closes or seeks what it reads from.
type exact struct {
	r    io.Reader
	left int64
}

func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	return n, err
}

// file puts or gets a file, until there is an answer.
func (r *remote) file(ctx context.Context, method, target string, body *payload) (*http.Response, error) {
	resp, err := retry(ctx, func(ctx context.Context) (*http.Response, error) {
		select {
		case <-r.lost:
			return nil, connect.NewError(connect.CodeAborted, work.ErrClaimLost)
		default:
		}
		req, err := http.NewRequestWithContext(context.WithValue(ctx, payloadKey{}, body), method, target, nil)
		if err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		if method == http.MethodPut {
			req.Header.Set("Content-Type", "application/octet-stream")
		}
		resp, err := r.client.http.Do(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 300 {
			defer resp.Body.Close()
			return nil, parseError(resp)
		}
		return resp, nil
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = result(err)
		if errors.Is(err, work.ErrClaimLost) {
			r.lose()
		}
		return nil, err
	}
	return resp, nil
}

// GetFile implements [work.Server].
func (r *remote) GetFile(ctx context.Context, run int64, artifact, name string) (io.ReadCloser, error) {
	q := url.Values{"artifact": {artifact}, "name": {name}, "run": {strconv.FormatInt(run, 10)}}
	empty := &payload{sum: sha256.Sum256(nil), open: func() (io.ReadCloser, error) { return http.NoBody, nil }}
	resp, err := r.file(ctx, http.MethodGet, r.fileURL(q), empty)
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", name, err)
	}
	return resp.Body, nil
}
