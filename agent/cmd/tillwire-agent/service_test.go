package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// exposureMax is what systemd may call our unit: 0 is best, 10 worst.
const exposureMax = 1.2

func TestUnitNamesProgramAndConfiguration(t *testing.T) {
	unit := renderUnit("/opt/till wire/agent", "/etc/100%/agent.toml")
	for _, want := range []string{
		`ExecStart=/opt/till\x20wire/agent run --service --config ${CREDENTIALS_DIRECTORY}/agent.toml`,
		"LoadCredential=agent.toml:/etc/100%%/agent.toml", "ConditionPathExists=/etc/100%%/agent.toml",
		"Restart=always", "RestartSec=2", "StartLimitIntervalSec=0", "Type=notify", "WatchdogSec=30", "User=" + serviceUser,
	} {
		if !strings.Contains(unit, want+"\n") {
			t.Errorf("the unit lacks %q", want)
		}
	}
	if strings.Contains(unit, "{{") || regexp.MustCompile(`@[A-Z]+@`).MatchString(unit) {
		t.Errorf("a place is left empty:\n%s", unit)
	}
	if c := serviceConfig("/etc/tillwire/agent.toml"); runtime.GOOS == "linux" && !strings.Contains(c.Option["SystemdScript"].(string), "LoadCredential=agent.toml:/etc/tillwire/agent.toml\n") {
		t.Error("`install` writes another unit")
	}
}

// systemd itself judges the unit.
func TestUnitBeforeSystemd(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("skipped: systemd-analyze is not installed (Debian package systemd)")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), serviceName+".service")
	if err := os.WriteFile(path, []byte(renderUnit(exe, "/etc/tillwire/agent.toml")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
	if about := linesAbout(out, serviceName); err != nil || about != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.Command(analyze, "security", "--offline=true", "--no-pager", path).CombinedOutput()
	score := regexp.MustCompile(`exposure level for [^:]*: ([0-9.]+)`).FindSubmatch(out)
	if err != nil || score == nil {
		t.Skipf("skipped: this systemd cannot judge a unit file offline: %v %.200s", err, out)
	}
	n, err := strconv.ParseFloat(string(score[1]), 64)
	if err != nil || n > exposureMax {
		t.Errorf("exposure %s, want at most %.1f:\n%s", score[1], exposureMax, out)
	}
	t.Logf("exposure %s", score[1])
}

// linesAbout are the complaints about our unit, not the machine's others.
func linesAbout(out []byte, name string) string {
	var b strings.Builder
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte(name)) {
			b.Write(line)
		}
	}
	return b.String()
}

// A service is not installed over a configuration that it could not start with.
func TestInstallChecksFirst(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ file, want string }{
		"none":     {"", "enroll"},
		"broken":   {"store = 5", "store"},
		"no store": {"agent = 'server'", "TILLWIRE_STORE"},
		"elsewhere": {
			"store = 'S1'\ndata_dir = '/srv/x'", "leave data_dir out",
		},
		"inbox elsewhere": {"store = 'S1'\n[inbox]\ndir = '/srv/drop'", "inbox.dir is /srv/drop"},
		"log elsewhere":   {"store = 'S1'\n[log]\nfile = '/var/log/x.log'", "log.file is /var/log/x.log"},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS != "linux" && strings.HasSuffix(name, "elsewhere") {
				t.Skip("skipped: only our systemd unit binds the folders")
			}
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".toml")
			if c.file != "" {
				if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := prepare(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
	}
	good := filepath.Join(dir, "good.toml")
	if err := os.WriteFile(good, []byte("store = 'S1'\n[inbox]\ndir = '/var/lib/tillwire-agent/drop'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := prepare(good); err != nil || got != good {
		t.Errorf("%q %v", got, err)
	}
}
