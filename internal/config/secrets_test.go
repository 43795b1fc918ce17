package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutwardSecrets holds that no secret can be made to tell what the server lives on.
func TestOutwardSecrets(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"data", "etc", "run/secrets", "run/other", "pairs"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "etc"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/master-key", "pairs/key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(key32), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ roots, env, want string }{
		{"DIR/run/secrets", "DB_PASSWORD", ""},
		{"111122223333=DIR/run/secrets,DIR/run/other", "111122223333=X,_Y9", ""},
		{"/", "", "not a clean absolute path"},
		{"run/secrets", "", "not a clean absolute path"},
		{"DIR/run/../etc", "", "not a clean absolute path"},
		{"DIR/run/", "", "not a clean absolute path"},
		{"11112222333=DIR/run", "", "not a clean absolute path"},
		{"DIR/data", "", "what data is"},
		{"DIR/data/blobs", "", "what data is"},
		{"DIR", "", "what data is"},
		{"111122223333=DIR", "", "what data is"},
		{"DIR/etc", "", "what master_key_file is"},
		{"DIR/link", "", "what master_key_file is"},
		{"", "A-B", "not the name of a variable"},
		{"", "1A", "not the name of a variable"},
		{"", "SEKISHO_MASTER_KEY", "SEKISHO_MASTER_KEY is what the server itself"},
		{"", "111122223333=AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY is what the server itself"},
	} {
		_, err := Load(Options{Env: []string{
			"SEKISHO_DATA=" + dir + "/data", "SEKISHO_MASTER_KEY_FILE=" + dir + "/etc/master-key",
			"SEKISHO_SECRETS_FILE_ROOTS=" + strings.ReplaceAll(c.roots, "DIR", dir), "SEKISHO_SECRETS_ENV=" + c.env,
		}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %s: %v", c.roots, c.env, err)
		}
	}
}

func TestMasterKeys(t *testing.T) {
	other := strings.Repeat("ab", 32)
	for text, want := range map[string]int{
		"": 0, " \n": 0, key32: 1, key32 + "\n": 1, key32 + "," + other: 2, key32 + "\n" + other + "\n": 2, " " + key32 + " , " + other: 2,
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=," + other: 2,
		key32 + "," + key32: -1, key32 + "," + other[2:]: -1, key32 + ";" + other: -1,
	} {
		keys, err := ParseMasterKeys(text)
		if want < 0 != (err != nil) || err == nil && len(keys) != want {
			t.Errorf("%q: %d keys, %v", text, len(keys), err)
		}
		if err != nil && (strings.Contains(err.Error(), key32) || strings.Contains(err.Error(), other)) {
			t.Errorf("tells a key: %v", err)
		}
	}
	if keys, err := ParseMasterKeys(key32 + "," + other); err != nil || !bytes.Equal(keys[1], bytes.Repeat([]byte{0xab}, 32)) {
		t.Errorf("%x, %v", keys, err)
	}
}
