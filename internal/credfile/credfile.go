// Package credfile puts a credential where container clients look for it: docker's config.json, the auth.json that
// podman, buildah and skopeo share, and the credential helpers that either of them names.
//
// Invariants:
//
//   - What it does not understand stays as it is: other entries, unknown keys, their order, and a file that is not JSON.
//   - A file is replaced as a whole or not at all, and is readable by its owner alone.
//   - A secret goes to a helper's standard input or into the file, never into an argument or an error.
//
// It talks to no registry.
package credfile

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sekisho/sekisho/internal/durable"
)

// Credential is a user name and password for a registry.
type Credential struct {
	Username, Password string
}

// File is a file with credentials.
type File struct {
	Path string
	// Store says whether the client honours credsStore, which names the helper for all registries that credHelpers
	// doesn't name one for. Docker does.
	Store bool
}

// Docker returns docker's file: config.json in $DOCKER_CONFIG or ~/.docker.
func Docker(getenv func(string) string) (File, error) {
	dir := getenv("DOCKER_CONFIG")
	if dir == "" {
		home := getenv("HOME")
		if home == "" {
			return File{}, errors.New("neither DOCKER_CONFIG nor HOME is set: where docker keeps its configuration is not known")
		}
		dir = filepath.Join(home, ".docker")
	}
	return File{Path: filepath.Join(dir, "config.json"), Store: true}, nil
}

// Containers returns the file of podman, buildah and skopeo (containers-auth.json(5), podman-login(1)):
// $REGISTRY_AUTH_FILE, docker's config.json if DOCKER_CONFIG is set, or else containers/auth.json in the user's runtime
// folder on Linux and in ~/.config elsewhere. goos and uid are those of the process.
func Containers(getenv func(string) string, goos string, uid int) (File, error) {
	if path := getenv("REGISTRY_AUTH_FILE"); path != "" {
		return File{Path: path}, nil
	}
	if dir := getenv("DOCKER_CONFIG"); dir != "" {
		return File{Path: filepath.Join(dir, "config.json")}, nil
	}
	if goos != "linux" {
		home := getenv("HOME")
		if home == "" {
			return File{}, errors.New("neither REGISTRY_AUTH_FILE nor HOME is set: where podman keeps credentials is not known")
		}
		return File{Path: filepath.Join(home, ".config", "containers", "auth.json")}, nil
	}
	dir := getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = fmt.Sprintf("/run/containers/%d", uid)
		return File{Path: filepath.Join(dir, "auth.json")}, nil
	}
	return File{Path: filepath.Join(dir, "containers", "auth.json")}, nil
}

// Keys of the files.
const (
	keyAuths       = "auths"
	keyAuth        = "auth"
	keyCredHelpers = "credHelpers"
	keyCredsStore  = "credsStore"
)

// maxFile bounds the files read.
const maxFile = 8 << 20

// Put stores a credential for a registry, host or host:port as it stands in image references: with the helper that the
// file names for it, or else in the file itself. It returns where the credential went, for people.
func (f File) Put(ctx context.Context, registry string, c Credential) (where string, err error) {
	path, err := target(f.Path)
	if err != nil {
		return "", err
	}
	doc, err := read(path)
	if err != nil {
		return "", err
	}
	helper, err := f.helper(doc, registry)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	entry := object{}
	if auths, err := doc.object(keyAuths); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	} else if entry, err = auths.object(registry); err != nil {
		return "", fmt.Errorf("%s: %s: %w", path, keyAuths, err)
	}
	where = path
	if helper != "" {
		if err := store(ctx, helper, registry, c); err != nil {
			return "", err
		}
		where = helperPrefix + helper
		// As docker does: an empty entry says that there is a credential, and an old one here must not win.
		for _, key := range []string{keyAuth, "username", "password", "identitytoken", "registrytoken"} {
			entry.remove(key)
		}
	} else {
		if strings.Contains(c.Username, ":") {
			return "", fmt.Errorf("the user name %q has a colon, which Basic authentication can't carry (RFC 7617, section 2)", c.Username)
		}
		entry.remove("identitytoken") // it would be used instead
		entry.remove("registrytoken")
		entry.set(keyAuth, jsonString(base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))))
	}
	auths, _ := doc.object(keyAuths)
	auths.set(registry, entry.encode())
	doc.set(keyAuths, auths.encode())
	return where, write(path, doc)
}

// helper returns the name of the helper that the file wants for a registry, "" for none.
func (f File) helper(doc object, registry string) (string, error) {
	helpers, err := doc.object(keyCredHelpers)
	if err != nil {
		return "", err
	}
	name, err := helpers.text(registry)
	if err == nil && name == "" && f.Store {
		name, err = doc.text(keyCredsStore)
	}
	if err == nil && strings.ContainsAny(name, `/\`) {
		err = fmt.Errorf("the helper's name %q is a path", name)
	}
	return name, err
}

// target follows a link, so that the file is replaced and not the link to it.
func target(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return filepath.Abs(path)
	}
	if err != nil {
		return "", fmt.Errorf("find %s: %w", path, err)
	}
	return real, nil
}

func read(path string) (object, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return object{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("read credentials: %s is over %d MiB; it is left as it is", path, maxFile>>20)
	}
	if strings.TrimSpace(string(text)) == "" {
		return object{}, nil
	}
	doc, err := parseObject(text)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %s: %w; it is left as it is", path, err)
	}
	return doc, nil
}

// write replaces the file. It does not use durable.WriteFile, whose staging file has one name: others write here too.
func write(path string, doc object) (err error) {
	var text bytes.Buffer
	if err := json.Indent(&text, doc.encode(), "", "\t"); err != nil { // and not Marshal, which changes what is inside
		return fmt.Errorf("write %s: %w", path, err)
	}
	text.WriteByte('\n')
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // readable by its owner alone
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(text.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return durable.OS{}.SyncDir(dir)
}
