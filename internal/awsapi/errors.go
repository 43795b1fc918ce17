package awsapi

import (
	"errors"
	"net/http"

	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/sigv4"
	"github.com/sekisho/sekisho/internal/meta"
)

// Error is an error as clients see it. Services in JSON use the SDK's type for an error instead where it has one: its
// members are in the answer. In XML there are a code and a message only.
type Error struct {
	Code    string
	Message string
	Status  int // 0: 400
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrorCode implements [smithy.APIError].
func (e *Error) ErrorCode() string { return e.Code }

// ErrorMessage implements [smithy.APIError].
func (e *Error) ErrorMessage() string { return e.Message }

// ErrorFault implements [smithy.APIError].
func (e *Error) ErrorFault() smithy.ErrorFault {
	if e.Status >= http.StatusInternalServerError {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}

// fault is an error that every service can answer. What it is called depends on the protocol.
type fault uint8

const (
	faultUnsigned fault = iota + 1
	faultIncomplete
	faultSignature
	faultUnknownKey
	faultExpiredToken
	faultDenied
	faultThrottled
	faultMalformed
	faultInput
	faultInvalid
	faultUnknownOperation
	faultUnsupported
	faultTooLarge
	faultTimeout
)

// called is the code and status of a fault in a protocol.
type called struct {
	code   string
	status int
}

var signatureFaults = map[sigv4.Kind]fault{
	sigv4.Missing:    faultUnsigned,
	sigv4.Incomplete: faultIncomplete,
	sigv4.Invalid:    faultSignature,
}

var errBusy = errors.New("the server is reading as many large requests as it can hold")

// malformed is a body that is not what its protocol says.
type malformed struct {
	message string
	input   bool // it could be read, but not as the input of the operation
}

func (e *malformed) Error() string { return e.message }

// invalidInput is an input that breaks constraints of its model.
type invalidInput struct{ message string }

func (e *invalidInput) Error() string { return e.message }

// unsupported is a request for an operation that AWS has and this server does not.
type unsupported struct{ message string }

func (e *unsupported) Error() string { return e.message }

// unknownOperation is a request for what nobody serves.
type unknownOperation struct{ message string }

func (e *unknownOperation) Error() string { return e.message }

// faultOf returns the fault that err is and how to say it, if it is one.
func faultOf(err error, requestID string) (f fault, message string, ok bool) {
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return signatureFaults[e.Kind], e.Message + e.Detail, true
	}
	if e, ok := errors.AsType[*iam.DeniedError](err); ok {
		return faultDenied, e.Message(requestID), true
	}
	if e, ok := errors.AsType[*httpx.EndpointError](err); ok {
		return faultDenied, e.Error(), true
	}
	if e, ok := errors.AsType[*malformed](err); ok {
		if e.input {
			return faultInput, e.message, true
		}
		return faultMalformed, e.message, true
	}
	if e, ok := errors.AsType[*invalidInput](err); ok {
		return faultInvalid, e.message, true
	}
	if e, ok := errors.AsType[*unsupported](err); ok {
		return faultUnsupported, e.message, true
	}
	if e, ok := errors.AsType[*unknownOperation](err); ok {
		return faultUnknownOperation, e.message, true
	}
	if e, ok := errors.AsType[*httpx.BodyError](err); ok {
		switch e.Status {
		case http.StatusRequestEntityTooLarge:
			return faultTooLarge, e.Error(), true
		case http.StatusRequestTimeout:
			return faultTimeout, e.Error(), true
		}
		return faultMalformed, e.Error(), true
	}
	switch {
	case errors.Is(err, iam.ErrSessionExpired):
		return faultExpiredToken, "The security token included in the request is expired", true
	case errors.Is(err, iam.ErrSessionToken), errors.Is(err, iam.ErrUnknownKey):
		return faultUnknownKey, "The security token included in the request is invalid.", true
	case errors.Is(err, iam.ErrThrottled), errors.Is(err, errBusy):
		return faultThrottled, "Rate exceeded", true
	}
	return 0, "", false
}

// explain returns err as the client is to see it, and the status.
func explain(err error, names map[fault]called, o *ServiceOptions, requestID string) (smithy.APIError, int) {
	if f, message, ok := faultOf(err, requestID); ok {
		c := names[f]
		return &Error{Code: c.code, Message: message, Status: c.status}, c.status
	}
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok && o.Explain != nil {
		e = o.Explain(err)
	}
	if e == nil {
		message := "An internal error occurred"
		if meta.IsFull(err) {
			message = "The disk of the server's database is full or fails: free space there and try again"
		}
		e = &Error{Code: o.Internal, Status: http.StatusInternalServerError,
			Message: message + "; the server's log has the reason under request id " + requestID}
	}
	status := http.StatusBadRequest
	if own, ok := e.(*Error); ok && own.Status != 0 {
		status = own.Status
	} else if e.ErrorFault() == smithy.FaultServer {
		status = http.StatusInternalServerError
	}
	return e, status
}
