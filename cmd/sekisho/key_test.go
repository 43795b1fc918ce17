package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKey shows and replaces the master key of a server that serves, and of one that is stopped.
func TestKey(t *testing.T) {
	in := start(t)
	id, _ := in.rootKey(t)
	show := func() (fingerprint string) {
		t.Helper()
		r := sekisho(t, in.env, "", "key", "show", "-o", "json")
		r.want(t, 0, "")
		var keys []struct {
			Fingerprint, Use string
			SealingKeys      []uint32
		}
		if err := json.Unmarshal([]byte(r.stdout), &keys); err != nil || len(keys) != 1 || keys[0].Use != "seals" || len(keys[0].SealingKeys) != 1 {
			t.Fatalf("%v: %s", err, r.stdout)
		}
		return keys[0].Fingerprint
	}
	before := show()
	key, err := os.ReadFile(filepath.Join(in.data, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	sekisho(t, in.env, "", "key", "rotate").want(t, 1, "another sekisho process uses this data folder")
	in.stop(t)
	r := sekisho(t, in.env, "", "key", "rotate")
	r.want(t, 0, "")
	after := show()
	if after == before || !strings.Contains(r.stdout, "fingerprint "+after) {
		t.Errorf("%s, then %s: %+v", before, after, r)
	}
	if r := sekisho(t, in.env, "", "env"); !strings.Contains(r.stdout, id) {
		t.Errorf("%+v", r)
	}
	if r := sekisho(t, in.env, "", "audit", "--action", "sekisho:RotateMasterKey"); !strings.Contains(r.stdout, after) {
		t.Errorf("%+v", r)
	}
	old := strings.TrimSpace(string(key))
	wrong := sekisho(t, append(in.env, "SEKISHO_MASTER_KEY="+old), "", "key", "show")
	wrong.want(t, 1, "sealed under the master key with fingerprint "+after+"; given is "+before)
	if strings.Contains(wrong.stderr, old) {
		t.Errorf("tells the key: %s", wrong.stderr)
	}
	now, err := os.ReadFile(filepath.Join(in.data, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	one := append(in.env, "SEKISHO_MASTER_KEY="+strings.TrimSpace(string(now)))
	sekisho(t, one, "", "key", "rotate").want(t, 2, "names one key")
}
