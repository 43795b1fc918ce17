package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"syscall"
	"unicode/utf8"
)

// ReferenceKey is the one member of the JSON object that a value is which refers outward:
//
//	{"sekisho:ref": "file:/run/secrets/password"}
const ReferenceKey = "sekisho:ref"

// valueKind is how the database keeps a value.
type valueKind string

const (
	kindString    valueKind = "string"
	kindBinary    valueKind = "binary"
	kindReference valueKind = "reference"
)

// Outward says where the values of accounts may refer to. The zero value is nowhere.
type Outward struct {
	Files []Allowed // folders, absolute
	Env   []Allowed // names of environment variables
	// LookupEnv is where variables are. Default os.LookupEnv.
	LookupEnv func(string) (string, bool)
}

// Allowed is a folder or a variable that the secrets of an account may refer to.
type Allowed struct{ Account, Name string }

// outwardTo is what a value refers to.
type outwardTo struct{ scheme, name string }

var envForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,255}$`)

const maxPath = 4096

// ParseOutward returns what a text refers to, as "file:/path" or "env:NAME"; "" for a value that refers to nothing. An
// object that has [ReferenceKey] and is no reference is an error, so that a slip is not kept as a value. Errors: an
// [*Error] of kind InvalidParameter.
func ParseOutward(text string) (to string, err error) {
	o, err := parseOutward(text)
	if o == nil || err != nil {
		return "", err
	}
	return o.String(), nil
}

func (o *outwardTo) String() string { return o.scheme + ":" + o.name }

// parseOutward returns nil for a value that refers to nothing.
func parseOutward(text string) (*outwardTo, error) {
	if !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") || len(text) > MaxValue {
		return nil, nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return nil, nil
	}
	raw, ok := object[ReferenceKey]
	if !ok {
		return nil, nil
	}
	var to string
	if len(object) != 1 || json.Unmarshal(raw, &to) != nil {
		return nil, errorf(InvalidParameter, `A value that refers outward is {"%s": "file:/path"} or {"%s": "env:NAME"}, with nothing else in it.`, ReferenceKey, ReferenceKey)
	}
	scheme, name, _ := strings.Cut(to, ":")
	switch {
	case scheme == "file" && path.IsAbs(name) && path.Clean(name) == name && name != "/" && len(name) <= maxPath && !strings.Contains(name, "\x00"):
	case scheme == "env" && envForm.MatchString(name):
	default:
		return nil, errorf(InvalidParameter, "The value refers to neither file: with a clean absolute path nor env: with the name of a variable.")
	}
	return &outwardTo{scheme, name}, nil
}

// kind returns how a value is kept. One that refers to where its account may not go is refused.
func (s *Store) kind(account string, v Value) (valueKind, error) {
	if v.binary {
		return kindBinary, nil
	}
	o, err := parseOutward(string(v.data))
	if err != nil {
		return "", err
	}
	if o == nil {
		return kindString, nil
	}
	if _, err := s.o.Outward.allows(account, o); err != nil {
		e, _ := errors.AsType[*Error](err)
		return "", errorf(InvalidParameter, "%s", e.Message)
	}
	return kindReference, nil
}

// allows returns the folder under which o is, of a file, if the account may refer to it.
func (out *Outward) allows(account string, o *outwardTo) (root string, err error) {
	list, setting := out.Files, "secrets.file_roots"
	if o.scheme == "env" {
		list, setting = out.Env, "secrets.env"
	}
	for _, a := range list {
		if a.Account != account {
			continue
		}
		if o.scheme == "env" && a.Name == o.name {
			return "", nil
		}
		if o.scheme == "file" && strings.HasPrefix(o.name, strings.TrimSuffix(a.Name, "/")+"/") && len(a.Name) > len(root) {
			root = a.Name
		}
	}
	if root == "" {
		return "", errorf(InvalidRequest, "The value refers to %s, to which the configuration (%s) lets no secret of account %s refer.", o, setting, account)
	}
	return root, nil
}

// fetch returns what a value refers to. Errors: an [*Error] of kind InvalidRequest, which names the place and not what is
// there.
func (s *Store) fetch(account string, v Value) (Value, error) {
	o, err := parseOutward(string(v.data))
	if err == nil && o == nil {
		err = errorf(InvalidRequest, "The value refers to nothing.")
	}
	if err != nil {
		return Value{}, err
	}
	root, err := s.o.Outward.allows(account, o)
	if err != nil {
		return Value{}, err
	}
	var data []byte
	if o.scheme == "env" {
		data, err = s.o.Outward.variable(o.name)
	} else {
		data, err = readBelow(root, strings.TrimPrefix(o.name[len(strings.TrimSuffix(root, "/")):], "/"))
	}
	if err != nil {
		return Value{}, errorf(InvalidRequest, "The value is kept at %s, and can't be read there: %s.", o, err)
	}
	if !utf8.Valid(data) {
		return Binary(data), nil
	}
	return Text(string(data)), nil
}

func (out *Outward) variable(name string) ([]byte, error) {
	lookup := out.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	text, ok := lookup(name)
	if !ok || text == "" {
		return nil, errors.New("it is not set, or empty")
	}
	return checkSize([]byte(text))
}

// readBelow reads a file below a folder. Symbolic links are followed within the folder and not out of it. An end of line
// at the end is left out of text.
func readBelow(folder, name string) ([]byte, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, reason(err)
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // not to wait for who writes to a pipe
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxValue+3)) // and an end of line
	if err != nil {
		return nil, reason(err)
	}
	if utf8.Valid(data) {
		data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	}
	return checkSize(data)
}

func checkSize(data []byte) ([]byte, error) {
	switch {
	case len(data) == 0:
		return nil, errors.New("it is empty")
	case len(data) > MaxValue:
		return nil, fmt.Errorf("it has more than %d bytes", MaxValue)
	}
	return data, nil
}

// reason says what went wrong without paths that the caller did not name.
func reason(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("the server may not read it")
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return errors.New("reading it failed")
}
