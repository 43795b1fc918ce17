package app_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
	"github.com/sekisho/sekisho/internal/secret"
)

// rotateChild rotates the key of dir, and says when it begins.
func rotateChild(dir string) error {
	in, err := openKeyed(context.Background(), app.Exclusive, "SEKISHO_DATA="+dir)
	if err != nil {
		return err
	}
	fmt.Println("rotating")
	_, err = in.RotateMasterKey(context.Background())
	return errors.Join(err, in.Close())
}

func openKeyed(ctx context.Context, mode app.Mode, env ...string) (*app.Instance, error) {
	loaded, err := config.Load(config.Options{Env: env})
	if err != nil {
		return nil, err
	}
	return app.Open(ctx, &loaded.Config, slog.New(slog.DiscardHandler), mode)
}

// kept opens an instance and compares its access key and secrets with what they were.
func kept(t *testing.T, want map[string]string, env ...string) *app.KeyState {
	t.Helper()
	in, err := openKeyed(t.Context(), app.Serve, env...)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	caller := (&iam.Principal{Account: in.Account, ARN: iam.RootARN(in.Account), Type: iam.Root}).Caller()
	for name, value := range want {
		v, err := in.Secrets.Value(t.Context(), caller, name)
		if err != nil || string(v.Reveal()) != value {
			t.Fatalf("secret %s: %q, %v", name, v.Reveal(), err)
		}
	}
	keys, err := in.IAM.Keys(t.Context(), in.Account)
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if _, _, err := in.IAM.Secret(t.Context(), keys[0].ID, caller.SourceIP); err != nil {
		t.Fatal(err)
	}
	state, err := in.KeyState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// fillSecrets makes an instance with secrets.
func fillSecrets(t *testing.T, n int, env ...string) map[string]string {
	t.Helper()
	in, err := openKeyed(t.Context(), app.Serve, env...)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	caller := (&iam.Principal{Account: in.Account, ARN: iam.RootARN(in.Account), Type: iam.Root}).Caller()
	want := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		want[name] = "value of " + name
		if _, _, err := in.Secrets.Create(t.Context(), caller, secret.Draft{Name: name, Value: secret.Text(want[name])}); err != nil {
			t.Fatal(err)
		}
	}
	return want
}

// TestRotateMasterKey replaces the key in a data folder.
func TestRotateMasterKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	env := "SEKISHO_DATA=" + dir
	want := fillSecrets(t, 3, env)
	before := kept(t, want, env)
	old, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := openKeyed(t.Context(), app.Exclusive, env)
	if err != nil {
		t.Fatal(err)
	}
	report, err := in.RotateMasterKey(t.Context())
	if err := errors.Join(err, in.Close()); err != nil || report.Rows != 4 {
		t.Fatal(report, err)
	}
	after := kept(t, want, env)
	if len(after.Masters) != 1 || after.Masters[0] == before.Masters[0] || after.Masters[0] != report.Master || after.Keys[0].Master != report.Master {
		t.Errorf("before %+v, after %+v, report %+v", before, after, report)
	}
	file := filepath.Join(dir, "master.key")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	var wrong *seal.MasterKeyError
	if in, err := openKeyed(t.Context(), app.Serve, env); !errors.As(err, &wrong) || strings.Contains(err.Error(), strings.TrimSpace(string(old))) {
		t.Errorf("opened with the old key: %v, %v", in, err)
	}
}

// TestRotateMasterKeyKilled kills a rotation at moments all over its run: with kill -9 nothing of it ends in an orderly way.
func TestRotateMasterKeyKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	env := "SEKISHO_DATA=" + dir
	want := fillSecrets(t, 150, env)
	masters := map[string]bool{kept(t, want, env).Masters[0]: true}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := func() (*exec.Cmd, *bytes.Buffer) {
		var stderr bytes.Buffer
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), rotateEnv+"="+dir)
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		line := make([]byte, len("rotating\n"))
		if _, err := out.Read(line); err != nil {
			t.Fatalf("%v: %s", errors.Join(err, cmd.Wait()), stderr.String())
		}
		return cmd, &stderr
	}
	cmd, stderr := start()
	began := time.Now()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err, stderr.String())
	}
	whole := time.Since(began)
	cut := 0
	const kills = 12
	for i := range kills {
		cmd, _ := start()
		timer := time.AfterFunc(whole*time.Duration(i)/kills, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		state := kept(t, want, env)
		if err != nil {
			cut++
		}
		if len(state.Masters) > 2 {
			t.Errorf("keys pile up: %v", state.Masters)
		}
		masters[state.Masters[0]] = true
	}
	in, err := openKeyed(t.Context(), app.Exclusive, env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.RotateMasterKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if state := kept(t, want, env); len(state.Masters) != 1 || len(state.Keys) != 1 || state.Keys[0].Master != state.Masters[0] {
		t.Errorf("%+v", state)
	}
	t.Logf("%d of %d were killed in %v, %d keys were in use", cut, kills, whole, len(masters))
	if cut == 0 {
		t.Error("none was killed")
	}
}

// TestBackupOpens backs an instance up while its key is being replaced, and looks whether the backup opens what is in it.
func TestBackupOpens(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		older, newer := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
		env := []string{"SEKISHO_DATA=" + filepath.Join(t.TempDir(), "data"), "SEKISHO_DATABASE_URL=" + dsn}
		want := fillSecrets(t, 3, append(env, "SEKISHO_MASTER_KEY="+older)...)
		in, err := openKeyed(t.Context(), app.Shared, append(env, "SEKISHO_MASTER_KEY="+newer+","+older)...)
		if err != nil {
			t.Fatal(err)
		}
		backup := filepath.Join(t.TempDir(), "backup")
		_, err = in.Backup(t.Context(), backup, nil)
		if err := errors.Join(err, in.Close()); err != nil {
			t.Fatal(err)
		}
		if state := kept(t, want, "SEKISHO_DATA="+backup); len(state.Masters) != 2 {
			t.Errorf("%+v", state)
		}
		copied, err := openKeyed(t.Context(), app.Exclusive, "SEKISHO_DATA="+backup)
		if err != nil {
			t.Fatal(err)
		}
		_, err = copied.RotateMasterKey(t.Context())
		if err := errors.Join(err, copied.Close()); err != nil {
			t.Fatal(err)
		}
		kept(t, want, "SEKISHO_DATA="+backup)
	})
}

// issueToken returns a credential with an authorization token of the root access key.
func issueToken(t *testing.T, env ...string) string {
	t.Helper()
	in, err := openKeyed(t.Context(), app.Shared, env...)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	keys, err := in.IAM.Keys(t.Context(), in.Account)
	if err != nil || len(keys) == 0 {
		t.Fatal(keys, err)
	}
	password, _, err := in.IAM.IssueToken(t.Context(), &iam.Caller{Principal: iam.Principal{Account: in.Account, ARN: keys[0].ARN, Type: iam.Root, AccessKeyID: keys[0].ID}})
	if err != nil {
		t.Fatal(err)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(iam.TokenUser+":"+password))
}

// TestRotateConfiguredKey goes over to another key in the configuration while a node serves.
func TestRotateConfiguredKey(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		dir := filepath.Join(t.TempDir(), "data")
		keyed := func(keys string) []string {
			return []string{"SEKISHO_DATA=" + dir, "SEKISHO_DATABASE_URL=" + dsn, "SEKISHO_MASTER_KEY=" + keys}
		}
		older, newer := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
		want := fillSecrets(t, 3, keyed(older)...)
		token := issueToken(t, keyed(older)...)
		serving, err := openKeyed(t.Context(), app.Serve, keyed(newer+","+older)...)
		if err != nil {
			t.Fatal(err)
		}
		defer serving.Close()
		one, err := openKeyed(t.Context(), app.Shared, keyed(older)...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := one.RotateMasterKey(t.Context()); !errors.Is(err, app.ErrOneMasterKey) {
			t.Errorf("with one key: %v", err)
		}
		if err := one.Close(); err != nil {
			t.Fatal(err)
		}
		in, err := openKeyed(t.Context(), app.Shared, keyed(newer+","+older)...)
		if err != nil {
			t.Fatal(err)
		}
		report, err := in.RotateMasterKey(t.Context())
		if err := errors.Join(err, in.Close()); err != nil || report.Rows != 4 {
			t.Fatal(report, err)
		}
		caller := (&iam.Principal{Account: serving.Account, ARN: iam.RootARN(serving.Account), Type: iam.Root}).Caller()
		if v, err := serving.Secrets.Value(t.Context(), caller, "s1"); err != nil || string(v.Reveal()) != want["s1"] {
			t.Errorf("the node that serves: %v", err)
		}
		if _, _, err := serving.Secrets.Create(t.Context(), caller, secret.Draft{Name: "later", Value: secret.Text("x")}); err != nil {
			t.Errorf("the node that serves: %v", err)
		}
		if _, err := serving.IAM.Authenticate(t.Context(), token, netip.MustParseAddr("192.0.2.1")); err != nil {
			t.Errorf("a token of before, while the old key is there: %v", err)
		}
		want["later"] = "x"
		if err := serving.Close(); err != nil {
			t.Fatal(err)
		}
		kept(t, want, keyed(newer)...)
		after, err := openKeyed(t.Context(), app.Shared, keyed(newer)...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := after.IAM.Authenticate(t.Context(), token, netip.MustParseAddr("192.0.2.1")); !errors.Is(err, iam.ErrInvalidCredentials) {
			t.Errorf("a token of before, when the old key is gone: %v", err)
		}
		if err := after.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := openKeyed(t.Context(), app.Shared, keyed(older)...); err == nil {
			t.Error("opened with the old key")
		}
		if _, err := os.Stat(filepath.Join(dir, "master.key")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the key was written to the data folder: %v", err)
		}
	})
}
