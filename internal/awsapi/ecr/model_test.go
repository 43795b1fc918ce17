package ecr_test

import (
	"bytes"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
)

// operations returns those that are served and those that are refused by name.
func (s *server) operations() (served, refused []string) {
	for name, ok := range s.api.Service().Operations() {
		if ok {
			served = append(served, name)
		} else {
			refused = append(refused, name)
		}
	}
	return served, refused
}

// TestModel calls every operation of botocore's model, and holds the answers against it.
func TestModel(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	name := python(t, "boto3")
	s := newServer(t)
	served, refused := s.operations()
	cmd := exec.CommandContext(t.Context(), name, "testdata/model.py", strings.Join(served, ","), strings.Join(refused, ","))
	cmd.Env = append(os.Environ(), s.env()...)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.HasSuffix(out, []byte("ok\n")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestEveryOperation: what the SDK has is served or refused by name.
func TestEveryOperation(t *testing.T) {
	served, refused := newServer(t).operations()
	known := map[string]bool{}
	for _, name := range append(served, refused...) {
		known[name] = true
	}
	for m := range reflect.TypeFor[*sdk.Client]().Methods() {
		if m.Name != "Options" && !known[m.Name] {
			t.Errorf("%s is neither served nor refused", m.Name)
		}
	}
}
