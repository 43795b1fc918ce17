// Package s3server runs versitygw, an S3 service over a folder, for tests.
package s3server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho/sekisho/internal/blob/s3"
)

const (
	accessKeyID     = "test"
	secretAccessKey = "testsecret"
	region          = "us-east-1"
)

// Start returns where a fresh bucket is. One server serves all tests of a process and ends with it. Where versitygw is
// neither in the folder SEKISHO_TEST_TOOLS nor on PATH the test is skipped, or fails if SEKISHO_REQUIRE_TOOLS=1.
func Start(t testing.TB) s3.Options {
	t.Helper()
	server, err := started()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("SEKISHO_REQUIRE_TOOLS") != "1" {
		t.Skipf("SKIPPED, NOT TESTED ON S3: %v", err)
	}
	if err != nil {
		t.Fatalf("start versitygw: %v", err)
	}
	o := server.options
	o.Bucket = fmt.Sprintf("test-%d", server.buckets.Add(1))
	if _, err := server.client.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &o.Bucket}); err != nil {
		t.Fatalf("create bucket: %v", err)
	}
	return o
}

var started = sync.OnceValues(start)

type server struct {
	options s3.Options
	client  *awss3.Client
	buckets atomic.Int64 // created so far
	alive   io.Closer    // the guard's standard input; held so that it stays open
}

// The server must end with the test process however that ends, a timeout's panic and kill -9 included. So a shell
// owns it, which waits for the end of its standard input: a pipe that the test process holds open and never writes to.
const guard = `
versitygw=$1 dir=$2 address=$3
"$versitygw" --quiet --keep-alive --port "$address" posix "$dir/data" >"$dir/log" 2>&1 &
server=$!
cat >/dev/null
kill -KILL $server
wait $server
rm -rf "$dir"
`

func start() (*server, error) {
	tool, err := find("versitygw")
	if err != nil {
		return nil, err
	}
	// Not t.TempDir: it belongs to one test.
	dir, err := os.MkdirTemp("", "s3server")
	if err != nil {
		return nil, err
	}
	s, err := startIn(tool, dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

func startIn(tool, dir string) (*server, error) {
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &server{options: s3.Options{
		Region:          region,
		Endpoint:        "http://" + address,
		AccessKeyID:     accessKeyID,
		SecretAccessKey: secretAccessKey,
		PathStyle:       true,
	}}
	s.client = awss3.New(awss3.Options{
		Region:       region,
		BaseEndpoint: aws.String(s.options.Endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider(accessKeyID, secretAccessKey, ""),
		UsePathStyle: true,
	})
	cmd := exec.Command("/bin/sh", "-c", guard, "guard", tool, dir, address)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKeyID, "ROOT_SECRET_KEY="+secretAccessKey)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is not for it
	if s.alive, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.await(30 * time.Second); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return nil, errors.Join(fmt.Errorf("server does not answer: %w\n%s", err, log), s.alive.Close())
	}
	return s, nil
}

// await returns when the server answers.
func (s *server) await(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := s.client.ListBuckets(ctx, &awss3.ListBucketsInput{})
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// freeAddress returns an address nobody listened on a moment ago: the server cannot be asked where it listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func find(name string) (string, error) {
	if dir := os.Getenv("SEKISHO_TEST_TOOLS"); dir != "" {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}
