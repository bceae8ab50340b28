//go:build dist

package packagetest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func unpacked(t *testing.T) string {
	t.Helper()
	to := t.TempDir()
	must(t, to, nil, "tar", "-xzf", one(t, release(t, "1.0.0", here), "tillwire-1.0.0-linux-amd64.tar.gz"), "--strip-components=1")
	return to
}

var allPrograms = []string{"tillwire-agent", "tillwire-aggregator", "tillwire-simulator"}

// The other shells take the completions; fish is also asked for some.
func TestOtherShellsComplete(t *testing.T) {
	needs(t, "zsh", "fish")
	dir := filepath.Join(unpacked(t), "completions")
	for _, p := range allPrograms {
		must(t, dir, nil, "zsh", "-n", p+".zsh")
		must(t, dir, nil, "fish", "--no-execute", p+".fish")
		out := must(t, dir, nil, "zsh", "-fc", `autoload -U compinit && compinit -u -d "$1/dump" && source ./`+p+`.zsh && print ${_comps[`+p+`]}`, "zsh", t.TempDir())
		if want := "_" + strings.ReplaceAll(p, "-", "_"); !strings.Contains(out, want) {
			t.Errorf("zsh completes %s by %q", p, out)
		}
	}
	for line, want := range map[string]string{
		"tillwire-agent sta":                          "start|status",
		"tillwire-aggregator store desired s":         "set",
		"tillwire-aggregator store desired set --wai": "--wait",
	} {
		program, _, _ := strings.Cut(line, " ")
		out := must(t, dir, []string{"HOME=" + t.TempDir()}, "fish", "-c", "source ./"+program+".fish; complete -C '"+line+"'")
		for _, w := range strings.Split(want, "|") {
			if !strings.Contains(out, w+"\t") {
				t.Errorf("fish completes %q to %q, want %s", line, out, w)
			}
		}
	}
}

// overstruck is how terminals of old print bold: a letter, a step back, the letter.
var overstruck = regexp.MustCompile(`.\x08`)

// The manual pages are what mandoc calls sound, and say what help says.
func TestManualPages(t *testing.T) {
	needs(t, "mandoc", "gunzip")
	dir := filepath.Join(unpacked(t), "man")
	for _, p := range allPrograms {
		must(t, dir, nil, "gunzip", p+".1.gz")
		if out, err := try(t, dir, nil, "mandoc", "-T", "lint", "-W", "warning", p+".1"); err != nil {
			t.Errorf("%s: %v\n%s", p, err, out)
		}
		page := overstruck.ReplaceAllString(must(t, dir, nil, "mandoc", "-T", "utf8", p+".1"), "")
		for _, want := range map[string][]string{
			"tillwire-agent":      {"support", "TILLWIRE_LINK_BROKER", "/etc/tillwire/agent.toml"},
			"tillwire-aggregator": {"store", "TILLWIRE_MQTT_LISTEN", "/etc/tillwire/aggregator.toml"},
			"tillwire-simulator":  {"chaos", "demo"},
		}[p] {
			if !strings.Contains(page, want) {
				t.Errorf("%s(1) does not speak of %s", p, want)
			}
		}
	}
}

const grammars = `{"private":true,"dependencies":{"web-tree-sitter":"0.27.2","tree-sitter-powershell":"0.26.4"}}`

// PowerShell itself is not asked: its grammar is.
func TestPowerShellParses(t *testing.T) {
	needs(t, "node", "npm")
	modules := filepath.Join(root(t), ".data", "powershell")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(modules, "package.json"), []byte(grammars), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := try(t, modules, nil, "npm", "install", "--silent", "--ignore-scripts", "--no-audit"); err != nil {
		t.Skipf("skipped: npm does not bring the grammar: %v %s", err, out)
	}
	scripts, err := filepath.Glob(filepath.Join(root(t), "installers", "windows", "*.ps1"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, p := range allPrograms {
		scripts = append(scripts, filepath.Join(unpacked(t), "completions", p+".ps1"))
	}
	must(t, "", nil, "node", append([]string{filepath.Join("testdata", "parse.mjs"), filepath.Join(modules, "node_modules")}, scripts...)...)
	bad := filepath.Join(t.TempDir(), "bad.ps1")
	if err := os.WriteFile(bad, []byte("function x {\n if ($a { }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := try(t, "", nil, "node", filepath.Join("testdata", "parse.mjs"), filepath.Join(modules, "node_modules"), bad); err == nil {
		t.Errorf("a broken script passes: %s", out)
	}
}
