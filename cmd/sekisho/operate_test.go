package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/registry"
)

// open opens the instance beside the server.
func (in *instance) open(t *testing.T) *app.Instance {
	t.Helper()
	loaded, err := config.Load(config.Options{Env: in.env})
	if err != nil {
		t.Fatal(err)
	}
	open, err := app.Open(t.Context(), &loaded.Config, slog.New(slog.DiscardHandler), app.Shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open.Close() })
	return open
}

func TestJobs(t *testing.T) {
	in := start(t)
	db, queue := in.open(t).DB, in.open(t).Jobs
	var id int64
	if err := db.Update(t.Context(), func(tx *meta.Tx) (err error) {
		id, _, err = queue.Enqueue(t.Context(), tx, job.Spec{Kind: "test", Payload: map[string]int{"n": 7}, RunAt: time.Now().Add(time.Hour)})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	list := func(args ...string) []shownJob {
		t.Helper()
		r := sekisho(t, in.env, "", append([]string{"jobs", "list", "-o", "json"}, args...)...)
		r.want(t, 0, "")
		var jobs []shownJob
		if err := json.Unmarshal([]byte(r.stdout), &jobs); err != nil {
			t.Fatalf("%v: %s", err, r.stdout)
		}
		return jobs
	}
	number := strconv.FormatInt(id, 10)
	if jobs := list("--kind", "test"); len(jobs) != 1 || jobs[0].ID != id || jobs[0].State != job.Queued || !strings.Contains(string(jobs[0].Payload), `"n": 7`) {
		t.Errorf("%+v", jobs)
	}
	sekisho(t, in.env, "", "jobs", "cancel", number).want(t, 0, "")
	if jobs := list("--kind", "test", "--state", "cancelled"); len(jobs) != 1 {
		t.Errorf("%+v", jobs)
	}
	r := sekisho(t, in.env, "", "jobs", "cancel", number, "999999")
	r.want(t, 1, "it is cancelled")
	r.want(t, 1, "job 999999: no such job")
	if r := sekisho(t, in.env, "", "jobs", "retry", number); r.stdout != "job "+number+": queued\n" {
		t.Errorf("%+v", r)
	}
	if r := sekisho(t, in.env, "", "jobs", "list", "--kind", "test"); !strings.Contains(r.stdout, number+"  ") || !strings.Contains(r.stdout, "queued") {
		t.Errorf("%+v", r)
	}
	sekisho(t, in.env, "", "jobs", "list", "--state", "lost").want(t, 2, "none of queued")
	sekisho(t, in.env, "", "jobs", "retry", "x").want(t, 2, `"x" is not the id of a job`)
}

func TestAudit(t *testing.T) {
	in := start(t)
	sekisho(t, in.env, "", "settings", "set", "create-on-push=true").want(t, 0, "")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+in.addr+"/v2/team/app/tags/list", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(in.rootKey(t))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()

	find := func(args ...string) []shownEntry {
		t.Helper()
		r := sekisho(t, in.env, "", append([]string{"audit", "-o", "json"}, args...)...)
		r.want(t, 0, "")
		var entries []shownEntry
		if err := json.Unmarshal([]byte(r.stdout), &entries); err != nil {
			t.Fatalf("%v: %s", err, r.stdout)
		}
		return entries
	}
	var entries []shownEntry
	for deadline := time.Now().Add(10 * time.Second); len(entries) == 0; { // until the server has written it
		if time.Now().After(deadline) {
			t.Fatal("the request is not recorded")
		}
		entries = find("--resource", "team/app", "--since", "1h")
	}
	if e := entries[0]; e.Action != "ecr:ListImages" || !e.Allowed || e.Source.String() != "127.0.0.1" || !strings.HasSuffix(e.Resource, ":repository/team/app") {
		t.Errorf("%+v", e)
	}
	changes := find("--action", "ecr:PutAccountSetting")
	if len(changes) != 2 { // the decision, and what was done
		t.Errorf("%+v", changes)
	}
	if r := sekisho(t, in.env, "", "audit"); !strings.Contains(r.stdout, "PRINCIPAL") || !strings.Contains(r.stdout, "done") || !strings.Contains(r.stdout, "allowed") {
		t.Errorf("%s", r.stdout)
	}
	if entries := find("--limit", "1"); len(entries) != 1 {
		t.Errorf("%d entries", len(entries))
	}
	if entries := find("--until", "1h"); len(entries) != 0 {
		t.Errorf("%d entries", len(entries))
	}
	sekisho(t, in.env, "", "audit", "--since", "yesterday").want(t, 2, "neither a duration such as 24h nor a time")
}

// TestGC collects beside the server, where nothing is old enough, and without it.
func TestGC(t *testing.T) {
	in := start(t)
	if r := sekisho(t, in.env, "", "gc", "--dry-run", "-o", "json"); r.code != 0 || r.stdout != "[]\n" {
		t.Errorf("%+v", r)
	}
	if r := sekisho(t, in.env, "", "gc"); r.code != 0 || !strings.HasPrefix(r.stdout, "job ") || !strings.Contains(r.stdout, "done in") {
		t.Errorf("%+v", r)
	}
	in.stop(t)
	if r := sekisho(t, in.env, "", "gc"); r.code != 0 || !strings.HasPrefix(r.stdout, "WHAT") {
		t.Errorf("%+v", r)
	}
}

// TestBackup backs up a server that serves, restores, and looks for a setting and the root access key.
func TestBackup(t *testing.T) {
	in := start(t)
	id, _ := in.rootKey(t)
	sekisho(t, in.env, "", "settings", "set", "create-on-push=true").want(t, 0, "")
	backup, restored := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	r := sekisho(t, in.env, "", "backup", backup, "-o", "json")
	r.want(t, 0, "")
	if !strings.Contains(r.stdout, `"rows": `) || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	sekisho(t, in.env, "", "backup", backup).want(t, 1, "name a folder that is not there yet")
	sekisho(t, in.env, "", "restore", backup).want(t, 1, "") // the instance is not empty, and served
	sekisho(t, nil, "", "restore", backup, "--data", restored).want(t, 0, "")
	sekisho(t, nil, "", "restore", backup, "--data", restored).want(t, 1, "is not empty")
	if r := sekisho(t, nil, "", "settings", "get", "--data", restored); !strings.Contains(r.stdout, "create-on-push    true") {
		t.Errorf("%+v", r)
	}
	if r := sekisho(t, nil, "", "env", "--data", restored); !strings.Contains(r.stdout, id) {
		t.Errorf("%+v", r)
	}
	sekisho(t, in.env, "", "migrate").want(t, 2, "--to")
	sekisho(t, in.env, "", "migrate", "--to", "/nonexistent.yaml").want(t, 2, "read configuration")
	keyless := filepath.Join(t.TempDir(), "new.yaml")
	if err := os.WriteFile(keyless, []byte("database:\n  url: postgres://localhost/sekisho\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sekisho(t, in.env, "", "migrate", "--to", keyless).want(t, 2, "--to "+keyless+": the configuration is refused:\n  default: master_key: missing")
}

// TestFsck corrupts a layer that nobody needs.
func TestFsck(t *testing.T) {
	in := start(t)
	sekisho(t, in.env, "", "settings", "set", "create-on-push=true").want(t, 0, "")
	layer := strings.Repeat("through the checkpoint\n", 4096)
	digest := digest.FromString(layer)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+in.addr+"/v2/team/app/blobs/uploads/?digest="+digest.String(), strings.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(in.rootKey(t))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatal(resp.Status)
	}
	if r := sekisho(t, in.env, "", "fsck"); r.code != 0 || !strings.HasPrefix(r.stdout, "No problems: 1 blobs") {
		t.Errorf("%+v", r)
	}
	objects, err := filepath.Glob(filepath.Join(in.data, "blobs", "sha256", "*", "*"))
	if err != nil || len(objects) != 1 {
		t.Fatalf("%v, %v", objects, err)
	}
	if err := os.WriteFile(objects[0], []byte(strings.ToUpper(layer)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := sekisho(t, in.env, "", "fsck", "-o", "json")
	r.want(t, 1, "problems left: 1")
	var out checked
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || len(out.Problems) != 1 || out.Problems[0].Kind != registry.ProblemBlobCorrupt || out.Problems[0].Digest != digest {
		t.Errorf("%v: %s", err, r.stdout)
	}
	sekisho(t, in.env, "", "fsck", "--repair").want(t, 1, "another sekisho process uses this data folder")
	sekisho(t, in.env, "", "fsck", "--forget").want(t, 2, "--forget goes with --repair")
	in.stop(t)
	r = sekisho(t, in.env, "", "fsck", "--repair", "--forget")
	r.want(t, 1, "problems left: 1") // until it is pushed again
	if !strings.Contains(r.stdout, "forgotten") {
		t.Error(r.stdout)
	}
}

// TestEntryRow wants a refusal in the table to tell through which endpoint it came, and the id that sekisho why wants.
func TestEntryRow(t *testing.T) {
	e := &audit.Entry{Event: audit.Event{Source: netip.MustParseAddr("10.0.0.7"), Endpoint: "vpce-1", RequestID: "5c6bjarfti5ng3czx6fztukkdq"}}
	row := entryRow(e)
	for _, want := range []string{"10.0.0.7 through vpce-1", "5c6bjarfti5ng3czx6fztukkdq"} {
		if !slices.Contains(row, want) {
			t.Errorf("no %q in %q", want, row)
		}
	}
}

// TestAnnounceKey wants the hint of the first start to lead to this server, whose address is in its configuration file.
func TestAnnounceKey(t *testing.T) {
	in := &app.Instance{Config: &config.Config{Data: "/var/lib/se kisho"}, NewKey: &iam.AccessKey{ID: "AKIAEXAMPLE"}}
	for file, want := range map[string]string{
		"":                 "sekisho env --data '/var/lib/se kisho'",
		"/etc/sekisho.yml": "sekisho env --config /etc/sekisho.yml)",
	} {
		var b strings.Builder
		announceKey(&b, in, file)
		if !strings.Contains(b.String(), want) || strings.Contains(b.String(), "secret") {
			t.Errorf("with file %q: %s", file, b.String())
		}
	}
}

// TestDecided wants what decided a refusal to be told with its statement.
func TestDecided(t *testing.T) {
	for trace, want := range map[string]string{
		`{"decision":"ExplicitlyDenied","reasons":[{"text":"x"},{"layer":"resource-based policy","policy":"repository policy","statement":"Office","text":"ExplicitlyDenied with an explicit deny in a resource-based policy"}]}`: `with an explicit deny in a resource-based policy (statement "Office" of repository policy)`,
		`{"decision":"ImplicitlyDenied","reasons":[{"text":"ImplicitlyDenied because no identity-based policy allows it"}]}`:                                                                                                      "because no identity-based policy allows it",
		`{}`: "",
	} {
		var s shownTrace
		if err := json.Unmarshal([]byte(trace), &s); err != nil {
			t.Fatal(err)
		}
		if got := s.decided(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
