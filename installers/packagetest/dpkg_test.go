package packagetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The package's scripts work on another system's root: installed, upgraded with a
// changed configuration, set back, removed, installed again, purged.
func TestDpkgLife(t *testing.T) {
	needs(t, "dpkg", "systemd-sysusers", "deb-systemd-helper")
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can install files of root")
	}
	old, newer := one(t, release(t, "1.0.0", here), "tillwire-agent_*.deb"), one(t, release(t, "1.1.0", here), "tillwire-agent_*.deb")
	r := t.TempDir()
	at := func(path string) string { return filepath.Join(r, path) }
	for _, dir := range []string{"etc/systemd/system", "var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/tillwire-agent"} {
		if err := os.MkdirAll(at(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string) {
		if err := os.WriteFile(at(path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("var/lib/dpkg/status", "")
	dpkg := func(env []string, args ...string) string {
		t.Helper()
		return must(t, "", env, "dpkg", append([]string{"--root=" + r, "--force-depends", "--force-script-chrootless", "--log=" + at("dpkg.log")}, args...)...)
	}
	there := func(path string, want bool) {
		t.Helper()
		if _, err := os.Lstat(at(path)); (err == nil) != want {
			t.Errorf("%s there: %v, want %v", path, err == nil, want)
		}
	}
	const wants = "etc/systemd/system/multi-user.target.wants/tillwire-agent.service"
	version := func(want string) {
		t.Helper()
		if got, err := exec.Command(at("usr/bin/tillwire-agent"), "version").Output(); err != nil || !strings.Contains(string(got), want) {
			t.Errorf("installed: %q %v, want %s", got, err, want)
		}
	}

	write("etc/systemd/system/tillwire-agent.service", "# The one text of this unit: by hand\n")
	said := dpkg(nil, "-i", old)
	version("1.0.0")
	there(wants, true)
	there("etc/systemd/system/tillwire-agent.service", false) // it would hide the package's
	if !strings.Contains(said, "gives way") || !strings.Contains(said, "tillwire-agent enroll") {
		t.Errorf("the installation says: %s", said)
	}
	if passwd := read(t, at("etc/passwd")); !strings.Contains(passwd, "tillwire-agent:") {
		t.Errorf("no user: %s", passwd)
	}

	write("etc/tillwire/agent.env", "TILLWIRE_LOG_LEVEL=debug\n")
	write("etc/tillwire/agent.toml", "store = 'S1'\n")
	write("var/lib/tillwire-agent/journal.db", "sales")
	kept := func() {
		t.Helper()
		if read(t, at("etc/tillwire/agent.env")) != "TILLWIRE_LOG_LEVEL=debug\n" || read(t, at("etc/tillwire/agent.toml")) != "store = 'S1'\n" || read(t, at("var/lib/tillwire-agent/journal.db")) != "sales" {
			t.Error("configuration or journal changed")
		}
	}
	if err := os.Remove(at(wants)); err != nil { // switched off by hand
		t.Fatal(err)
	}
	dpkg(nil, "-i", newer)
	version("1.1.0")
	there(wants, false)
	kept()
	dpkg(nil, "-i", old)
	version("1.0.0")
	kept()

	if said := dpkg(nil, "-r", "tillwire-agent"); !strings.Contains(said, "the journal stays") {
		t.Errorf("the removal says: %s", said)
	}
	there("usr/bin/tillwire-agent", false)
	kept()
	dpkg(nil, "-i", newer)
	kept()
	dpkg(nil, "-P", "tillwire-agent")
	there("etc/tillwire/agent.toml", false)
	there("etc/tillwire/agent.env", false)
	there("var/lib/tillwire-agent/journal.db", true)
	dpkg(nil, "-i", newer)
	dpkg([]string{"TILLWIRE_PURGE=yes"}, "-P", "tillwire-agent")
	there("var/lib/tillwire-agent", false)
}
