package app_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/config"
)

// serveEnv makes the test binary a server on the folder it names, so that it can be killed.
const serveEnv = "SEKISHO_TEST_SERVE"

// rotateEnv makes it rotate the master key of the folder it names.
const rotateEnv = "SEKISHO_TEST_ROTATE"

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		if err := workerChild(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(rotateEnv); dir != "" {
		if err := rotateChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(serveEnv); dir != "" {
		if err := serveChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveChild serves dir with collection always at work, and prints the address.
func serveChild(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := testConfig(dir)
	if err != nil {
		return err
	}
	in, err := app.Open(ctx, c, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), app.Serve)
	if err != nil {
		return err
	}
	err = in.Run(ctx, "test", func(addrs []string) { fmt.Println(addrs[0]) })
	return errors.Join(err, in.Close())
}

func testConfig(dir string) (*config.Config, error) {
	loaded, err := config.Load(config.Options{Env: []string{
		"SEKISHO_DATA=" + dir, "SEKISHO_LISTEN=127.0.0.1:0", "SEKISHO_CREATE_ON_PUSH=true",
		"SEKISHO_GC_INTERVAL=1s", "SEKISHO_GC_GRACE=5s", "SEKISHO_GC_DELETE_DELAY=1s", "SEKISHO_GC_UPLOADS=1h", "SEKISHO_AUDIT_RETENTION=0s",
	}})
	if err != nil {
		return nil, err
	}
	return &loaded.Config, nil
}

// child is a running server process.
type child struct {
	cmd *exec.Cmd
	url string
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), serveEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v", errors.Join(err, cmd.Wait()))
	}
	return &child{cmd, "http://" + strings.TrimSpace(line)}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have gone by itself
	_ = c.cmd.Wait()
}

// image is what one worker pushes to one tag. Its state is what the server has acknowledged.
type image struct {
	tag      string
	manifest []byte            // last acknowledged; nil: none, or deleted
	blobs    map[string][]byte // of manifest
	doubt    []byte            // sent and not acknowledged: may or may not be there
	gone     bool              // a deletion was sent and not acknowledged
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}

// client talks to the server as a user of its root key.
type client struct {
	http       *http.Client
	url        string
	user, pass string
}

func (c *client) do(method, path, contentType string, body []byte) (int, http.Header, []byte, error) {
	if strings.HasPrefix(path, "/") {
		path = c.url + path
	}
	req, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.SetBasicAuth(c.user, c.pass)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, data, err
}

// expect is do that fails on any other status.
func (c *client) expect(want int, method, path, contentType string, body []byte) (http.Header, []byte, error) {
	status, h, data, err := c.do(method, path, contentType, body)
	if err == nil && status != want {
		err = &statusError{method, path, status, string(data)}
	}
	return h, data, err
}

type statusError struct {
	method, path string
	status       int
	body         string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.method, e.path, e.status, e.body)
}

const crashRepo = "/v2/crash/test"

// push sends an image of random blobs, each by one of the ways there are, and returns nil once it is acknowledged.
func (c *client) push(i *image, rng *rand.Rand, shared [][]byte) error {
	blobs := map[string][]byte{}
	var descriptors []string
	for range 2 {
		data := make([]byte, 1+rng.IntN(60_000)) // both sides of what is kept inline
		for k := range data {
			data[k] = byte(rng.Uint32())
		}
		if rng.IntN(3) == 0 {
			data = shared[rng.IntN(len(shared))] // that others push, delete and collect at the same time
		}
		if err := c.pushBlob(data, rng); err != nil {
			return err
		}
		blobs[sum(data)] = data
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":"application/octet-stream","digest":%q,"size":%d}`, sum(data), len(data)))
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s],"annotations":{"n":"%d"}}`,
		descriptors[0], descriptors[1], rng.Uint64())
	i.doubt = manifest
	for d, data := range blobs { // what is in doubt can become true
		if i.blobs == nil {
			i.blobs = map[string][]byte{}
		}
		i.blobs[d] = data
	}
	if _, _, err := c.expect(http.StatusCreated, "PUT", crashRepo+"/manifests/"+i.tag, "application/vnd.oci.image.manifest.v1+json", manifest); err != nil {
		return err
	}
	i.manifest, i.doubt, i.gone = manifest, nil, false
	return nil
}

func (c *client) pushBlob(data []byte, rng *rand.Rand) error {
	d := sum(data)
	status, _, _, err := c.do("HEAD", crashRepo+"/blobs/"+d, "", nil)
	if err != nil || status == http.StatusOK {
		return err
	}
	h, _, err := c.expect(http.StatusAccepted, "POST", crashRepo+"/blobs/uploads/", "", nil)
	if err != nil {
		return err
	}
	location := h.Get("Location")
	if rng.IntN(2) == 0 {
		half := len(data) / 2
		if _, _, err := c.expect(http.StatusAccepted, "PATCH", location, "application/octet-stream", data[:half]); err != nil {
			return err
		}
		data = data[half:]
	}
	_, _, err = c.expect(http.StatusCreated, "PUT", location+"?digest="+d, "application/octet-stream", data)
	return err
}

func (c *client) remove(i *image) error {
	i.gone = true
	if _, _, err := c.expect(http.StatusAccepted, "DELETE", crashRepo+"/manifests/"+sum(i.manifest), "", nil); err != nil {
		return err
	}
	i.manifest, i.gone = nil, false
	return nil
}

// check compares what the server has with what it acknowledged, every byte, and settles what was in doubt.
func (c *client) check(t *testing.T, i *image) {
	t.Helper()
	status, _, got, err := c.do("GET", crashRepo+"/manifests/"+i.tag, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case status == http.StatusNotFound:
		if i.manifest != nil && !i.gone {
			t.Errorf("%s: the acknowledged image %s is gone", i.tag, sum(i.manifest))
		}
		i.manifest = nil
	case status != http.StatusOK:
		t.Errorf("%s: status %d %s", i.tag, status, got)
	case bytes.Equal(got, i.manifest):
	case i.doubt != nil && bytes.Equal(got, i.doubt):
		i.manifest = i.doubt
	default:
		t.Errorf("%s: the image is %s, which nobody acknowledged last", i.tag, sum(got))
	}
	i.doubt, i.gone = nil, false
	if i.manifest == nil {
		i.blobs = nil
		return
	}
	for d := range i.blobs {
		if !strings.Contains(string(i.manifest), d) {
			delete(i.blobs, d)
			continue
		}
		status, _, data, err := c.do("GET", crashRepo+"/blobs/"+d, "", nil)
		if err != nil || status != http.StatusOK || sum(data) != d {
			t.Errorf("%s: blob %s: status %d, %d bytes, %v", i.tag, d, status, len(data), err)
		}
	}
}

// TestKill kills the server at random moments while clients push, delete and collection runs, and checks after each
// restart that all that was acknowledged is whole and nothing shows half. SEKISHO_SOAK=1h makes it go on for an hour.
func TestKill(t *testing.T) {
	duration := 10 * time.Second
	if testing.Short() {
		duration = 3 * time.Second
	}
	if s := os.Getenv("SEKISHO_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		duration = d
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := filepath.Join(t.TempDir(), "data")
	shared := make([][]byte, 20)
	for i := range shared {
		shared[i] = bytes.Repeat([]byte{byte(i)}, 1+rng.IntN(60_000))
	}
	const workers = 16
	images := make([][]*image, workers)
	for w := range images {
		for k := range 8 {
			images[w] = append(images[w], &image{tag: fmt.Sprintf("w%d-%d", w, k)})
		}
	}
	var kills, pushes int
	for end := time.Now().Add(duration); time.Now().Before(end); kills++ {
		server := startChild(t, dir)
		c := newClient(t, dir, server.url)
		for w := range images {
			for _, i := range images[w] {
				c.check(t, i)
			}
		}
		if t.Failed() {
			server.kill()
			t.Fatalf("after %d kills and %d pushes; seed %d", kills, pushes, seed)
		}
		killed := make(chan struct{})
		after := time.Duration(rng.IntN(1500)) * time.Millisecond
		time.AfterFunc(after, func() {
			server.kill()
			close(killed)
		})
		var wg sync.WaitGroup
		counts := make([]int, workers)
		problems := make([]error, workers)
		for w := range images {
			wrng := rand.New(rand.NewPCG(rng.Uint64(), uint64(w)))
			wg.Go(func() { counts[w], problems[w] = work(c, images[w], wrng, shared) })
		}
		wg.Wait()
		<-killed
		for w := range workers {
			pushes += counts[w]
			if problems[w] != nil {
				t.Fatalf("seed %d: %v", seed, problems[w])
			}
		}
		c.http.CloseIdleConnections()
	}
	t.Logf("%d kills, %d acknowledged pushes", kills, pushes)
	if pushes == 0 {
		t.Error("no push was acknowledged: nothing was tested")
	}
}

func newClient(t *testing.T, dir, url string) *client {
	t.Helper()
	c, err := testConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	in, err := app.Open(t.Context(), c, slog.New(slog.DiscardHandler), app.Shared)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	key, err := in.ReadRootKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &client{
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32, DialContext: (&net.Dialer{}).DialContext}},
		url:  url, user: key.AccessKeyID, pass: key.SecretAccessKey,
	}
}

// work pushes and deletes until the server is gone. An answer that refuses what should work is a problem; no answer is
// what killing does.
func work(c *client, images []*image, rng *rand.Rand, shared [][]byte) (pushes int, problem error) {
	for {
		i := images[rng.IntN(len(images))]
		var err error
		if i.manifest != nil && rng.IntN(4) == 0 {
			err = c.remove(i)
		} else if err = c.push(i, rng, shared); err == nil {
			pushes++
		}
		if _, ok := errors.AsType[*statusError](err); ok {
			return pushes, err
		}
		if err != nil {
			return pushes, nil
		}
	}
}
