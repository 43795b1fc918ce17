package agent

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// TestPrivateNetwork reaches a server with a certificate of a private authority, through a proxy, over HTTP/1.1 and HTTP/2.
func TestPrivateNetwork(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		name := "HTTP/1.1"
		if http2 {
			name = "HTTP/2"
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var versions [3]atomic.Int64
			back := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", w.addr, r.In.Host
			}}
			tls := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				versions[r.ProtoMajor].Add(1)
				back.ServeHTTP(rw, r)
			}))
			tls.EnableHTTP2 = http2
			tls.StartTLS()
			defer tls.Close()
			ca := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw}), 0o644); err != nil {
				t.Fatal(err)
			}
			var tunnels atomic.Int64
			proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodConnect {
					http.Error(rw, "only CONNECT", http.StatusBadRequest)
					return
				}
				tunnels.Add(1)
				out, err := net.Dial("tcp", r.Host)
				if err != nil {
					http.Error(rw, err.Error(), http.StatusBadGateway)
					return
				}
				in, _, err := http.NewResponseController(rw).Hijack()
				if err != nil {
					_ = out.Close()
					return
				}
				_, _ = io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
				go func() {
					_, _ = io.Copy(out, in)
					_ = out.Close()
				}()
				_, _ = io.Copy(in, out)
				_ = in.Close()
			}))
			defer proxy.Close()

			_, err := w.configure("one", func(o *ConfigureOptions) { o.URL, o.Proxy = tls.URL, proxy.URL })
			says(t, "without the authority", err, "certificate")
			f, err := w.configure("one", func(o *ConfigureOptions) { o.URL, o.Proxy, o.CAFile = tls.URL, proxy.URL, ca })
			if err != nil {
				t.Fatal(err)
			}
			w.queue.add(&work.Job{ID: "a", DisplayName: "A", Steps: []work.Step{step("a", "log", 2000), step("b", "file", 1<<20)}})
			if err := w.run(f, func(o *RunOptions) { o.Once = true }).wait(t); err != nil {
				t.Fatal(err)
			}
			if got := w.queue.results["a"]; got != "succeeded" {
				t.Errorf("the job is %q", got)
			}
			if got := string(w.queue.logs["a/a"]); got != lines("a", 2000) {
				t.Errorf("its log has %d bytes", len(got))
			}
			if tunnels.Load() == 0 || (versions[2].Load() > 0) != http2 {
				t.Errorf("%d tunnels, %d calls over HTTP/1.1, %d over HTTP/2", tunnels.Load(), versions[1].Load(), versions[2].Load())
			}
			var findings []Finding
			if !f.Doctor(t.Context(), DoctorOptions{Version: "1", Report: func(x Finding) { findings = append(findings, x) }}) {
				t.Errorf("the doctor finds %+v", findings)
			}
		})
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	examine := func(f Folder, o DoctorOptions) (bool, map[string]Finding) {
		found := map[string]Finding{}
		o.Version, o.Report = "1", func(x Finding) { found[x.Check] = x }
		return f.Doctor(t.Context(), o), found
	}
	f, err := w.configure("one", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, found := examine(f, DoctorOptions{})
	for _, check := range []string{"configuration", "DNS", "TCP", "server", "clock", "token", "pool", "disk"} {
		if found[check].Verdict != Good {
			t.Errorf("%s: %+v", check, found[check])
		}
	}
	if err := w.pools.DeleteAgent(t.Context(), w.root, "builders", "one", true); err != nil {
		t.Fatal(err)
	}
	if well, found := examine(f, DoctorOptions{}); well || found["token"].Verdict != Bad || found["token"].Fix == "" {
		t.Errorf("of an agent that was deleted it says %+v", found["token"])
	}
	empty := Folder(t.TempDir())
	if well, found := examine(empty, DoctorOptions{}); well || found["configuration"].Verdict != Bad {
		t.Errorf("of nothing it says %+v", found)
	}
	if _, found := examine(empty, DoctorOptions{Route: Route{URL: w.url()}}); found["server"].Verdict != Good || found["configuration"].Verdict != Omitted {
		t.Errorf("of a server alone it says %+v", found)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody is there
	if well, found := examine(empty, DoctorOptions{Route: Route{URL: "http://" + l.Addr().String()}}); well || found["TCP"].Verdict != Bad {
		t.Errorf("of a closed port it says %+v", found)
	}
	if well, found := examine(empty, DoctorOptions{Route: Route{URL: "http://nowhere.invalid"}}); well || found["DNS"].Verdict != Bad {
		t.Errorf("of a name that is none it says %+v", found)
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		url   string
		http  bool
		want  string
		error string
	}{
		{"https://a.example.com/", false, "https://a.example.com", ""},
		{" https://a.example.com:8443 ", false, "https://a.example.com:8443", ""},
		{"http://127.0.0.1:5000", false, "http://127.0.0.1:5000", ""},
		{"http://localhost", false, "http://localhost", ""},
		{"http://[::1]:1", false, "http://[::1]:1", ""},
		{"http://a.example.com", false, "", "no TLS"},
		{"http://localhost.example.com", false, "", "no TLS"},
		{"http://a.example.com", true, "http://a.example.com", ""},
		{"https://user:secret@a.example.com", false, "", "no more"},
		{"https://a.example.com/org", false, "", "no more"},
		{"ftp://a", false, "", "not the URL"},
		{"a.example.com", false, "", "not the URL"},
	} {
		got, err := CheckURL(x.url, x.http)
		if got != x.want || (err == nil) != (x.error == "") || err != nil && (!strings.Contains(err.Error(), x.error) || strings.Contains(err.Error(), "user:")) {
			t.Errorf("%q: %q, %v", x.url, got, err)
		}
	}
}

// TestSpool writes and reads a log in random pieces, closes it in between, and compares.
func TestSpool(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	s, err := openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for range 300 {
		l, err := s.log("a/b")
		if err != nil {
			t.Fatal(err)
		}
		piece := bytes.Repeat([]byte{byte(random.IntN(256))}, random.IntN(2000))
		from := int64(len(want)) - int64(random.IntN(min(len(want), 50)+1)) // some of it is told again
		data := append(bytes.Clone(want[from:]), piece...)
		size, err := s.add(l, from, data)
		want = append(want, piece...)
		if err != nil || size != int64(len(want)) {
			t.Fatalf("%d bytes, want %d: %v", size, len(want), err)
		}
		if _, err := s.add(l, size+1, []byte("x")); err == nil {
			t.Fatal("a hole is taken")
		}
		if random.IntN(20) == 0 {
			s.close()
			if s, err = openSpool(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	l, err := s.log("a/b")
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for {
		part, err := s.read(l, int64(len(got)), 1+random.IntN(5000))
		if err != nil {
			t.Fatal(err)
		}
		if len(part) == 0 {
			break
		}
		got = append(got, part...)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, not the %d that were written", len(got), len(want))
	}
	secret := work.Record{Step: "s", Sequence: 2, Outputs: []work.Variable{{Name: "a", Value: "hidden", Secret: true}, {Name: "b", Value: "shown"}}}
	if err := s.keep([]work.Record{secret, {Step: "s", Sequence: 1}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, recordsFile))
	if err != nil || bytes.Contains(text, []byte("hidden")) || !bytes.Contains(text, []byte("shown")) {
		t.Errorf("the records on disk are %s, %v", text, err)
	}
	if err := s.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there after it was removed: %v", err)
	}
}

func TestUnit(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://user:secret@proxy.example.com")
	t.Setenv("NO_PROXY", "10.0.0.0/8")
	u := Unit{Folder: "/srv/a $b %c \"d", Binary: "/opt/sekisho", User: "build", Drain: "30m0s"}
	text, err := u.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`ExecStart="/opt/sekisho" agent run --folder "/srv/a $$b %%c \"d" --drain 30m0s`, "User=build", "KillMode=mixed", `Environment="NO_PROXY=10.0.0.0/8"`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%q is not in it:\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Errorf("a password is in it:\n%s", text)
	}
	u.Folder = "/srv/a\nExecStart=/bin/sh"
	if _, err := u.Text(); err == nil {
		t.Error("a line break is taken")
	}
	if n := (&Unit{Folder: "/srv/größe"}).Name(); strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		t.Errorf("the name is %q", n)
	}
}

// TestTidy removes what is old and nothing else.
func TestTidy(t *testing.T) {
	t.Parallel()
	a := &Agent{folder: Folder(t.TempDir()), settings: &Settings{Work: DefaultWork}, now: nowIn(oldAge * 2), log: discardLog()}
	for _, dir := range []string{"1/s", "2/s", "_tool/x", "notes"} {
		if err := os.MkdirAll(a.folder.path(DefaultWork, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(a.folder.path(DefaultWork, "1/s"), 0o500); err != nil {
		t.Fatal(err)
	}
	later := a.now()
	if err := os.Chtimes(a.folder.path(DefaultWork, "2", "s"), later, later); err != nil {
		t.Fatal(err)
	}
	if n := a.tidyTo(oldAge); n != 1 {
		t.Errorf("%d were removed", n)
	}
	left, err := filepath.Glob(a.folder.path(DefaultWork, "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("left are %v, %v", left, err)
	}
}
