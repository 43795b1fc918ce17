package metatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgreSQL returns the name of a fresh PostgreSQL database. Where PostgreSQL isn't installed the test is skipped, or
// fails if SEKISHO_REQUIRE_TOOLS=1.
func PostgreSQL(t testing.TB) (dsn string) {
	t.Helper()
	c, err := startedCluster()
	if errors.Is(err, errNotInstalled) && os.Getenv("SEKISHO_REQUIRE_TOOLS") != "1" {
		t.Skipf("SKIPPED, NOT TESTED ON POSTGRESQL: %v", err)
	}
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	name := fmt.Sprintf("test%d", c.databases.Add(1))
	if err := c.exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() {
		if err := c.exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop database: %v", err)
		}
	})
	return c.dsn(name)
}

var errNotInstalled = errors.New("initdb and postgres are neither on PATH nor in /usr/lib/postgresql")

// startedCluster starts the cluster when it is first asked for.
var startedCluster = sync.OnceValues(startCluster)

type cluster struct {
	dir       string       // holds data, socket and log
	databases atomic.Int64 // created so far
	alive     io.Closer    // the guard's standard input; held so that it stays open
}

// The server must end with the test process however that ends, a timeout's panic and kill -9 included. So a shell
// owns it, which waits for the end of its standard input: a pipe that the test process holds open and never writes to.
const guard = `
postgres=$1 dir=$2
"$postgres" -D "$dir/data" -k "$dir" >"$dir/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT $server
wait $server
rm -rf "$dir"
`

func startCluster() (*cluster, error) {
	initdb, err := findTool("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := findTool("postgres")
	if err != nil {
		return nil, err
	}
	owner, err := owner()
	if err != nil {
		return nil, err
	}
	// Not t.TempDir: it belongs to one test, and the name of a socket must be short.
	dir, err := os.MkdirTemp("", "metatest")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	if err := c.start(initdb, postgres, owner); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return c, nil
}

func (c *cluster) start(initdb, postgres string, owner *syscall.Credential) error {
	if owner != nil {
		if err := os.Chown(c.dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	// A locale that doesn't sort bytewise, so that tests notice what relies on one that does.
	data := filepath.Join(c.dir, "data")
	init := exec.Command(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions",
		"--locale-provider=icu", "--icu-locale=en", "--locale=C.UTF-8")
	init.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	init.Dir = c.dir
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString(`
listen_addresses = ''
max_connections = 200
shared_buffers = 32MB
fsync = off
synchronous_commit = off
full_page_writes = off
max_wal_senders = 0
wal_level = minimal
autovacuum_naptime = 1h
deadlock_timeout = 50ms
`)
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}
	server := exec.Command("/bin/sh", "-c", guard, "guard", postgres, c.dir)
	server.SysProcAttr = &syscall.SysProcAttr{Credential: owner, Setpgid: true} // an interrupt at the terminal is not for it
	server.Dir = c.dir
	if c.alive, err = server.StdinPipe(); err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	return c.await(30 * time.Second)
}

// await returns when the server answers.
func (c *cluster) await(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		err := c.exec(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			return fmt.Errorf("server does not answer: %w\n%s", err, log)
		}
	}
}

func (c *cluster) dsn(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {c.dir}, "user": {"postgres"}}.Encode()
}

func (c *cluster) exec(ctx context.Context, stmt string) error {
	conn, err := pgx.Connect(ctx, c.dsn("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, stmt)
	return err
}

// findTool looks for a program of PostgreSQL, where Debian keeps its versions too.
func findTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.EvalSymlinks(path)
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return "", errNotInstalled
	}
	slices.Sort(found)
	return found[len(found)-1], nil
}

// owner returns whom the server runs as: PostgreSQL refuses to run as root. nil means as this process.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("this is root, and there is no user postgres or nobody to run PostgreSQL as")
}
