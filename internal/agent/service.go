package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/durable"
)

// Unit is the agent as a service of systemd.
type Unit struct {
	Folder  Folder
	Binary  string // absolute
	User    string // that it runs as; of the system's units, empty: that of the folder's owner
	PerUser bool   // a unit of one's own rather than of the system
	Drain   string // how long a job may go on when the service stops, "30m"
	Out     io.Writer
}

// Name is the unit's name: the same agent always has the same one.
func (u *Unit) Name() string {
	sum := sha256.Sum256([]byte(u.Folder))
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, filepath.Base(string(u.Folder)))
	return "sekisho-agent-" + name + "-" + hex.EncodeToString(sum[:3]) + ".service"
}

func (u *Unit) file() (string, error) {
	if !u.PerUser {
		return filepath.Join("/etc/systemd/system", u.Name()), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "systemd", "user", u.Name()), nil
}

// quote writes an argument as systemd reads it: without its specifiers and variables.
func quote(arg string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(arg) + `"`
}

// Text returns the unit.
func (u *Unit) Text() (string, error) {
	for _, s := range []string{string(u.Folder), u.Binary, u.User} {
		if strings.ContainsAny(s, "\n\r\x00") {
			return "", fmt.Errorf("%q can't stand in a unit of systemd", s)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[Unit]\nDescription=Sekisho build agent in %s\nAfter=network-online.target\nWants=network-online.target\n\n", strings.ReplaceAll(string(u.Folder), "%", "%%"))
	fmt.Fprintf(&b, "[Service]\nExecStart=%s agent run --folder %s --drain %s\n", quote(u.Binary), quote(string(u.Folder)), u.Drain)
	fmt.Fprintf(&b, "WorkingDirectory=%s\n", strings.ReplaceAll(string(u.Folder), "%", "%%"))
	if !u.PerUser && u.User != "" {
		fmt.Fprintf(&b, "User=%s\n", u.User)
	}
	// Only the agent is told to stop: it ends its jobs itself, and has the time for it.
	fmt.Fprintf(&b, "KillMode=mixed\nTimeoutStopSec=infinity\nRestart=on-failure\nRestartSec=5\nRestartPreventExitStatus=4\nOOMPolicy=continue\nDelegate=yes\n")
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "PATH"} {
		if value := os.Getenv(name); value != "" && !strings.Contains(value, "\n") && !(strings.Contains(strings.ToLower(name), "proxy") && strings.Contains(value, "@")) {
			fmt.Fprintf(&b, "Environment=%s\n", quote(name+"="+value))
		}
	}
	target := "multi-user.target"
	if u.PerUser {
		target = "default.target"
	}
	fmt.Fprintf(&b, "\n[Install]\nWantedBy=%s\n", target)
	return b.String(), nil
}

// owner returns who owns the folder.
func (u *Unit) owner() string {
	info, err := os.Stat(u.Folder.path(settingsFile))
	if err != nil {
		return ""
	}
	uid, ok := ownerOf(info)
	if !ok {
		return ""
	}
	who, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return who.Username
}

// Do installs, uninstalls, starts, stops or shows the service.
func (u *Unit) Do(ctx context.Context, what string) error {
	if runtime.GOOS != "linux" {
		return errors.New("services are for systemd; here, start sekisho agent run with what starts things")
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		return errors.New("there is no systemctl here: start sekisho agent run with what starts things on this machine")
	}
	name := u.Name()
	switch what {
	case "install":
		return u.install(ctx)
	case "uninstall":
		file, err := u.file()
		if err != nil {
			return err
		}
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no service %s", name)
		}
		if err := u.systemctl(ctx, "disable", "--now", name); err != nil {
			return err
		}
		fmt.Fprintln(u.Out, "remove", file)
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("remove unit: %w", err)
		}
		return u.systemctl(ctx, "daemon-reload")
	case "start", "stop":
		return u.systemctl(ctx, what, name)
	case "status":
		return u.systemctl(ctx, what, "--no-pager", name)
	}
	return fmt.Errorf("a service is installed, uninstalled, started, stopped, or its status shown; not %q", what)
}

func (u *Unit) install(ctx context.Context) error {
	if !u.Folder.Configured() {
		return ErrNotConfigured
	}
	if !u.PerUser {
		if os.Getuid() != 0 {
			return errors.New("a service of the system is installed by root: use sudo, or --user for one of your own")
		}
		if u.User == "" {
			u.User = u.owner()
		}
	}
	file, err := u.file()
	if err != nil {
		return err
	}
	text, err := u.Text()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write unit: %w", err)
	}
	fmt.Fprintf(u.Out, "write %s:\n\n%s\n", file, text)
	if err := durable.WriteFile(durable.OS{}, file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write unit: %w", err)
	}
	if err := u.systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	if err := u.systemctl(ctx, "enable", "--now", u.Name()); err != nil {
		return err
	}
	if u.PerUser {
		fmt.Fprintln(u.Out, "For it to run while you are not logged in: loginctl enable-linger")
	}
	return nil
}

// systemctl says what it does, and does it.
func (u *Unit) systemctl(ctx context.Context, args ...string) error {
	if u.PerUser {
		args = append([]string{"--user"}, args...)
	}
	fmt.Fprintln(u.Out, "systemctl", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Stdout, cmd.Stderr = u.Out, u.Out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("systemctl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
