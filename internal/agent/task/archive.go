package task

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ArchiveFiles is ArchiveFiles@2: a zip or a tar file of a folder or a file.
func ArchiveFiles(ctx context.Context, c *Context) error {
	root := c.folder(c.Dirs.Binaries, "rootFolderOrFile")
	name := c.Inputs.Get("archiveFile")
	if name == "" {
		name = filepath.Join(c.Dirs.Staging, c.Vars.Expand("$(Build.BuildId)")+".zip")
	} else if !filepath.IsAbs(name) {
		name = filepath.Join(c.Dirs.Sources, name)
	}
	at := c.Host.Outside(name)
	if info, err := os.Stat(at); err == nil {
		if info.IsDir() {
			return fmt.Errorf("archiveFile: %s is a folder", name)
		}
		if !c.Inputs.Bool(true, "replaceExistingArchive") {
			return fmt.Errorf("archiveFile: %s is there already, and replaceExistingArchive is false: adding to an archive is not done here", name)
		}
	}
	info, err := os.Stat(c.Host.Outside(root))
	if err != nil {
		return fmt.Errorf("rootFolderOrFile: there is no %s", root)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	a := archive{base: c.Host.Outside(root), skip: at}
	if !info.IsDir() || c.Inputs.Bool(true, "includeRootFolder") {
		a.prefix = filepath.Base(root)
	}
	kind := strings.ToLower(c.Inputs.Get("archiveType"))
	out, err := os.Create(at)
	if err != nil {
		return err
	}
	switch kind {
	case "", "zip":
		err = a.zip(ctx, out)
	case "tar":
		err = a.tar(ctx, out, strings.ToLower(c.Inputs.Get("tarCompression")))
	default:
		err = fmt.Errorf("archiveType: %q is not done here, only zip and tar", kind)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(at))
	}
	c.Log.Line(fmt.Sprintf("%s: %d entries", name, a.entries))
	return nil
}

// archive is a folder, or a file, that becomes an archive.
type archive struct {
	base, prefix, skip string
	entries            int
}

// walk calls add for each file and folder with the name it has in the archive.
func (a *archive) walk(ctx context.Context, add func(path, name string, info fs.FileInfo) error) error {
	return filepath.WalkDir(a.base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(a.base, path)
		if err != nil || path == a.skip {
			return err
		}
		name := filepath.ToSlash(filepath.Join(a.prefix, rel))
		if name == "." {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		a.entries++
		return add(path, name, info)
	})
}

func (a *archive) zip(ctx context.Context, out io.Writer) error {
	w := zip.NewWriter(out)
	err := a.walk(ctx, func(path, name string, info fs.FileInfo) error {
		if !info.IsDir() && !info.Mode().IsRegular() {
			var err error
			if info, err = os.Stat(path); err != nil || !info.Mode().IsRegular() {
				return nil // a link to nothing, or to a folder
			}
		}
		h, err := zip.FileInfoHeader(info)
		if err != nil {
			return err
		}
		h.Name, h.Method = name, zip.Deflate
		if info.IsDir() {
			h.Name, h.Method = name+"/", zip.Store
		}
		to, err := w.CreateHeader(h)
		if err != nil || info.IsDir() {
			return err
		}
		return copyTo(to, path)
	})
	return errors.Join(err, w.Close())
}

func (a *archive) tar(ctx context.Context, out io.Writer, compression string) error {
	end := func() error { return nil }
	switch compression {
	case "", "gz":
		z := gzip.NewWriter(out)
		out, end = z, z.Close
	case "none":
	default:
		return fmt.Errorf("tarCompression: %q is not done here, only gz and none", compression)
	}
	w := tar.NewWriter(out)
	err := a.walk(ctx, func(path, name string, info fs.FileInfo) error {
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			var err error
			if target, err = os.Readlink(path); err != nil {
				return err
			}
		} else if !info.IsDir() && !info.Mode().IsRegular() {
			return nil
		}
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		if h.Name = name; info.IsDir() {
			h.Name += "/"
		}
		h.Uname, h.Gname, h.Uid, h.Gid = "", "", 0, 0
		if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		return copyTo(w, path)
	})
	return errors.Join(err, w.Close(), end())
}

func copyTo(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// Limits of what is unpacked: an archive may come from anywhere.
const (
	maxUnpacked = 64 << 30 // bytes of one archive
	maxEntries  = 1_000_000
)

// ExtractFiles is ExtractFiles@1: zip and tar files, the latter plain, with gzip or with bzip2. Nothing is written outside
// the destination, whatever names are in the archive.
func ExtractFiles(ctx context.Context, c *Context) error {
	if _, err := c.Inputs.Require("destinationFolder"); err != nil {
		return err
	}
	destination := c.folder("", "destinationFolder")
	p, err := c.contents("**/*.zip", "archiveFilePatterns")
	if err != nil {
		return err
	}
	files, err := c.findAnywhere(ctx, c.Dirs.Sources, p)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("archiveFilePatterns: no archive is like " + strings.Join(p, ", "))
	}
	if c.Inputs.Bool(true, "cleanDestinationFolder") {
		if err := c.empty(destination); err != nil {
			return err
		}
	}
	at := c.Host.Outside(destination)
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(at)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpack{root: root, over: c.Inputs.Bool(false, "overwriteExistingFiles")}
	for _, f := range files {
		c.Log.Line("Extracting " + f.name)
		if err := u.file(ctx, f.path); err != nil {
			return fmt.Errorf("extract %s: %w", f.name, err)
		}
	}
	return nil
}

// unpack writes entries of archives below a root that it can't leave.
type unpack struct {
	root    *os.Root
	over    bool
	entries int
	bytes   int64
}

func (u *unpack) file(ctx context.Context, path string) error {
	name := strings.ToLower(path)
	if strings.HasSuffix(name, ".zip") || strings.HasSuffix(name, ".jar") || strings.HasSuffix(name, ".war") || strings.HasSuffix(name, ".nupkg") {
		return u.zip(ctx, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	switch {
	case strings.HasSuffix(name, ".tar"):
	case strings.HasSuffix(name, ".tar.gz"), strings.HasSuffix(name, ".tgz"):
		if r, err = gzip.NewReader(f); err != nil {
			return err
		}
	case strings.HasSuffix(name, ".tar.bz2"), strings.HasSuffix(name, ".tbz2"):
		r = bzip2.NewReader(f)
	default:
		return errors.New("only zip, tar, tar.gz and tar.bz2 are done here")
	}
	return u.tar(ctx, tar.NewReader(r))
}

func (u *unpack) zip(ctx context.Context, path string) error {
	z, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.FileInfo().IsDir() {
			if err := u.folder(f.Name); err != nil {
				return err
			}
			continue
		}
		if !f.Mode().IsRegular() {
			return fmt.Errorf("%q is a link, which zip files are not trusted with", f.Name)
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		if err := errors.Join(u.write(f.Name, f.Mode(), r), r.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpack) tar(ctx context.Context, t *tar.Reader) error {
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = u.folder(h.Name)
		case tar.TypeReg:
			err = u.write(h.Name, h.FileInfo().Mode(), t)
		case tar.TypeSymlink:
			err = u.link(h.Name, h.Linkname)
		case tar.TypeXGlobalHeader:
		default:
			err = fmt.Errorf("%q is neither a file, a folder nor a symbolic link", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

// local returns the path of an entry below the root.
func (u *unpack) local(name string) (string, error) {
	if u.entries++; u.entries > maxEntries {
		return "", fmt.Errorf("it has over %d entries", maxEntries)
	}
	path := filepath.FromSlash(strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/"))
	if path == "" {
		path = "."
	}
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("the name %q leads out of the destination", name)
	}
	return path, nil
}

func (u *unpack) folder(name string) error {
	path, err := u.local(name)
	if err != nil {
		return err
	}
	return u.root.MkdirAll(path, 0o755)
}

func (u *unpack) write(name string, mode fs.FileMode, r io.Reader) error {
	path, err := u.local(name)
	if err != nil {
		return err
	}
	if err := u.root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if u.over {
		if err := u.root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := u.root.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode.Perm()|0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: set overwriteExistingFiles to true", name)
	}
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, maxUnpacked-u.bytes+1))
	if u.bytes += n; u.bytes > maxUnpacked {
		err = errors.Join(err, fmt.Errorf("it has over %d bytes", int64(maxUnpacked)))
	}
	return errors.Join(err, f.Close())
}

// link makes a symbolic link that stays inside: the root itself refuses to follow one that does not.
func (u *unpack) link(name, target string) error {
	path, err := u.local(name)
	if err != nil {
		return err
	}
	if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(path), filepath.FromSlash(target))) {
		return fmt.Errorf("the link %q leads out of the destination", name)
	}
	if err := u.root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return u.root.Symlink(target, path)
}

// splitPattern divides an absolute pattern where its first wildcard is.
func splitPattern(pattern string) (base, rest string) {
	parts := strings.Split(filepath.ToSlash(pattern), "/")
	for i, p := range parts {
		if strings.ContainsAny(p, "*?[{") || i == len(parts)-1 {
			return filepath.FromSlash(strings.Join(parts[:i], "/") + "/"), strings.Join(parts[i:], "/")
		}
	}
	return "/", pattern
}
