package api

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
)

type inner struct {
	ID      string
	Value   any
	Skipped string `json:"-"`
}

func TestEncode(t *testing.T) {
	type outer struct {
		inner
		ProjectID  string
		PublicURL  string
		URLs       []string
		None       []string
		Pairs      map[string]inner
		Pointer    *inner
		When       time.Time
		Data       []byte
		Named      int    `json:"other,omitempty"`
		Empty      string `json:",omitempty"`
		MaxSize    int64
		OS         string
		Secret     iam.Secret
		Raw        json.RawMessage
		unexported int
	}
	v := outer{inner: inner{ID: "1", Value: map[string]int{"b": 2, "a": 1}, Skipped: "x"}, ProjectID: "p", URLs: []string{"<a>"}, Pairs: map[string]inner{"Key": {ID: "2"}},
		When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Data: []byte("data"), MaxSize: 5, Secret: iam.NewSecret("hidden"), Raw: json.RawMessage(`{"A":1}`), unexported: 1}
	got, err := encode(v)
	want := `{"id":"1","value":{"a":1,"b":2},"projectId":"p","publicUrl":"","urls":["<a>"],"none":[],"pairs":{"Key":{"id":"2","value":null}},"pointer":null,` +
		`"when":"2026-01-02T03:04:05Z","data":"ZGF0YQ==","maxSize":5,"os":"","secret":"REDACTED","raw":{"A":1}}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s, want\n%s", err, got, want)
	}
	var back outer
	if err := json.Unmarshal([]byte(`{"projectId":"p","maxsize":5,"urls":["<a>"]}`), &back); err != nil || back.ProjectID != "p" || back.MaxSize != 5 || len(back.URLs) != 1 {
		t.Errorf("back: %+v, %v", back, err)
	}
	if _, err := encode(map[int]string{1: "x"}); err == nil {
		t.Error("a map of numbers is no object")
	}
	if _, err := encode(struct{ F func() }{}); !errors.As(err, new(*json.UnsupportedTypeError)) {
		t.Errorf("error %v", err)
	}
}

func TestLowerCamel(t *testing.T) {
	for name, want := range map[string]string{"ID": "id", "ProjectID": "projectId", "URLPath": "urlPath", "ARN": "arn", "OneJob": "oneJob", "URLs": "urls", "X": "x", "OSArch": "osArch"} {
		if got := lowerCamel(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// Shared is exported, as what is embedded by a pointer must be to be read back.
type Shared struct{ ID string }

// TestEncodeEmbedded has the fields of what is embedded once, not beneath its name as well.
func TestEncodeEmbedded(t *testing.T) {
	type tree struct {
		*Shared
		Name string
	}
	for want, v := range map[string]tree{`{"id":"1","name":"n"}`: {&Shared{"1"}, "n"}, `{"name":"n"}`: {nil, "n"}} {
		if got, err := encode(v); err != nil || string(got) != want+"\n" {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}
