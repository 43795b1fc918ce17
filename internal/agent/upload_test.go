package agent

import (
	"strings"
	"testing"

	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agentapi"
)

// TestUploadGetsToken uploads a file when there is no token: the call for one is made in the midst of that for the file.
func TestUploadGetsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := w.configure("a", nil)
	if err != nil {
		t.Fatal(err)
	}
	settings, key, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: key, agent: settings.AgentID}
	c, err := newClient(&Route{URL: w.url()}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	spool, err := openSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer spool.close()
	w.queue.mu.Lock()
	w.queue.claims[agentapi.Claim{Job: "job", Attempt: 1, Agent: settings.AgentID}] = "held"
	w.queue.mu.Unlock()
	r := newRemote(c, &agentv1.Claim{Job: "job", Attempt: 1}, spool, false)
	defer r.close()
	for _, text := range []string{"the first", "the second"} {
		s.mu.Lock()
		s.token = ""
		s.mu.Unlock()
		if err := r.PutFile(t.Context(), "drop", "container", "name.txt", int64(len(text)), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		w.queue.mu.Lock()
		got := string(w.queue.files["drop/name.txt"])
		w.queue.mu.Unlock()
		if got != text {
			t.Errorf("the file is %q, want %q", got, text)
		}
	}
}
