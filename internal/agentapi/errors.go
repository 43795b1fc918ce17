package agentapi

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/sigv4"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pool"
)

func nameOf(s string) protoreflect.Name { return protoreflect.Name(s) }

var poolCodes = map[pool.Kind]connect.Code{
	pool.NotFound:      connect.CodeNotFound,
	pool.Exists:        connect.CodeAlreadyExists,
	pool.Invalid:       connect.CodeInvalidArgument,
	pool.InUse:         connect.CodeFailedPrecondition,
	pool.LimitExceeded: connect.CodeResourceExhausted,
	pool.Refused:       connect.CodePermissionDenied,
}

// translate returns the error that a call is answered with, and has the log told the whole of it.
func (s *Server) translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if n, ok := ctx.Value(notedKey{}).(*noted); ok {
		n.err = err
	}
	code, message := s.explain(err)
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e
	}
	if message == "" {
		message = "internal error; request id: " + callerOf(ctx).RequestID
	}
	return connect.NewError(code, errors.New(message))
}

func (s *Server) explain(err error) (connect.Code, string) {
	if e, ok := errors.AsType[*pool.Error](err); ok {
		return poolCodes[e.Kind], e.Message
	}
	if e, ok := errors.AsType[*iam.DeniedError](err); ok {
		return connect.CodePermissionDenied, e.Error()
	}
	if e, ok := errors.AsType[*oidc.Error](err); ok {
		return connect.CodePermissionDenied, e.Message
	}
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return connect.CodePermissionDenied, e.Message
	}
	for _, known := range []struct {
		err  error
		code connect.Code
	}{
		{work.ErrClaimLost, connect.CodeAborted},
		{work.ErrNotFound, connect.CodeNotFound},
		{work.ErrLogFull, connect.CodeOutOfRange},
		{iam.ErrThrottled, connect.CodeResourceExhausted},
		{iam.ErrInvalidCredentials, connect.CodeUnauthenticated},
		{iam.ErrTokenExpired, connect.CodeUnauthenticated},
		{iam.ErrUnknownKey, connect.CodeUnauthenticated},
		{iam.ErrSessionToken, connect.CodeUnauthenticated},
		{iam.ErrSessionExpired, connect.CodeUnauthenticated},
		{context.Canceled, connect.CodeCanceled},
		{context.DeadlineExceeded, connect.CodeDeadlineExceeded},
	} {
		if errors.Is(err, known.err) {
			return known.code, err.Error()
		}
	}
	if s.o.Explain != nil {
		if message := s.o.Explain(err); message != "" {
			return connect.CodeFailedPrecondition, message
		}
	}
	if meta.IsBusy(err) || errors.Is(err, meta.ErrClosed) || meta.IsFull(err) {
		return connect.CodeUnavailable, "the server can't write now; try again"
	}
	return connect.CodeInternal, ""
}

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, errorf(format, args...))
}
