package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPackageVersion(t *testing.T) {
	for version, want := range map[string]string{
		"1.2.3": "1.2.3", "v10.0.7": "10.0.7", "v1.2.3-4-gabc123": "0.0.77", "2a06a6b": "0.0.77", "2a06a6b-dirty": "0.0.77",
		"1.2": "0.0.77", "1.02.3": "0.0.77", "1.2.70000": "0.0.77", "1.2.3-dirty": "0.0.77", "": "0.0.77",
	} {
		if got, tagged := packageVersion(version, "77"); got != want || tagged != (want != "0.0.77") {
			t.Errorf("%q becomes %s (tagged: %v), want %s", version, got, tagged, want)
		}
	}
}

func TestParseFlags(t *testing.T) {
	got := parseFlags("usage: x\n\n  -config file\n    \tconfiguration file (default /etc/x)\n  -dev\n    \tdevelopment\n    \tonly\n  -n\tone letter\nExample: -no\n")
	want := []manualFlag{{"config", "file", "configuration file (default /etc/x)"}, {"dev", "", "development only"}, {"n", "", "one letter"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(manualFlag{})); d != "" {
		t.Error(d)
	}
	got = flagsOfArgs("counts|oversell [--stores N] [--out DIR] [--json] FILE")
	want = []manualFlag{{"stores", "n", ""}, {"out", "dir", ""}, {"json", "", ""}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(manualFlag{})); d != "" {
		t.Error(d)
	}
}

func TestParseKeys(t *testing.T) {
	got := parseKeys([]byte("link.broker              TILLWIRE_LINK_BROKER             \"mqtt://127.0.0.1:7483\"      mqtt://host:port\nnothing of it\nhttp.tokens TILLWIRE_HTTP_TOKENS \"[]\" bearer\n"))
	want := []configKey{{"link.broker", "TILLWIRE_LINK_BROKER", "mqtt://127.0.0.1:7483", "mqtt://host:port"}, {"http.tokens", "TILLWIRE_HTTP_TOKENS", "[]", "bearer"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(configKey{})); d != "" {
		t.Error(d)
	}
}

// Texts cannot become requests to the formatter, or end a shell's quotes.
func TestTextsStayTexts(t *testing.T) {
	for text, want := range map[string]string{".so /etc/passwd": `\&.so /etc/passwd`, "'x": `\&'x`, `a\b --c`: `a\eb \-\-c`, "two\nlines": "two lines"} {
		if got := roff(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	m := &manual{Program: "tillwire-x", About: "is it", Commands: []manualCommand{{Name: "go", Help: "it's $(touch x)", flags: []manualFlag{{"out", "file", "a:b 'c'"}}}}}
	for shell, text := range map[string]string{"zsh": m.zsh(), "fish": m.fish(), "powershell": m.powershell()} {
		if !strings.Contains(text, `it'\''s $(touch x)`) && !strings.Contains(text, "'it''s $(touch x)'") {
			t.Errorf("%s: the help is not quoted:\n%s", shell, text)
		}
	}
	if page := m.page("1", time.Unix(0, 0).UTC()); !strings.Contains(page, ".B \\-\\-out \\fIfile\\fR\n") {
		t.Errorf("the page lacks a flag:\n%s", page)
	}
}

// The same name has the same number, and each kind of number has its form.
func TestGUID(t *testing.T) {
	a, b := guid("product 1.0.0"), guid("product 1.0.1")
	if a == b || a != guid("product 1.0.0") || len(a) != 36 || a[14] != '8' || strings.ToUpper(a) != a {
		t.Errorf("%s %s", a, b)
	}
}

// A folder that is no release is not emptied.
func TestEmptiedSparesOthers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tillwire-1.0.0-linux-amd64.tar.gz", "SHA256SUMS", "thesis.tex"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := emptied(dir); err == nil || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filepath.Join(dir, "thesis.tex")); err != nil {
		t.Fatal(err)
	}
	if err := emptied(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the old release stays")
	}
}
