package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// key runs a command that prints an access key.
func (in *instance) key(t *testing.T, args ...string) shownKey {
	t.Helper()
	r := sekisho(t, in.env, "", append(args, "-o", "json")...)
	r.want(t, 0, "")
	var k shownKey
	if err := json.Unmarshal([]byte(r.stdout), &k); err != nil || len(k.SecretAccessKey) != 40 || !strings.HasPrefix(k.AccessKeyID, "AKIA") {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	return k
}

// becomes waits until a key is answered with a status: the server notices within a second what a command did beside it.
func (in *instance) becomes(t *testing.T, k shownKey, status int) {
	t.Helper()
	limit := time.After(15 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+in.addr+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(k.AccessKeyID, k.SecretAccessKey)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == status {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("key %s is answered with %d, not %d", k.AccessKeyID, resp.StatusCode, status)
		}
	}
}

func TestAccounts(t *testing.T) {
	in := start(t)
	made := in.key(t, "account", "create", "444455556666")
	if made.Account != "444455556666" {
		t.Errorf("%+v", made)
	}
	in.becomes(t, made, http.StatusOK)
	if another := in.key(t, "account", "create"); len(another.Account) != 12 || another.Account == made.Account {
		t.Errorf("%+v", another)
	}
	sekisho(t, in.env, "", "account", "create", "444455556666").want(t, 1, "The account 444455556666 already exists.")
	sekisho(t, in.env, "", "account", "create", "4444").want(t, 2, "12 digits")
	r := sekisho(t, in.env, "", "account", "list", "-o", "json")
	var all []shownAccount
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil || len(all) != 3 || !all[0].Default || all[1].Default {
		t.Errorf("%v: %s", err, r.stdout)
	}
	r = sekisho(t, in.env, "", "account", "show", "444455556666")
	if r.want(t, 0, ""); !strings.Contains(r.stdout, made.AccessKeyID+", Active") || strings.Contains(r.stdout, made.SecretAccessKey) {
		t.Errorf("%s", r.stdout)
	}
	sekisho(t, in.env, "", "account", "show", "999999999999").want(t, 1, "no such account")
	if r := sekisho(t, in.env, "", "audit", "--resource", "arn:aws:iam::444455556666:root"); !strings.Contains(r.stdout, "organizations:CreateAccount") {
		t.Errorf("not on record: %+v", r)
	}
}

// TestRootKeys: the key in the data folder is put in place of by another, and the server follows.
func TestRootKeys(t *testing.T) {
	in := start(t)
	text, err := os.ReadFile(filepath.Join(in.data, "root-access-key.json"))
	if err != nil {
		t.Fatal(err)
	}
	var first shownKey
	if err := json.Unmarshal(text, &first); err != nil {
		t.Fatal(err)
	}
	in.becomes(t, first, http.StatusOK)
	second := in.key(t, "account", "key", "rotate", first.AccessKeyID)
	in.becomes(t, second, http.StatusOK)
	in.becomes(t, first, http.StatusUnauthorized)
	if r := sekisho(t, in.env, "", "env"); !strings.Contains(r.stdout, second.AccessKeyID) {
		t.Errorf("env: %s", r.stdout)
	}
	sekisho(t, in.env, "", "account", "key", "rotate", second.AccessKeyID).want(t, 1, "delete the key that is not in use first")
	sekisho(t, in.env, "", "account", "key", "rotate", "AKIANOTTHERE").want(t, 2, "is no root access key")
	sekisho(t, in.env, "", "account", "key", "enable", first.AccessKeyID).want(t, 0, "")
	in.becomes(t, first, http.StatusOK)
	if r := sekisho(t, in.env, "", "account", "key", "list"); strings.Count(r.stdout, "Active") != 2 {
		t.Errorf("%s", r.stdout)
	}
	sekisho(t, in.env, "", "account", "key", "create").want(t, 1, "Cannot exceed quota for AccessKeysPerUser: 2")
	sekisho(t, in.env, "", "account", "key", "disable", second.AccessKeyID).want(t, 0, "")
	in.becomes(t, second, http.StatusUnauthorized)
	if r := sekisho(t, in.env, "", "env"); !strings.Contains(r.stdout, first.AccessKeyID) { // from the database
		t.Errorf("env: %s", r.stdout)
	}
	sekisho(t, in.env, "", "account", "key", "delete", second.AccessKeyID).want(t, 0, "")
	sekisho(t, in.env, "", "account", "key", "delete", second.AccessKeyID).want(t, 1, "cannot be found")
	sekisho(t, in.env, "", "account", "key", "list", "--account", "999999999999").want(t, 1, "no such account")
}
