package faultfs

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// sector is how many bytes the device writes whole or not at all.
const sector = 512

// node is a file or a folder.
type node struct {
	dir     bool
	data    []byte
	dirty   []extent // written since the last Sync; may reach beyond data after a truncation
	safe    []byte   // what the device has
	modTime time.Time
}

type extent struct{ from, to int }

func (n *node) truncate(size int64) {
	if int(size) <= len(n.data) {
		n.data = n.data[:size]
		return
	}
	n.writeAt(nil, size)
}

func (n *node) writeAt(p []byte, off int64) {
	from, to := int(off), int(off)+len(p)
	if more := to - len(n.data); more > 0 {
		from = min(from, len(n.data)) // a gap is zeros, and they are new too
		n.data = append(n.data, make([]byte, more)...)
	}
	copy(n.data[off:], p)
	n.dirty = append(n.dirty, extent{from, to})
}

// sync writes the dirty bytes to the device, or with lost forgets that they are dirty, as kernels do on an I/O error.
func (n *node) sync(lost bool) {
	if !lost {
		n.safe = n.writtenBack(nil)
	}
	n.dirty = nil
}

// writtenBack is what the device has once dirty bytes are written to it: all, or with rng some of the sectors.
func (n *node) writtenBack(rng *rand.Rand) []byte {
	device := make([]byte, len(n.data))
	copy(device, n.safe)
	for _, e := range n.dirty {
		for from, end := e.from, min(e.to, len(n.data)); from < end; from += sector {
			to := min(from+sector, end)
			if rng == nil || rng.IntN(2) == 0 {
				copy(device[from:to], n.data[from:to])
			}
		}
	}
	return device
}

// powerLoss leaves what the device has; with rng perhaps more.
func (n *node) powerLoss(rng *rand.Rand) {
	if rng != nil {
		switch rng.IntN(3) {
		case 1: // all had been written back
			n.safe = n.writtenBack(nil)
		case 2: // the size had, and some of the bytes
			n.safe = n.writtenBack(rng)
		}
	}
	n.data, n.dirty = slices.Clone(n.safe), nil
}

func (n *node) info(name string) fs.FileInfo {
	return info{name: filepath.Base(name), dir: n.dir, size: int64(len(n.data)), modTime: n.modTime}
}

type info struct {
	name    string
	dir     bool
	size    int64
	modTime time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.modTime }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

// file is an open node.
type file struct {
	fs     *FS
	node   *node
	name   string
	boot   int
	off    int64
	closed bool
}

// begin is [FS.begin] for an open file. Callers hold fs.mu.
func (f *file) begin(kind Kind) error {
	switch {
	case f.closed:
		return fs.ErrClosed
	case f.boot != f.fs.boot:
		return Crash
	}
	return f.fs.begin(kind, f.name)
}

// Read implements [io.Reader].
func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.off)
	f.off += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// ReadAt implements [io.ReaderAt].
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin(Read); err != nil {
		return 0, pathError("read", f.name, err)
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements [io.Writer].
func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.off)
	f.off += int64(n)
	return n, err
}

// WriteAt implements [io.WriterAt].
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.begin(Write)
	if err == Short {
		p, err = p[:len(p)/2], syscall.ENOSPC
	} else if err != nil {
		p = nil
	}
	if len(p) > 0 {
		f.node.writeAt(p, off)
		f.node.modTime = f.fs.tick()
	}
	return len(p), pathError("write", f.name, err)
}

// Seek implements [io.Seeker].
func (f *file) Seek(offset int64, whence int) (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		offset += int64(len(f.node.data))
	}
	if offset < 0 {
		return 0, pathError("seek", f.name, errors.New("negative offset"))
	}
	f.off = offset
	return offset, nil
}

// Truncate implements [durable.File].
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.begin(Truncate)
	if err == nil {
		f.node.truncate(size)
		f.node.modTime = f.fs.tick()
	}
	return pathError("truncate", f.name, err)
}

// Sync implements [durable.File].
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.begin(Sync)
	if err != Crash && err != fs.ErrClosed {
		f.node.sync(err != nil)
	}
	return pathError("sync", f.name, err)
}

// Stat implements [durable.File].
func (f *file) Stat() (fs.FileInfo, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.begin(Stat); err != nil {
		return nil, pathError("stat", f.name, err)
	}
	return f.node.info(f.name), nil
}

// Close implements [io.Closer].
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}
