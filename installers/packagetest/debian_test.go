//go:build dist

package packagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// debian is a Debian of its own, booted in a container without a network: systemd
// is process 1 there.
type debian struct {
	root   string
	leader string // its process 1, as this machine counts
}

const (
	bootWait = 90 * time.Second
	notDone  = "not exercised: start, watchdog, upgrade of a running agent, Ansible; TestDpkgLife still runs the scripts"
)

// baseDebian is the folder of a Debian that is made once (in .data; a minute and a
// network). Tests copy it.
func baseDebian(t *testing.T) string {
	t.Helper()
	base := filepath.Join(root(t), ".data", "debian")
	if _, err := os.Stat(filepath.Join(base, "usr", "lib", "python3", "dist-packages", "apt")); err == nil {
		return base
	}
	if err := os.RemoveAll(base); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, "", nil, "debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus,ca-certificates,curl,rpm", "bookworm", base)
	must(t, "", nil, "chroot", base, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "install", "-y", "--no-install-recommends", "ansible-core", "python3-apt")
	return base
}

// bootDebian boots a copy of the base.
func bootDebian(t *testing.T) *debian {
	t.Helper()
	needs(t, "debootstrap", "systemd-nspawn", "nsenter")
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can boot a Debian; " + notDone)
	}
	base := baseDebian(t)
	d := &debian{root: filepath.Join(t.TempDir(), "debian")}
	must(t, "", nil, "cp", "-a", base, d.root)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "systemd-nspawn", "-D", d.root, "--boot", "--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe", "--machine=tillwire-test")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if d.leader != "" {
			_, _ = d.try("systemctl", "--no-block", "poweroff")
		}
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			cancel()
			<-ended
		}
		cancel()
	})
	for end := time.Now().Add(bootWait); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("skipped: no Debian boots here: %v %s; %s", err, said.String(), notDone)
		default:
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		if f := strings.Fields(string(children)); len(f) > 0 {
			d.leader = f[0]
			if out, _ := d.try("systemctl", "is-system-running"); strings.TrimSpace(out) == "running" || strings.TrimSpace(out) == "degraded" {
				return d
			}
		}
	}
	t.Skipf("skipped: no Debian boots here within %v: %s; %s", bootWait, said.String(), notDone)
	return nil
}

func (d *debian) command(args ...string) *exec.Cmd {
	all := append([]string{"-t", d.leader, "-a", "env", "-i", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, args...)
	return exec.Command("nsenter", all...)
}

func (d *debian) try(args ...string) (string, error) {
	out, err := d.command(args...).CombinedOutput()
	return string(out), err
}

// do runs a command of the container that must succeed.
func (d *debian) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// bring copies a file into the container and gives its path there.
func (d *debian) bring(t *testing.T, path string) string {
	t.Helper()
	to := "/" + filepath.Base(path)
	must(t, "", nil, "cp", "-r", path, d.root+to)
	return to
}

// property is one of the agent's unit.
func (d *debian) property(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(d.do(t, "systemctl", "show", "tillwire-agent", "--value", "-p", name))
}

// until waits for a condition.
func until(t *testing.T, wait time.Duration, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(wait); !cond(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, wait)
		}
	}
}

// addressOf waits until an aggregator has told where it is served.
func addressOf(t *testing.T, data string) string {
	t.Helper()
	var at struct{ HTTP string }
	until(t, 20*time.Second, "the aggregator's address", func() bool {
		b, err := os.ReadFile(filepath.Join(data, "addresses.json"))
		return err == nil && json.Unmarshal(b, &at) == nil && at.HTTP != ""
	})
	return "http://" + at.HTTP
}
