package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/api/client"
)

// watched follows run 7 of a server that answers as told, each answer once, in their order: the state of the run for each look at
// it, and a stream of events for each time that it is followed. A number is a status.
func watched(t *testing.T, looks, streams []string) (state work.State, asked string, err error) {
	t.Helper()
	next := func(w http.ResponseWriter, list *[]string) string {
		if len(*list) == 0 {
			t.Error("it asks more than there is to tell")
			w.WriteHeader(http.StatusGone)
			return ""
		}
		one := (*list)[0]
		*list = (*list)[1:]
		var status int
		if n, _ := fmt.Sscanf(one, "%d", &status); n == 1 {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"error":{"code":"X","message":"not now"}}`))
			return ""
		}
		return one
	}
	var after []string
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+api.Prefix+"DescribeRun", func(w http.ResponseWriter, _ *http.Request) {
		if state := next(w, &looks); state != "" {
			fmt.Fprintf(w, `{"id":7,"seq":3,"state":%q,"result":"succeeded"}`, state)
		}
	})
	mux.HandleFunc("GET "+api.Prefix+"runs/7/events", func(w http.ResponseWriter, r *http.Request) {
		after = append(after, r.URL.Query().Get("after"))
		_, _ = w.Write([]byte(next(w, &streams)))
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	var out bytes.Buffer
	w := watch(&client.Client{Server: srv.URL, Token: "x", HTTP: srv.Client()}, &out, 7)
	w.pause = 1
	tree, err := w.end(t.Context())
	if len(looks) > 0 || len(streams) > 0 {
		t.Errorf("nobody asked for %q and %q", looks, streams)
	}
	if tree != nil {
		state = tree.State
	}
	return state, strings.Join(after, " "), err
}

func TestWatchToTheEnd(t *testing.T) {
	stage := func(seq int) string {
		return fmt.Sprintf("id: %d\ndata: {\"seq\":%d,\"type\":\"stage\",\"stage\":\"a\",\"state\":\"inProgress\"}\n\n", seq, seq)
	}
	const end = "event: end\ndata: {}\n\n"
	for name, tt := range map[string]struct {
		looks, streams []string
		after          string // which events it asked for
	}{
		"at once":                {[]string{"inProgress", "completed"}, []string{stage(4) + end}, "3"},
		"a stream breaks":        {[]string{"inProgress", "completed"}, []string{stage(4), ": alive\n\n" + stage(5) + end}, "3 4"},
		"the server is away":     {[]string{"503", "inProgress", "completed"}, []string{"502", stage(4) + end}, "3 3"},
		"too much asked":         {[]string{"inProgress", "completed"}, []string{"429", end}, "3 3"},
		"away at the end":        {[]string{"inProgress", "503", "completed"}, []string{stage(4) + end, end}, "3 4"},
		"it is run again at end": {[]string{"inProgress", "inProgress", "completed"}, []string{stage(4) + end, stage(5) + end}, "3 4"},
	} {
		t.Run(name, func(t *testing.T) {
			state, after, err := watched(t, tt.looks, tt.streams)
			if err != nil || state != work.Completed || after != tt.after {
				t.Errorf("state %q, after %q, %v; want completed, after %q", state, after, err, tt.after)
			}
		})
	}
	if _, _, err := watched(t, []string{"403"}, nil); err == nil {
		t.Error("who may not see a run follows it")
	} else if e, ok := errors.AsType[*api.Error](err); !ok || e.Status != 403 {
		t.Errorf("%v, want the answer", err)
	}
	if _, _, err := watched(t, strings.Fields(strings.Repeat("503 ", maxFailures+1)), nil); err == nil {
		t.Error("a server that is away for good is followed for ever")
	}
}
