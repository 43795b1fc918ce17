package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// netnsUsable reports why network namespaces can't be made here.
func netnsUsable() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("network namespaces need root on Linux")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return err
	}
	name := fmt.Sprintf("sekisho-e2e-%d-probe", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return exec.Command("ip", "netns", "del", name).Run()
}

// cmdNetwork makes networks of their own, each a namespace with a wire to this one: network NAME... For each it sets
// IN_NAME, the namespace, for `ip netns exec`; NAME_IP, the address of who is in it; and NAME_GATE, the address that the
// server has for them; NAME_NET is the network of both. The addresses are from the range for benchmarks (RFC 2544), others for
// each process. A name is at most 8 letters.
func cmdNetwork(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 16 {
		ts.Fatalf("usage: network NAME...")
	}
	ip := func(args ...string) {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			ts.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for i, name := range args {
		space := fmt.Sprintf("sekisho-e2e-%d-%s", os.Getpid(), name)
		block := (os.Getpid()%2048*16 + i) * 4 // of four addresses
		address := func(n int) string {
			return fmt.Sprintf("198.%d.%d.%d", 18+(block+n)>>16, (block+n)>>8&255, (block+n)&255)
		}
		gate, own := address(1), address(2)
		outer := fmt.Sprintf("sk%d%s", os.Getpid()%1_000_000, name) // names of interfaces have at most 15 bytes
		outer = outer[:min(len(outer), 15)]
		ip("netns", "add", space)
		ts.Defer(func() {
			if out, err := exec.Command("ip", "netns", "del", space).CombinedOutput(); err != nil { // the wire goes with it
				ts.Logf("ip netns del %s: %v\n%s", space, err, out)
			}
		})
		ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
		ip("addr", "add", gate+"/30", "dev", outer)
		ip("link", "set", outer, "up")
		ip("-n", space, "addr", "add", own+"/30", "dev", "eth0")
		ip("-n", space, "link", "set", "eth0", "up")
		ip("-n", space, "link", "set", "lo", "up")
		upper := strings.ToUpper(name)
		ts.Setenv("IN_"+upper, space)
		ts.Setenv(upper+"_IP", own)
		ts.Setenv(upper+"_NET", address(0)+"/30")
		ts.Setenv(upper+"_GATE", gate)
	}
}
