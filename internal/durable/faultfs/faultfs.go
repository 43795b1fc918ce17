// Package faultfs is a file system in memory on which things go wrong when a test says so: full disks, short writes,
// I/O errors, power loss.
//
// It is harsher than real file systems, which keep more than they promise: power loss takes every byte that no Sync and
// every name that no SyncDir covered, or, with a random source, an arbitrary part of them; after a failed Sync the bytes
// written before it are readable but never reach the device. Kept is what package durable says callers may rely on.
//
// It knows neither permissions nor links, and is for small files.
package faultfs

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sekisho/sekisho/internal/durable"
)

// Kind is what an operation does.
type Kind string

// The kinds of operations.
const (
	Open     Kind = "open"
	Create   Kind = "create" // an open that makes a file
	Read     Kind = "read"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	Stat     Kind = "stat"
	ReadDir  Kind = "readdir"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	Mkdir    Kind = "mkdir"
	SyncDir  Kind = "syncdir"
)

// Op is an operation about to happen.
type Op struct {
	Index int // counts from 0
	Kind  Kind
	Name  string
}

// Hook decides how an operation ends: nil lets it happen, [Short] does half of a write, [Crash] is power loss before it;
// any other error is its result and nothing happens.
type Hook func(Op) error

const (
	// Short makes a write end halfway with ENOSPC.
	Short = fault("short write")
	// Crash makes the machine lose power. All that follows fails with it too, until Restart.
	Crash = fault("power lost")
)

type fault string

func (f fault) Error() string { return string(f) }

// FS is such a file system. The zero value is not ready; see [New].
type FS struct {
	mu      sync.Mutex // guards all below and the nodes
	hook    Hook
	ops     int
	crashed bool
	boot    int              // counts restarts: files opened before one are dead
	live    map[string]*node // by clean path
	safe    map[string]*node // what is left of live after power loss
	renames []rename         // since their folders were last synced
	clock   time.Time
}

type rename struct{ from, to string }

var _ durable.FS = (*FS)(nil)

// New returns a file system that holds only the folder "/".
func New() *FS {
	root := &node{dir: true}
	return &FS{
		live:  map[string]*node{"/": root},
		safe:  map[string]*node{"/": root},
		clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// SetHook sets the hook, nil for none, and starts counting operations anew. The hook must not use the file system.
func (f *FS) SetHook(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook, f.ops = h, 0
}

// Ops returns how many operations there were since SetHook.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// NewProcess makes the loss of power the loss of the process only, as by kill -9: what was done is there, though no more
// durable than before.
func (f *FS) NewProcess() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = false
	f.boot++
}

// Restart ends the power loss, or is one. With rng nil all that was not durable is gone; otherwise rng decides for each
// name and each file, and a file may also have got its size but not its bytes.
func (f *FS) Restart(rng *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = false
	f.boot++
	if rng != nil {
		f.keepSome(rng)
	}
	f.live = map[string]*node{}
	f.renames = nil
	for _, name := range slices.Sorted(maps.Keys(f.safe)) { // in order, so that a seed tells the outcome
		f.safe[name].powerLoss(rng)
		f.live[name] = f.safe[name]
	}
	// What lies in a folder that was lost is lost.
	for name := range f.live {
		for dir := filepath.Dir(name); dir != "/"; dir = filepath.Dir(dir) {
			if f.live[dir] == nil {
				delete(f.live, name)
				delete(f.safe, name)
				break
			}
		}
	}
}

// keepSome makes a random part of the names that are not durable so.
func (f *FS) keepSome(rng *rand.Rand) {
	for _, r := range slices.Clone(f.renames) {
		if rng.IntN(2) == 0 {
			f.settle(r)
		}
	}
	names := map[string]bool{}
	for name := range f.live {
		names[name] = true
	}
	for name := range f.safe {
		names[name] = true
	}
	moved := map[string]bool{} // half a rename is never kept
	for _, r := range f.renames {
		moved[r.from], moved[r.to] = true, true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if f.live[name] == f.safe[name] || moved[name] || rng.IntN(2) == 0 {
			continue
		}
		f.syncName(name)
	}
}

func (f *FS) syncName(name string) {
	if n := f.live[name]; n != nil {
		f.safe[name] = n
	} else {
		delete(f.safe, name)
	}
}

// settle makes one rename durable.
func (f *FS) settle(r rename) {
	f.renames = slices.DeleteFunc(f.renames, func(o rename) bool { return o == r })
	f.syncName(r.to)
	f.syncName(r.from)
}

// begin counts an operation and asks the hook. Callers hold mu.
func (f *FS) begin(kind Kind, name string) error {
	if f.crashed {
		return Crash
	}
	op := Op{Index: f.ops, Kind: kind, Name: name}
	f.ops++
	if f.hook == nil {
		return nil
	}
	err := f.hook(op)
	if err == Crash {
		f.crashed = true
	}
	return err
}

// tick is the time of a change.
func (f *FS) tick() time.Time {
	f.clock = f.clock.Add(time.Millisecond)
	return f.clock
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// lookup returns the node of name, or why there is none.
func (f *FS) lookup(name string) (*node, error) {
	if n := f.live[name]; n != nil {
		return n, nil
	}
	return nil, syscall.ENOENT
}

// parent returns nil when the folder of name exists.
func (f *FS) parent(name string) error {
	n, err := f.lookup(filepath.Dir(name))
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	return err
}

// OpenFile implements [durable.FS].
func (f *FS) OpenFile(name string, flag int, _ fs.FileMode) (durable.File, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.live[name]
	kind := Open
	if n == nil && flag&os.O_CREATE != 0 {
		kind = Create
	}
	if err := f.begin(kind, name); err != nil {
		return nil, pathError("open", name, err)
	}
	switch {
	case n == nil && kind == Open:
		return nil, pathError("open", name, syscall.ENOENT)
	case n == nil:
		if err := f.parent(name); err != nil {
			return nil, pathError("open", name, err)
		}
		n = &node{modTime: f.tick()}
		f.live[name] = n
	case flag&os.O_EXCL != 0:
		return nil, pathError("open", name, syscall.EEXIST)
	case n.dir:
		return nil, pathError("open", name, syscall.EISDIR)
	}
	if flag&os.O_TRUNC != 0 {
		n.truncate(0)
	}
	return &file{fs: f, node: n, name: name, boot: f.boot}, nil
}

// Rename implements [durable.FS].
func (f *FS) Rename(oldName, newName string) error {
	oldName, newName = filepath.Clean(oldName), filepath.Clean(newName)
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Rename, oldName)
	if err == nil {
		err = f.parent(newName)
	}
	var n *node
	if err == nil {
		n, err = f.lookup(oldName)
	}
	if err == nil && n.dir {
		err = syscall.EISDIR // folders are never moved by those who use this
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
	}
	delete(f.live, oldName)
	f.live[newName] = n
	f.renames = append(f.renames, rename{oldName, newName})
	return nil
}

// Remove implements [durable.FS].
func (f *FS) Remove(name string) error {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Remove, name)
	var n *node
	if err == nil {
		n, err = f.lookup(name)
	}
	if err == nil && n.dir && len(f.entries(name)) > 0 {
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return pathError("remove", name, err)
	}
	delete(f.live, name)
	return nil
}

// Mkdir implements [durable.FS].
func (f *FS) Mkdir(name string, _ fs.FileMode) error {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Mkdir, name)
	if err == nil && f.live[name] != nil {
		err = syscall.EEXIST
	}
	if err == nil {
		err = f.parent(name)
	}
	if err != nil {
		return pathError("mkdir", name, err)
	}
	f.live[name] = &node{dir: true, modTime: f.tick()}
	return nil
}

// Stat implements [durable.FS].
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(Stat, name)
	var n *node
	if err == nil {
		n, err = f.lookup(name)
	}
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return n.info(name), nil
}

// entries returns the paths of what is in a folder.
func (f *FS) entries(dir string) []string {
	var names []string
	for name := range f.live {
		if filepath.Dir(name) == dir && name != "/" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ReadDir implements [durable.FS].
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(ReadDir, name)
	if err == nil {
		_, err = f.lookup(name)
	}
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	var list []fs.DirEntry
	for _, e := range f.entries(name) {
		list = append(list, fs.FileInfoToDirEntry(f.live[e].info(e)))
	}
	return list, nil
}

// SyncDir implements [durable.FS].
func (f *FS) SyncDir(dir string) error {
	dir = filepath.Clean(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin(SyncDir, dir)
	if err == nil {
		_, err = f.lookup(dir)
	}
	if err != nil {
		return pathError("sync", dir, err)
	}
	for _, r := range slices.Clone(f.renames) {
		if filepath.Dir(r.from) == dir || filepath.Dir(r.to) == dir {
			f.settle(r)
		}
	}
	for name := range f.live {
		if filepath.Dir(name) == dir {
			f.syncName(name)
		}
	}
	for name := range f.safe {
		if filepath.Dir(name) == dir && name != "/" {
			f.syncName(name)
		}
	}
	return nil
}

// Tree returns every file's bytes by path, without counting as operations.
func (f *FS) Tree() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	tree := map[string]string{}
	for name, n := range f.live {
		if !n.dir {
			tree[strings.TrimPrefix(name, "/")] = string(n.data)
		}
	}
	return tree
}
