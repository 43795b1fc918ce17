package ociserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-cmp/cmp"
)

// conn is a connection that a test writes to as no client of any library would.
type conn struct {
	*net.TCPConn
	in *instance
	r  *bufio.Reader
}

func (in *instance) dial() *conn {
	in.Helper()
	c, err := net.Dial("tcp", in.addr)
	if err != nil {
		in.Fatal(err)
	}
	in.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		in.Fatal(err)
	}
	return &conn{c.(*net.TCPConn), in, bufio.NewReader(c)}
}

// send writes the head of a request, with a credential, and what follows it.
func (c *conn) send(line, head, body string) *conn {
	c.in.Helper()
	if head != "" {
		head += "\r\n"
	}
	text := line + " HTTP/1.1\r\nHost: " + c.in.addr + "\r\nAuthorization: " + c.in.authorization("") + "\r\n" + head + "\r\n" + body
	if _, err := io.WriteString(c, text); err != nil && !errors.Is(err, net.ErrClosed) {
		c.in.Logf("%s: %v", line, err) // the server may have had enough
	}
	return c
}

// receive reads the answer to a request.
func (c *conn) receive(method string) answer {
	c.in.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.in.Fatal(err)
	}
	a, err := read(method, resp)
	if err != nil {
		c.in.Error(err)
	}
	return a
}

// wants compares an answer's status and code.
func (c *conn) wants(method string, status int, code string) answer {
	c.in.Helper()
	a := c.receive(method)
	if a.status != status || a.code != code {
		c.in.Errorf("%d %s %q, want %d %s", a.status, a.code, a.message, status, code)
	}
	return a
}

// reset breaks the connection as a crashing client does.
func (c *conn) reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// residue is what must be as before when clients are gone.
type residue struct{ goroutines int }

func (in *instance) before() residue {
	in.expect(call{method: "GET", path: "/v2/"}, want{status: 200})
	in.http.CloseIdleConnections()
	var r residue
	eventually(in, func() error { // until those of the connection have ended
		if n := runtime.NumGoroutine(); n != r.goroutines {
			r.goroutines = n
			return errors.New("the number of goroutines changes all the time")
		}
		return nil
	})
	return r
}

// after waits until all is as it was, but for uploads that can be resumed, and says that the server serves.
func (in *instance) after(r residue, staged ...int64) {
	in.Helper()
	in.expect(call{method: "GET", path: "/v2/"}, want{status: 200})
	in.http.CloseIdleConnections()
	eventually(in, func() error {
		if n := runtime.NumGoroutine(); n > r.goroutines {
			buf := make([]byte, 1<<20)
			return fmt.Errorf("%d goroutines, there were %d:\n%s", n, r.goroutines, buf[:runtime.Stack(buf, true)])
		}
		if staged == nil {
			staged = []int64{}
		}
		if diff := cmp.Diff(staged, in.staged()); diff != "" {
			return errors.New("uploads: " + diff)
		}
		return nil
	})
	in.onlyKnownFiles()
}

// onlyKnownFiles checks that the store's folder has no file that the store does not list.
func (in *instance) onlyKnownFiles() {
	in.Helper()
	known := map[string]bool{}
	for o, err := range in.store.Objects(in.Context()) {
		if err != nil {
			in.Fatal(err)
		}
		known[filepath.Join("blobs", o.Key)] = true
	}
	for u, err := range in.store.Uploads(in.Context()) {
		if err != nil {
			in.Fatal(err)
		}
		known[filepath.Join("uploads", u.ID)] = true
	}
	root := filepath.Join(in.dir, "data")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if name, _ := filepath.Rel(root, path); !known[name] {
			in.Errorf("the file %s is left", name)
		}
		return nil
	})
	if err != nil {
		in.Error(err)
	}
}

func (in *instance) rows(table string) (n int) {
	in.Helper()
	if err := in.db.QueryRow(in.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
		in.Fatal(err)
	}
	return n
}
