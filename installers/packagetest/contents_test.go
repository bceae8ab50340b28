package packagetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const here = "linux/amd64"

// agentFiles are the same in deb and rpm, but for zsh's folder.
var agentFiles = []string{
	"/etc/tillwire", "/etc/tillwire/agent.env", "/usr/bin/tillwire-agent", "/usr/lib/systemd/system/tillwire-agent.service",
	"/usr/lib/sysusers.d/tillwire-agent.conf", "/usr/share/bash-completion/completions/tillwire-agent",
	"/usr/share/doc/tillwire-agent/README.md", "/usr/share/doc/tillwire-agent/copyright",
	"/usr/share/fish/vendor_completions.d/tillwire-agent.fish", "/usr/share/man/man1/tillwire-agent.1.gz",
}

func TestDebContents(t *testing.T) {
	needs(t, "dpkg-deb")
	deb := one(t, release(t, "1.0.0", here), "tillwire-agent_*.deb")
	var got []string
	for line := range strings.Lines(must(t, "", nil, "dpkg-deb", "-c", deb)) {
		f := strings.Fields(line)
		name := strings.TrimPrefix(f[5], ".")
		if strings.HasSuffix(name, "/") && name != "/etc/tillwire/" {
			continue
		}
		if f[1] != "root/root" {
			t.Errorf("%s belongs to %s", name, f[1])
		}
		if name == "/etc/tillwire/agent.env" && f[0] != "-rw-------" {
			t.Errorf("%s is %s: it may hold secrets", name, f[0])
		}
		got = append(got, strings.TrimSuffix(name, "/"))
	}
	want := append(slices.Clone(agentFiles), "/usr/share/zsh/vendor-completions/_tillwire-agent")
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	control := filepath.Join(t.TempDir(), "control")
	must(t, "", nil, "dpkg-deb", "-e", deb, control)
	if got := read(t, filepath.Join(control, "conffiles")); strings.TrimSpace(got) != "/etc/tillwire/agent.env" {
		t.Errorf("conffiles: %q", got)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		must(t, control, nil, "sh", "-n", script)
	}
}

func TestRPMContents(t *testing.T) {
	needs(t, "rpm")
	rpm := one(t, release(t, "1.0.0", here), "tillwire-agent-*.rpm")
	got := strings.Fields(must(t, "", nil, "rpm", "-qlp", rpm))
	want := append(slices.Clone(agentFiles), "/usr/share/zsh/site-functions/_tillwire-agent")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := must(t, "", nil, "rpm", "-qcp", rpm); strings.TrimSpace(got) != "/etc/tillwire/agent.env" {
		t.Errorf("configuration files: %q", got)
	}
	if got := must(t, "", nil, "rpm", "-qp", "--qf", "%{VERSION} %{ARCH} %{BUILDHOST}", rpm); got != "1.0.0 x86_64 tillwire" {
		t.Errorf("version, architecture, host of the build: %q", got)
	}
}

// What is in the archive runs as it is, and the checksums are those of the files.
func TestArchiveRuns(t *testing.T) {
	needs(t, "tar", "sha256sum")
	dir, to := release(t, "1.0.0", here), t.TempDir()
	must(t, dir, nil, "sha256sum", "--check", "--strict", "SHA256SUMS")
	must(t, to, nil, "tar", "-xzf", one(t, dir, "tillwire-1.0.0-linux-amd64.tar.gz"))
	for _, p := range []string{"tillwire-agent", "tillwire-aggregator", "tillwire-simulator"} {
		program := filepath.Join(to, "tillwire-1.0.0-linux-amd64", p)
		if got := must(t, "", nil, program, "version"); !strings.Contains(got, p+" 1.0.0") {
			t.Errorf("%s says %q", p, got)
		}
		for _, shell := range []string{"bash", "zsh", "fish", "ps1"} {
			one(t, filepath.Join(to, "tillwire-1.0.0-linux-amd64", "completions"), p+"."+shell)
		}
	}
}

func TestBashCompletes(t *testing.T) {
	needs(t, "bash", "tar")
	to := t.TempDir()
	must(t, to, nil, "tar", "-xzf", one(t, release(t, "1.0.0", here), "tillwire-1.0.0-linux-amd64.tar.gz"), "--strip-components=1")
	for name, c := range map[string]struct{ program, words, want string }{
		"commands":    {"agent", "st", "start status stop"},
		"flags":       {"agent", "run --st", "--store"},
		"two words":   {"aggregator", "store de", "desired"},
		"three words": {"aggregator", "store desired s", "set"},
		"its flags":   {"aggregator", "store desired set --wa", "--wait"},
		"simulator":   {"simulator", "de", "demo"},
	} {
		t.Run(name, func(t *testing.T) {
			words := strings.Fields("tillwire-" + c.program + " " + c.words)
			script := `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); ` + "_tillwire_" + c.program + `; printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' '`
			args := append([]string{"-c", script, "test", filepath.Join(to, "completions", "tillwire-"+c.program+".bash")}, words...)
			if got := strings.TrimSpace(must(t, "", nil, "bash", args...)); got != c.want {
				t.Errorf("%q is completed to %q, want %q", c.words, got, c.want)
			}
		})
	}
}

// exposureMax is what systemd may call our units: 0 is best, 10 worst.
const exposureMax = 1.2

func TestUnitsBeforeSystemd(t *testing.T) {
	needs(t, "systemd-analyze", "tar")
	to := t.TempDir()
	must(t, to, nil, "tar", "-xzf", one(t, release(t, "1.0.0", here), "tillwire-1.0.0-linux-amd64.tar.gz"), "--strip-components=1")
	for _, name := range []string{"tillwire-agent.service", "tillwire-aggregator.service"} {
		unit := filepath.Join(to, "systemd", name)
		out := must(t, "", nil, "systemd-analyze", "security", "--offline=true", "--no-pager", unit)
		score := regexp.MustCompile(`exposure level for [^:]*: ([0-9.]+)`).FindStringSubmatch(out)
		if score == nil {
			t.Fatalf("no exposure: %s", out)
		}
		if n, err := strconv.ParseFloat(score[1], 64); err != nil || n > exposureMax {
			t.Errorf("%s: exposure %s, want at most %.1f\n%s", name, score[1], exposureMax, out)
		}
		text := strings.NewReplacer("/usr/bin/tillwire-agent", filepath.Join(to, "tillwire-agent"), "/usr/bin/tillwire-aggregator", filepath.Join(to, "tillwire-aggregator")).Replace(read(t, unit))
		if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := try(t, "", nil, "systemd-analyze", "verify", "--man=no", unit); err != nil || strings.Contains(out, name+":") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// The list of parts names what is linked, and no more.
func TestListOfParts(t *testing.T) {
	var b struct {
		BomFormat, SpecVersion, SerialNumber string
		Components                           []struct {
			Name, Version, PURL string
			Ref                 string `json:"bom-ref"`
		}
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal([]byte(read(t, one(t, release(t, "1.0.0", here), "*.cdx.json"))), &b); err != nil {
		t.Fatal(err)
	}
	if b.BomFormat != "CycloneDX" || b.SpecVersion != "1.6" || !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(b.SerialNumber) {
		t.Errorf("%s %s %s", b.BomFormat, b.SpecVersion, b.SerialNumber)
	}
	known := map[string]bool{"tillwire@1.0.0": true}
	names := map[string]string{}
	for _, c := range b.Components {
		known[c.Ref], names[c.Name] = true, c.Version
	}
	for _, want := range []string{"stdlib", "go.etcd.io/bbolt", "github.com/eclipse/paho.mqtt.golang", "github.com/mochi-mqtt/server/v2", "tillwire-agent"} {
		if names[want] == "" {
			t.Errorf("%s is not listed", want)
		}
	}
	if names["github.com/google/go-cmp"] != "" {
		t.Error("a library of tests is listed")
	}
	for _, d := range b.Dependencies {
		for _, on := range append(d.DependsOn, d.Ref) {
			if !known[on] {
				t.Errorf("%s is not among the components", on)
			}
		}
	}
}
