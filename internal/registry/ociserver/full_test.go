package ociserver_test

import (
	"fmt"
	"math"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sekisho/sekisho/internal/durable/faultfs"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/oci"
)

// noRoom is what a client is told when the disk is full.
var noRoom = want{status: 507, code: "UNAVAILABLE", says: "no room left"}

// stillReads checks that what is there is served.
func stillReads(in *instance) {
	in.Helper()
	image := imageOf(oci.TypeImage, small)
	for path, body := range map[string]*string{"manifests/v1": &image, "blobs/" + sum(small): &small, "blobs/" + sum(large): &large, "tags/list": nil, "referrers/" + sum(image): nil} {
		in.expect(call{method: "GET", path: "/v2/team/app/" + path}, want{status: 200, body: body})
	}
	for _, path := range []string{"manifests/v1", "blobs/" + sum(large)} {
		in.expect(call{method: "HEAD", path: "/v2/team/app/" + path}, want{status: 200})
	}
}

// TestDiskFull: whatever operation of the blob store finds no room, and however a layer is pushed, the client is told
// so, reading goes on, and so does pushing once there is room. Nothing stays but what can be resumed.
func TestDiskFull(t *testing.T) {
	fsys := faultfs.New()
	in, _ := scene(t, setup{store: files(t, fsys, "/")})
	in.push("team/app", large)
	var full atomic.Value // the faultfs.Kind that fails, or ""
	fault := func(kind faultfs.Kind) { full.Store(kind) }
	fault("")
	fsys.SetHook(func(op faultfs.Op) error {
		switch {
		case op.Kind == "" || op.Kind != full.Load():
			return nil
		case op.Kind == faultfs.Write && op.Index%2 == 0:
			return faultfs.Short
		}
		return syscall.ENOSPC
	})
	seed := 100
	for _, kind := range []faultfs.Kind{faultfs.Create, faultfs.Write, faultfs.Sync, faultfs.SyncDir, faultfs.Rename, faultfs.Mkdir} {
		for name, push := range pushes {
			if name == "a status before the first byte" { // it goes on as another does
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", kind, name), func(t *testing.T) {
				in := in.with(t)
				seed++
				data := content(seed, 300_000)
				last := push(in, data, sum(data)) // with what came before it there
				fault(kind)
				a := in.do(last)
				stillReads(in)
				fault("")
				switch {
				case a.status == 201: // none of these was needed
					in.expect(call{method: "GET", path: "/v2/team/app/blobs/" + sum(data)}, want{status: 200, body: &data})
				case a.status != noRoom.status || a.code != noRoom.code:
					t.Errorf("%d %s %s", a.status, a.code, a.message)
				default:
					in.expect(call{method: "HEAD", path: "/v2/team/app/blobs/" + sum(data)}, want{status: 404, code: "BLOB_UNKNOWN"})
					in.expect(push(in, data, sum(data)), done(sum(data)))
				}
			})
		}
	}
	for _, n := range in.staged() { // of the first halves, which are acknowledged
		if n == 0 {
			t.Error("an upload without bytes is staged")
		}
	}
}

// TestDiskFullInStream: what came of a stream before there was no more room is told to the client, which goes on from
// there.
func TestDiskFullInStream(t *testing.T) {
	fsys := faultfs.New()
	in, location := scene(t, setup{store: files(t, fsys, "/")})
	in.push("team/app", large)
	var room atomic.Int64 // in writes
	fsys.SetHook(func(op faultfs.Op) error {
		if op.Kind == faultfs.Write && room.Add(-1) < 0 {
			return syscall.ENOSPC
		}
		return nil
	})
	data := content(7, 3_000_000)
	at, errors := 0, 0
	for at < len(data) {
		room.Store(int64(errors))
		errors++
		a := in.do(call{method: "PATCH", path: location, body: data[at:]})
		if a.status != noRoom.status && a.status != 202 {
			t.Fatalf("%d %s %s", a.status, a.code, a.message)
		}
		stillReads(in)
		a = in.expect(call{method: "GET", path: location}, want{status: 204})
		var last int
		if _, err := fmt.Sscanf(a.header.Get("Range"), "0-%d", &last); err != nil || last > 0 && last+1 < at {
			t.Fatalf("after %d bytes the upload has %s, %v", at, a.header.Get("Range"), err)
		}
		if last > 0 {
			at = last + 1
		}
	}
	if errors < 3 {
		t.Errorf("there was room after %d errors", errors)
	}
	room.Store(math.MaxInt32)
	in.expect(call{method: "PUT", path: location + "?digest=" + sum(data)}, done(sum(data)))
	in.nothingStaged()
}

// TestDatabaseFull: the same for the metadata, where small blobs and manifests are.
func TestDatabaseFull(t *testing.T) {
	in, _ := scene(t, setup{})
	in.push("team/app", large)
	pages := func(most int) {
		t.Helper()
		if err := in.db.Update(t.Context(), func(tx *meta.Tx) error {
			_, err := tx.Exec(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", most))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(i, n int) call {
		data := content(i, n)
		return call{method: "POST", path: "/v2/team/app/blobs/uploads/?digest=" + sum(data), body: data}
	}
	for name, kind := range map[string]func(i int) call{
		"small blob": func(i int) call { return blob(i, 16_000) },
		"large blob": func(i int) call { return blob(i, 20_000) },
		"manifest": func(i int) call {
			return call{method: "PUT", path: fmt.Sprintf("/v2/team/app/manifests/t%d", i), header: fields{"Content-Type": oci.TypeImage},
				body: imageOf(oci.TypeImage, small) + fmt.Sprintf("%*s", 5000+i, "")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := in.with(t)
			pages(1) // which means: no more than there are
			i := 1000
			for ; ; i++ {
				a := in.do(kind(i))
				if a.status != 201 {
					break
				}
				if i == 2000 {
					t.Fatal("there was always room")
				}
			}
			pages(1) // the connection that was out of room may have been replaced
			in.expect(kind(i), noRoom)
			stillReads(in)
			pages(1 << 30)
			in.expect(kind(i), want{status: 201})
			stillReads(in)
		})
	}
	in.nothingStaged()
}

// TestInternalError: of what is the server's own fault clients get a request id and nothing more.
func TestInternalError(t *testing.T) {
	fsys := faultfs.New()
	in, location := scene(t, setup{store: files(t, fsys, "/")})
	in.push("team/app", large)
	fsys.SetHook(func(op faultfs.Op) error { return syscall.EIO })
	for _, c := range []call{
		{method: "GET", path: "/v2/team/app/blobs/" + sum(large)}, {method: "PATCH", path: location, body: "x"}, {method: "PUT", path: location + "?digest=" + sum(large+"x"), body: large + "x"},
		{method: "POST", path: "/v2/team/app/blobs/uploads/?digest=" + sum(large+"x"), body: large + "x"},
	} {
		a := in.do(c)
		want := "internal error; the server's log has the reason under request id " + a.header.Get("X-Request-Id")
		if a.status != 500 || a.code != "UNKNOWN" || a.message != want {
			t.Errorf("%s %s: %d %s %q, want %q", c.method, c.path, a.status, a.code, a.message, want)
		}
	}
	fsys.SetHook(nil)
	stillReads(in)
	in.expect(call{method: "PUT", path: location + "?digest=" + sum(large+"x"), body: large + "x"}, done(sum(large+"x")))
	in.nothingStaged()
}
