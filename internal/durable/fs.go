// Package durable holds file operations that survive power loss, over a small seam, FS, where tests inject faults.
//
// What the packages above it can rely on, and all they may rely on:
//   - The bytes of a file are safe after File.Sync, its name after SyncDir of the folder, in whatever order.
//   - Rename is atomic: after power loss a file is under its old name or its new one, and surely under the new one
//     once its folder was synced.
//   - After a failed Sync nothing is known of the bytes written since the last good one: the kernel may have dropped
//     them and call the next Sync a success. They must be written again or cut off, never just synced again.
//
// It is no database and no cache: every call is a system call or two.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// FS is the file system as far as we need one. Names are absolute or relative to the process's folder, as for package
// os, and errors are *fs.PathError or *os.LinkError around the system's.
type FS interface {
	// OpenFile opens a file as os.OpenFile does.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Rename(oldName, newName string) error
	Remove(name string) error
	Mkdir(name string, perm fs.FileMode) error
	Stat(name string) (fs.FileInfo, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyncDir makes the entries of a folder durable: what was created in it, renamed into or out of it, removed from it.
	SyncDir(name string) error
}

// File is an open file; *os.File is one.
type File interface {
	io.Reader
	io.ReaderAt
	io.Seeker
	io.Writer
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	// Sync makes the file's bytes and size durable.
	Sync() error
	Truncate(size int64) error
}

// OS is the operating system's file system. Its files are *os.File.
type OS struct{}

var _ FS = OS{}

// OpenFile implements [FS].
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // not f: a nil *os.File in an interface is not nil
	}
	return f, nil
}

// Rename implements [FS].
func (OS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// Remove implements [FS].
func (OS) Remove(name string) error { return os.Remove(name) }

// Mkdir implements [FS].
func (OS) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }

// Stat implements [FS].
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// ReadDir implements [FS].
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// SyncDir implements [FS].
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// IsFull says whether err means that the device, the quota or the largest file size is exhausted.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
