package sts_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sekisho/sekisho/internal/awsapi/bototest"
)

// TestBoto3 has boto3 find its credentials in the ways that people configure: a profile with a role and another profile as
// its source, and a file with a web identity. Every answer is held against botocore's model.
func TestBoto3(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	s := newServer(t)
	dir := t.TempDir()
	for file, text := range map[string]string{
		"config":      "[profile builder]\nrole_arn = " + builder + "\nsource_profile = alice\nrole_session_name = laptop\n",
		"credentials": "[alice]\naws_access_key_id = " + s.alice.ID + "\naws_secret_access_key = " + s.alice.Secret.Reveal() + "\n",
		"token":       s.token(t, "repo:a/b"), "other-token": s.token(t, "repo:a/c"),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bototest.Run(t, []string{"AWS_ENDPOINT_URL=" + s.URL, "AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(dir, "credentials"), "PYTHONDONTWRITEBYTECODE=1"},
		"testdata/client.py", dir, account, builder)
}
