package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
)

var cmpConfig = cmp.Options{cmpopts.EquateComparable(netip.Prefix{}), cmp.AllowUnexported(Secret{}), cmpopts.EquateEmpty()}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sekisho.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func flags(t *testing.T, args ...string) *Flags {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f := AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPrecedence(t *testing.T) {
	secretFile := write(t, "sqlite:/from/file\n")
	file := write(t, `
data: /file
listen: [":1", ":2"]
region: file-1
gc:
  interval: 2h
  grace: 1d12h
limits: {layer: 16GiB, uploads: 7}
create_on_push: true
log:
  level: warn
proxies:
  trusted: [10.0.0.0/8, "fd00::1"]
tracing: {sample: 0.25}
tls:
`)
	l, err := Load(Options{
		File: file,
		Env: []string{"SEKISHO_DATA=/env", "SEKISHO_REGION=env-1", "SEKISHO_GC_INTERVAL=3h", "SEKISHO_DATABASE_URL_FILE=" + secretFile,
			"SEKISHO_METRICS_ALLOW=192.0.2.0/24, 192.0.2.9", "OTHER=1"},
		Flags: flags(t, "--data", "/flag", "--listen", ":3", "--listen", ":4,:5", "--set", "gc.interval=4h"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Data = "/flag"
	want.Listen = []string{":3", ":4", ":5"}
	want.Region = "env-1"
	want.Database.URL = NewSecret("sqlite:/from/file")
	want.Blobs.URL = "file:/flag"
	want.TLS.CA = "/flag/ca"
	want.Git.Path = "/flag/git"
	want.GC.Interval, want.GC.Grace = 4*time.Hour, 36*time.Hour
	want.Limits.Layer, want.Limits.Uploads = 16<<30, 7
	want.CreateOnPush = true
	want.Log.Level = 4
	want.Proxies.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::1/128")}
	want.Tracing.Sample = 0.25
	want.Metrics.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.9/32")}
	if diff := cmp.Diff(want, l.Config, cmpConfig); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for key, origin := range map[string]string{
		"data": "--data", "listen": "--listen", "region": "SEKISHO_REGION", "gc.interval": "--set gc.interval",
		"gc.grace": file + ":7", "database.url": "SEKISHO_DATABASE_URL_FILE", "domain": "default", "limits.uploads": file + ":8",
		"proxies.trusted": file + ":13",
	} {
		i := slices.IndexFunc(l.Settings, func(s Setting) bool { return s.Key == key })
		if got := l.Settings[i].Origin; got != origin {
			t.Errorf("%s is from %q, want %q", key, got, origin)
		}
	}
	if len(l.Warnings) > 0 {
		t.Error(l.Warnings)
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	l, err := Load(Options{Env: []string{"SEKISHO_CONFIG=" + write(t, "region: other-1\n"), "SEKISHO_REGIO=x", "SEKISHO_PORT=tcp://10.0.0.1:5000",
		"SEKISHO_SERVICE_HOST=10.0.0.1", "SEKISHO_GC_INTERVALL=1h"}})
	if err != nil {
		t.Fatal(err)
	}
	if l.Config.Region != "other-1" {
		t.Error(l.Config.Region)
	}
	want := []string{`SEKISHO_GC_INTERVALL is no setting; did you mean "SEKISHO_GC_INTERVAL"?`, `SEKISHO_REGIO is no setting; did you mean "SEKISHO_REGION"?`}
	if diff := cmp.Diff(want, l.Warnings); diff != "" {
		t.Error(diff)
	}
	if _, err := Load(Options{File: "/nowhere/sekisho.yaml"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

const key32 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func TestProblems(t *testing.T) {
	big := strings.Repeat("#", maxFile+1)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		file string
		env  []string
		args []string
		want []string // FILE and DIR stand for their names
	}{
		{name: "unknown key", file: "gc:\n  intervall: 1h\n", want: []string{`FILE:2: unknown key "gc.intervall"; did you mean "gc.interval"?`}},
		{name: "unknown group", file: "limit:\n  idle: 1s\n", want: []string{`FILE:1: unknown key "limit"; did you mean "limits"?`}},
		{name: "wrong place", file: "grace: 1h\n", want: []string{`FILE:1: unknown key "grace"; did you mean "gc.grace"?`}},
		{name: "nothing like it", file: "zzz: 1\n", want: []string{`FILE:1: unknown key "zzz"`}},
		{name: "file of no secret", file: "region_file: x\n", want: []string{`FILE:1: unknown key "region_file"`}},
		{name: "several", file: "regio: a\ngc: {interval: soon}\nlog: {level: loud}\n", want: []string{
			`FILE:1: unknown key "regio"; did you mean "region"?`,
			`FILE:2: gc.interval: "soon" is not a duration such as 30s, 1h30m or 7d`,
			`FILE:3: log.level: "loud" is none of debug, info, warn, error`}},
		{name: "twice", file: "region: a\nregion: b\n", want: []string{`FILE:2: region: is in line 1 already`}},
		{name: "no mapping", file: "- a\n", want: []string{`FILE:1: settings are expected here, in the form key: value`}},
		{name: "group is scalar", file: "gc: 1h\n", want: []string{`FILE:1: gc: settings are expected here, in the form key: value`}},
		{name: "setting is mapping", file: "region: {a: b}\n", want: []string{`FILE:1: region: a value is expected, not further keys`}},
		{name: "setting is list", file: "region: [a]\n", want: []string{`FILE:1: region: one value is expected, not a list`}},
		{name: "list of lists", file: "listen: [[a]]\n", want: []string{`FILE:1: listen: each element must be one value`}},
		{name: "syntax", file: "a: b: c\n", want: []string{`FILE: mapping values are not allowed in this context`}},
		{name: "documents", file: "region: a\n---\nregion: b\n", want: []string{`FILE: only one YAML document is expected`}},
		{name: "cycle", file: "gc: &a\n  gc: *a\n", want: []string{`FILE:2: unknown key "gc.gc"; did you mean "gc"?`}},
		{name: "too big", file: big, want: []string{`read configuration: FILE is over 1MiB`}},
		{name: "bool", env: []string{"SEKISHO_CREATE_ON_PUSH=yes"}, want: []string{`SEKISHO_CREATE_ON_PUSH: create_on_push: "yes" is neither true nor false`}},
		{name: "int", env: []string{"SEKISHO_LIMITS_UPLOADS=-1"}, want: []string{`SEKISHO_LIMITS_UPLOADS: limits.uploads: "-1" is not a whole number from 0 up`}},
		{name: "size", env: []string{"SEKISHO_LIMITS_LAYER=9999999TiB"}, want: []string{`SEKISHO_LIMITS_LAYER: limits.layer: "9999999TiB" is not a size such as 16MiB`}},
		{name: "prefix", env: []string{"SEKISHO_PROXIES_TRUSTED=10.0.0.1/8"}, want: []string{
			`SEKISHO_PROXIES_TRUSTED: proxies.trusted: "10.0.0.1/8" has bits beyond its length: write 10.0.0.0/8, or an address`}},
		{name: "set", args: []string{"--set", "gc.intervals=1"}, want: []string{`--set gc.intervals: unknown setting "gc.intervals"; did you mean "gc.interval"?`}},
		{name: "secret twice", file: "master_key: a\nmaster_key_file: b\n", want: []string{`FILE:2: master_key_file: master_key is given as well: remove one of them`}},
		{name: "secret file missing", file: "master_key_file: /nowhere/k\n", want: []string{`FILE:1: master_key_file: open /nowhere/k: no such file or directory`}},
		{name: "secret file empty", file: "master_key_file: DIR/empty\n", want: []string{`FILE:1: master_key_file: DIR/empty is empty`}},
		{name: "empty", file: "data: ''\nlisten: []\n", want: []string{
			`FILE:1: data: name the folder to keep everything in`,
			`FILE:2: listen: name at least one address, such as 127.0.0.1:5000`,
			`default: database.url: it begins with neither sqlite: nor postgres://`,
			`default: blobs.url: "" begins with neither file: nor s3://`}},
		{name: "forms", file: `
listen: [localhost]
public_url: https://h/path
region: EU
account: "123"
domain: .x
blobs: {url: "gs://x"}
limits: {idle: 0}
log: {format: xml}
proxies: {header: via}
tracing: {endpoint: "collector:4318", sample: 2}
metrics: {listen: "9090"}
`, want: []string{
			`FILE:2: listen: "localhost" is not host:port, such as 127.0.0.1:5000 or :443`,
			`FILE:3: public_url: "https://h/path" is not scheme and host alone, such as https://registry.example.com`,
			`FILE:4: region: "EU" is not a region's name: lower-case letters, digits and hyphens, such as eu-west-1`,
			`FILE:5: account: "123" is not 12 digits`,
			`FILE:6: domain: ".x" is not a domain in lower case, such as example.com`,
			`FILE:7: blobs.url: "gs://x" begins with neither file: nor s3://`,
			`FILE:8: limits.idle: must be more than 0`,
			`FILE:9: log.format: "xml" is none of auto, json, text`,
			`FILE:10: proxies.header: "via" is none of x-forwarded-for, forwarded`,
			`FILE:11: tracing.endpoint: "collector:4318" is not a URL, such as http://collector:4318`,
			`FILE:11: tracing.sample: 2 is not between 0 and 1`,
			`FILE:12: metrics.listen: "9090" is not host:port, such as 127.0.0.1:9090`}},
		{name: "certificate alone", file: "tls: {cert: DIR/empty}\n", want: []string{`default: tls.key: missing: name the file with the key of tls.cert`}},
		{name: "certificate missing", file: "tls: {cert: /nowhere/c, key: DIR/empty}\n", want: []string{`FILE:1: tls.cert: open /nowhere/c: no such file or directory`}},
		{name: "PostgreSQL without key", env: []string{"SEKISHO_DATABASE_URL=postgres://u:p@h/d"}, want: []string{
			"default: master_key: missing: nodes that share a database need the same key. Make one with `openssl rand -hex 32` and give it to each, or name its file in master_key_file"}},
		{name: "short key", env: []string{"SEKISHO_MASTER_KEY=abcd"}, want: []string{
			"SEKISHO_MASTER_KEY: master_key: it is not 32 bytes in hex or base64: make one with `openssl rand -hex 32`"}},
		{name: "bucket settings without bucket", file: "blobs: {s3: {endpoint: \"http://x\"}}\n", want: []string{
			`FILE:1: blobs.s3.endpoint: has no effect with files: set blobs.url to s3://bucket, or remove it`}},
		{name: "half a bucket key", file: "blobs: {url: \"s3://bucket\", s3: {access_key_id: a, region: ''}}\n", want: []string{
			`FILE:1: blobs.s3.region: name the bucket's region; servers other than AWS take any`,
			`default: blobs.s3.secret_access_key: missing: blobs.s3.access_key_id needs it`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Env: tt.env, Flags: flags(t, tt.args...)}
			if tt.file != "" {
				o.File = write(t, strings.ReplaceAll(tt.file, "DIR", dir))
			}
			_, err := Load(o)
			if err == nil {
				t.Fatal("accepted")
			}
			got := err.Error()
			if o.File != "" {
				got = strings.ReplaceAll(got, o.File, "FILE")
			}
			got = strings.ReplaceAll(got, dir, "DIR")
			if diff := cmp.Diff(tt.want, strings.Split(got, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	for _, text := range []string{
		"", "# nothing\n", "gc:\n", "region: # later\n", "region: eu-west-1\n", "region: lab\n", "domain: amazonaws.com\n",
		"public_url: https://h:5000/\n", "listen: '127.0.0.1:0,[::1]:0'\n", "listen: [\":443\"]\n", "account: '000000000001'\n", "account: 123456789012\n",
		"database: {url: 'postgres://h/d'}\nmaster_key: " + key32 + "\n",
		"master_key: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
		"blobs: {url: 's3://bucket/a/b', s3: {endpoint: 'http://127.0.0.1:9000', path_style: true, redirect: true}}\n",
		"gc: {interval: &x 1h, grace: *x}\n",
	} {
		if _, err := Load(Options{File: write(t, text)}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Nothing that prints shows a secret.
func TestSecretsAreMasked(t *testing.T) {
	l, err := Load(Options{Env: []string{"SEKISHO_MASTER_KEY=" + key32, "SEKISHO_DATABASE_URL=postgres://user:hunter2@db/sekisho?sslpassword=hunter2&sslmode=require",
		"SEKISHO_BLOBS_URL=s3://bucket", "SEKISHO_BLOBS_S3_ACCESS_KEY_ID=AKIA", "SEKISHO_BLOBS_S3_SECRET_ACCESS_KEY=hunter2"}})
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{fmt.Sprintf("%v %+v %#v", *l, *l, *l), string(asJSON), fmt.Sprint(l.Settings)} {
		for _, secret := range []string{"hunter2", key32[:8]} {
			if strings.Contains(out, secret) {
				t.Errorf("%q is in %s", secret, out)
			}
		}
	}
	i := slices.IndexFunc(l.Settings, func(s Setting) bool { return s.Key == "database.url" })
	if got, want := l.Settings[i].Value, "postgres://user:xxxxx@db/sekisho?********"; got != want {
		t.Errorf("database.url is shown as %s, want %s", got, want)
	}
	if got := l.Config.Blobs.S3.SecretAccessKey.Reveal(); got != "hunter2" {
		t.Error(got)
	}
	if got := NewSecret("a:/b").String(); got != "********" {
		t.Error(got)
	}
}

// What is printed can be given back: formats and parsers are inverse for every
// setting, which also shows that each type has both.
func TestRoundTrip(t *testing.T) {
	c := Default()
	c.GC.Untagged = 36*time.Hour + 90*time.Second
	c.TLS.Certificates = []KeyPair{{"a<b", "c\"d"}, {}}
	c.Endpoints = []Endpoint{{ID: "vpce-00000001", Listen: []string{":1", "[::1]:2"}, Senders: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Policy: "{\n\t\"a\": \"\u2028\"}"}}
	for _, f := range fields(&c) {
		if f.secret() {
			continue
		}
		back := reflect.New(f.value.Type()).Elem()
		text := format(f.value)
		var err error
		if isRecords(back.Type()) {
			l := &loader{origins: map[string]string{}}
			l.setRecords(&field{value: back}, assignment{texts: []string{text}})
			for _, p := range l.problems {
				err = errors.Join(err, errors.New(p.String()))
			}
		} else if isList(back.Type()) {
			err = setList(back, splitList(text))
		} else {
			err = setScalar(back, text)
		}
		if err != nil || !cmp.Equal(f.value.Interface(), back.Interface(), cmpConfig) {
			t.Errorf("%s: %v, as %q, came back as %v, %v", f.key, f.value, text, back, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(Example())
	f.Add("gc: {interval: 1h}\nlisten: [a, b]\n")
	f.Add("a: &a [*a]\n")
	f.Add("endpoints: &a [{id: vpce-00000001, listen: [':1'], senders: 10.0.0.1}, *a]\nproxy_protocol: {listen: [':2']}\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = Load(Options{File: write(t, text)})
	})
}
