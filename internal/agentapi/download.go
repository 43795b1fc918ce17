package agentapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
)

// DownloadPath is what the paths of downloads begin with.
const DownloadPath = "/agents/"

// Downloads serves this program to build hosts, with the script that installs it. Everybody who reaches it may have it: there is no
// secret in it.
type Downloads struct {
	Self   string // the program that runs
	Folder string // has those for other platforms, as sekisho_<os>_<arch>; empty: there are none
	// URL, if not empty, is the server's, where the one that was called is not to be taken.
	URL string

	mu   sync.Mutex
	sums map[string]summed // guarded by mu; by path
}

// summed is a file's checksum, and the file that it is of.
type summed struct {
	sum      string
	modified time.Time
	size     int64
}

// Script is the script that installs the agent, before the server's address is set in it.
//
//go:embed install.sh
var Script string

var (
	script     = template.Must(template.New("install.sh").Delims("{{{", "}}}").Parse(Script))
	binaryName = regexp.MustCompile(`^sekisho_(linux|darwin)_(amd64|arm64)$`)
	hostName   = regexp.MustCompile(`^https?://[0-9A-Za-z.:\[\]-]+$`)
)

func selfName() string { return "sekisho_" + runtime.GOOS + "_" + runtime.GOARCH }

// Serve implements [httpx.Handler].
func (d *Downloads) Serve(w *httpx.Response, r *http.Request) error {
	w.Event.Operation = "AgentDownload"
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &httpx.Error{Status: http.StatusMethodNotAllowed, Message: "downloads are read"}
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	name := strings.TrimPrefix(r.URL.Path, DownloadPath)
	switch name {
	case "":
		return d.index(w, r)
	case "install.sh":
		return d.script(w, r)
	case "checksums.txt":
		text, err := d.checksums()
		if err != nil {
			return err
		}
		return plain(w, r, text)
	}
	bare, zipped := strings.CutSuffix(name, ".gz")
	path := d.path(bare)
	if path == "" {
		return &httpx.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no %.80q here; see %s", name, DownloadPath)}
	}
	return d.binary(w, r, bare, path, zipped)
}

// plain answers a text.
func plain(w *httpx.Response, r *http.Request, text []byte) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
	return nil
}

// names are the programs there are.
func (d *Downloads) names() []string {
	names := []string{selfName()}
	if d.Folder != "" {
		entries, _ := os.ReadDir(d.Folder)
		for _, e := range entries {
			if binaryName.MatchString(e.Name()) && e.Name() != selfName() {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return names
}

// path returns where a program is, "" if it isn't.
func (d *Downloads) path(name string) string {
	switch {
	case !binaryName.MatchString(name):
		return ""
	case name == selfName():
		return d.Self
	case d.Folder == "":
		return ""
	}
	path := filepath.Join(d.Folder, name)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

// sum returns the checksum of a file, which is read when it changed.
func (d *Downloads) sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.sums[path]; ok && s.modified.Equal(info.ModTime()) && s.size == info.Size() {
		return s.sum, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	if d.sums == nil {
		d.sums = map[string]summed{}
	}
	s := summed{hex.EncodeToString(h.Sum(nil)), info.ModTime(), info.Size()}
	d.sums[path] = s
	return s.sum, nil
}

// checksums are those of all programs, as sha256sum writes them.
func (d *Downloads) checksums() ([]byte, error) {
	var b bytes.Buffer
	for _, name := range d.names() {
		path := d.path(name)
		if path == "" {
			continue
		}
		sum, err := d.sum(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("checksum of %s: %w", name, err)
		}
		fmt.Fprintf(&b, "%s  %s\n", sum, name)
	}
	return b.Bytes(), nil
}

func (d *Downloads) index(w *httpx.Response, r *http.Request) error {
	sums, err := d.checksums()
	if err != nil {
		return err
	}
	base, err := d.base(w)
	if err != nil {
		return err
	}
	text := "Programs for build hosts, each also with .gz behind its name, and their SHA-256:\n\n" + string(sums) +
		"\nInstall the one for a host, and see how to go on:\n\n  curl -fsSL " + base + DownloadPath + "install.sh | sh\n"
	return plain(w, r, []byte(text))
}

// base returns the server's URL as the script is to have it. It goes into a shell's hands, so nothing else is let in.
func (d *Downloads) base(w *httpx.Response) (string, error) {
	base := d.URL
	if base == "" || w.Origin.Endpoint != "" { // through an endpoint, only its own name leads here
		base = w.Origin.BaseURL()
	}
	if !hostName.MatchString(base) {
		return "", &httpx.Error{Status: http.StatusBadRequest, Message: "the host that was called is no name"}
	}
	return base, nil
}

func (d *Downloads) script(w *httpx.Response, r *http.Request) error {
	base, err := d.base(w)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := script.Execute(&b, struct{ Server string }{base}); err != nil {
		return err
	}
	return plain(w, r, b.Bytes())
}

func (d *Downloads) binary(w *httpx.Response, r *http.Request, name, path string, zipped bool) error {
	sum, err := d.sum(path)
	if err != nil {
		return fmt.Errorf("checksum of %s: %w", name, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("X-Checksum-Sha256", sum) // of the program, also where it is zipped
	if !zipped {
		h.Set("Content-Type", "application/octet-stream")
		h.Set("ETag", `"`+sum+`"`)
		http.ServeContent(w, r, "", info.ModTime(), f)
		return nil
	}
	h.Set("Content-Type", "application/gzip")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, f); err != nil {
		return err
	}
	return z.Close()
}
