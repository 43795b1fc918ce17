package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile makes name hold data, durably and atomically: after power loss or an error it holds either data or what it
// held before. Only one call per name may run at a time: the bytes are staged in name.tmp.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	tmp := name + ".tmp"
	err := writeSynced(fsys, tmp, data, perm)
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		if rmErr := fsys.Remove(tmp); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("write %s: sync its folder: %w", name, err)
	}
	return nil
}

func writeSynced(fsys FS, name string, data []byte, perm fs.FileMode) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// MkdirAll makes a folder and those above it that are missing, durably. The lowest that is there already is synced too:
// it may be the work of a process that did not live to do so.
func MkdirAll(fsys FS, name string, perm fs.FileMode) error {
	switch info, err := fsys.Stat(name); {
	case err == nil && info.IsDir():
		if err := fsys.SyncDir(filepath.Dir(name)); err != nil && !notOurs(err) {
			return fmt.Errorf("make folder %s: sync the one above: %w", name, err)
		}
		return nil
	case err == nil:
		return fmt.Errorf("make folder %s: there is a file of that name", name)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("make folder %s: %w", name, err)
	}
	parent := filepath.Dir(name)
	if err := MkdirAll(fsys, parent, perm); err != nil {
		return err
	}
	if err := fsys.Mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder %s: %w", name, err)
	}
	if err := fsys.SyncDir(parent); err != nil {
		return fmt.Errorf("make folder %s: sync %s: %w", name, parent, err)
	}
	return nil
}

// notOurs says whether a folder could not be synced for a reason that shows that we can have made nothing in it: it may
// not be read, or is on a file system that can't be written to.
func notOurs(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EROFS)
}
