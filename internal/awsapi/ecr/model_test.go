package ecr_test

import (
	"reflect"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/sekisho/sekisho/internal/awsapi/bototest"
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
	s := newServer(t)
	served, refused := s.operations()
	bototest.Run(t, s.env(), "testdata/model.py", strings.Join(served, ","), strings.Join(refused, ","))
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
