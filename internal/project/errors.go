package project

import (
	"errors"
	"fmt"
)

// ErrorKind says what is wrong with a call.
type ErrorKind int

// The kinds of errors that a caller can do something about.
const (
	NotFound ErrorKind = iota + 1
	Exists
	Invalid  // a field that has not the form it must have
	Conflict // not in the state that things are in
	Limit
)

// Error is a call that can't be done as it was asked for. The message is for whoever asked, and has no secret in it.
type Error struct {
	Kind    ErrorKind
	Field   string // that is wrong: "name", "parameters.username"; or empty
	Message string
}

// Error returns the message.
func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

// Is makes errors of a kind be the error that stands for it.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Kind == e.Kind
}

// What errors of the kinds are, for errors.Is.
var (
	ErrNotFound error = &Error{Kind: NotFound}
	ErrExists   error = &Error{Kind: Exists}
	ErrInvalid  error = &Error{Kind: Invalid}
	ErrConflict error = &Error{Kind: Conflict}
	ErrLimit    error = &Error{Kind: Limit}
)

// ErrUntrusted means that a job of a pull request from outside asked for what it never gets.
var ErrUntrusted = errors.New("a pull request from outside gets no secrets, service connections, credentials or identity tokens")

func errorf(kind ErrorKind, field, format string, args ...any) *Error {
	return &Error{Kind: kind, Field: field, Message: fmt.Sprintf(format, args...)}
}

func noSuch(what, name string) *Error {
	return errorf(NotFound, "", "there is no %s %q", what, name)
}

// NotAuthorizedError means that a pipeline may not use something.
type NotAuthorizedError struct {
	Use      Use
	Pipeline string // name
	Project  string // name
}

func (e *NotAuthorizedError) Error() string {
	return fmt.Sprintf("the pipeline %s of project %s is not authorised to use the %s %s; whoever may authorise it does so with: sekisho pipeline permit -p %s %q %s %q",
		e.Pipeline, e.Project, e.Use.Kind.noun(), e.Use.label(), e.Project, e.Pipeline, e.Use.Kind, e.Use.label())
}
