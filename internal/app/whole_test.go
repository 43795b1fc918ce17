package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/config"
)

// whole is the whole server, in this process.
type whole struct {
	*client
	t    *testing.T
	in   *app.Instance
	dir  string
	addr string
	log  *lines
	end  func() error // stops the server as a signal does, and closes the instance; called again it does nothing
}

// lines is what was logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// serveWhole serves dir with settings like "SEKISHO_LIMITS_IDLE=1s" until the test ends, and then checks that no
// goroutine of it is left.
func serveWhole(t *testing.T, dir string, settings ...string) *whole {
	t.Helper()
	goroutines := runtime.NumGoroutine()
	loaded, err := config.Load(config.Options{Env: append([]string{
		"SEKISHO_DATA=" + dir, "SEKISHO_LISTEN=127.0.0.1:0", "SEKISHO_CREATE_ON_PUSH=true", "SEKISHO_GC_INTERVAL=0s", "SEKISHO_DOMAIN=registry.example", "SEKISHO_REGION=eu-west-1",
	}, settings...)})
	if err != nil {
		t.Fatal(err)
	}
	w := &whole{t: t, dir: dir, log: &lines{}}
	if w.in, err = app.Open(t.Context(), &loaded.Config, slog.New(slog.NewJSONHandler(w.log, nil)), app.Serve); err != nil {
		t.Fatal(err)
	}
	key, err := w.in.ReadRootKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ran := make(chan string, 1), make(chan error, 1)
	go func() { ran <- w.in.Run(ctx, "test", func(addrs []string) { ready <- addrs[0] }) }()
	transport := &http.Transport{}
	var once sync.Once
	w.end = func() (err error) {
		once.Do(func() {
			stop()
			transport.CloseIdleConnections()
			err = errors.Join(<-ran, w.in.Close())
		})
		return err
	}
	t.Cleanup(func() {
		if err := w.end(); err != nil {
			t.Errorf("the end of the server: %v", err)
		}
		if strings.HasPrefix(loaded.Config.Blobs.URL, "s3:") {
			return // the SDK's client keeps connections for a while, and can't be told not to
		}
		until(t, func() error {
			if n := runtime.NumGoroutine(); n > goroutines {
				buf := make([]byte, 1<<20)
				return fmt.Errorf("%d goroutines, there were %d:\n%s", n, goroutines, buf[:runtime.Stack(buf, true)])
			}
			return nil
		})
	})
	select {
	case w.addr = <-ready:
	case err := <-ran:
		t.Fatal(err)
	}
	w.client = &client{http: &http.Client{Transport: transport}, url: "http://" + w.addr, user: key.AccessKeyID, pass: key.SecretAccessKey}
	return w
}

// until waits until is returns nil.
func until(t *testing.T, is func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func (w *whole) dial() *net.TCPConn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func (w *whole) authorization() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(w.user+":"+w.pass))
}

// raw sends a request line as it stands, and returns the answer.
func (w *whole) raw(line, head, body string) (*http.Response, string) {
	w.t.Helper()
	c := w.dial()
	if _, err := io.WriteString(c, line+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+head+"\r\n"+body); err != nil {
		w.t.Fatal(err)
	}
	method, _, _ := strings.Cut(line, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
	return resp, string(text)
}

// must is expect that ends the test.
func (w *whole) must(status int, method, path, contentType, body string) (http.Header, string) {
	w.t.Helper()
	h, got, err := w.expect(status, method, path, contentType, []byte(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return h, string(got)
}
