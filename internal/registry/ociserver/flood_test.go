package ociserver_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/registry"
)

// atOnce is how many requests concurrently has at work.
const atOnce = 16

// concurrently runs do n times, atOnce at a time.
func concurrently(n int, do func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// TestManyStarts: an upload without bytes costs nothing, however many there are and however they end.
func TestManyStarts(t *testing.T) {
	in, _ := scene(t, setup{registry: registry.Options{MaxUploads: 5}})
	r := in.before()
	blobs := in.rows("blobs")
	concurrently(3000, func(i int) {
		a := in.do(call{method: "POST", path: "/v2/team/app/blobs/uploads/"})
		location := a.header.Get("Location")
		switch {
		case a.status != http.StatusAccepted:
			t.Errorf("status %d %s", a.status, a.message)
		case i%10 == 1:
			a = in.do(call{method: "PATCH", path: location})
		case i%10 == 2:
			a = in.do(call{method: "GET", path: location})
		case i%10 == 3:
			a = in.do(call{method: "PUT", path: location + "?digest=" + sum("x"), body: "y"})
		}
		if a.status >= 500 || a.status == http.StatusTooManyRequests {
			t.Errorf("status %d %s", a.status, a.message)
		}
	})
	in.after(r)
	if n := in.rows("blobs"); n != blobs {
		t.Errorf("%d blobs, there were %d", n, blobs)
	}
	if n := in.rows("ended_uploads"); n != 0 {
		t.Errorf("%d rows of ended uploads", n)
	}
}

// TestManyUploads: those that hold bytes have a bound. At the bound all else goes on, and once some are gone so do
// uploads.
func TestManyUploads(t *testing.T) {
	const most, tries = 200, 1500
	in, _ := scene(t, setup{registry: registry.Options{MaxUploads: most}})
	r := in.before()
	var mu sync.Mutex
	var open []string // guarded by mu
	refused := 0      // guarded by mu
	concurrently(tries, func(i int) {
		location := in.do(call{method: "POST", path: "/v2/team/app/blobs/uploads/"}).header.Get("Location")
		a := in.do(call{method: "PATCH", path: location, body: "x"})
		mu.Lock()
		defer mu.Unlock()
		switch {
		case a.status == http.StatusAccepted:
			open = append(open, location)
		case a.status == http.StatusTooManyRequests && a.code == "TOOMANYREQUESTS" && a.header.Get("Retry-After") == "10":
			refused++
		default:
			t.Errorf("status %d %s %s", a.status, a.code, a.message)
		}
	})
	if len(open) < most || len(open) > most+atOnce || refused != tries-len(open) {
		t.Errorf("%d uploads were accepted and %d refused, at most %d are allowed", len(open), refused, most)
	}
	if n := len(in.staged()); n != len(open) {
		t.Errorf("%d uploads are staged", n)
	}
	many := want{status: 429, code: "TOOMANYREQUESTS", says: fmt.Sprint(most, " uploads are unfinished"), header: fields{"Retry-After": "10"}}
	in.clock.advance(time.Minute) // after a while the store is asked again how many there are, before one is refused
	for range atOnce + 1 {
		location := startUpload(in)
		if in.do(call{method: "PATCH", path: location, body: "x"}).status == many.status {
			break
		}
		open = append(open, location)
	}
	for ; len(open) > most; open = open[1:] {
		in.expect(call{method: "DELETE", path: open[0]}, want{status: 204})
	}
	in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/?digest=" + sum(large), body: large}, many)
	in.expect(call{method: "PUT", path: startUpload(in) + "?digest=" + sum(large), body: large}, many)
	in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/?digest=" + sum("small"), body: "small"}, want{status: 201})
	in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/?from=from&mount=" + sum(large)}, want{status: 201})
	in.expect(call{method: "GET", path: "/v2/team/app/blobs/" + sum(large)}, want{status: 200, body: &large})
	in.expect(call{method: "PATCH", path: open[0], body: "y"}, want{status: 202})
	for i, location := range open[:10] {
		switch i % 3 {
		case 0:
			in.expect(call{method: "DELETE", path: location}, want{status: 204})
		case 1:
			in.expect(call{method: "PUT", path: location + "?digest=" + sum("x")}, want{status: 201})
		case 2:
			in.expect(call{method: "PUT", path: location + "?digest=" + sum("not x")}, want{status: 400, code: "DIGEST_INVALID"})
		}
	}
	for range 10 {
		location := startUpload(in)
		in.expect(call{method: "PATCH", path: location, body: "x"}, want{status: 202})
		open = append(open, location)
	}
	in.expect(call{method: "PATCH", path: startUpload(in), body: "x"}, many)
	open = open[10:]
	concurrently(most/2, func(i int) {
		if a := in.do(call{method: "DELETE", path: open[i]}); a.status != http.StatusNoContent {
			t.Errorf("status %d %s", a.status, a.message)
		}
	})
	in.clock.advance(registry.DefaultUploadExpiry + time.Hour)
	collector, err := registry.NewCollector(in.local, registry.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collector.Run(t.Context()); err != nil { // it takes those that were left
		t.Fatal(err)
	}
	in.after(r)
	location := startUpload(in)
	in.expect(call{method: "PATCH", path: location, body: large}, want{status: 202})
	in.expect(call{method: "PUT", path: location + "?digest=" + sum(large)}, want{status: 201})
}
