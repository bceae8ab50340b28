package edi

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// oracle has two public parsers tell the segments of files: tag and elements, with
// components joined by a tab.
const oracle = `
const fs = require('fs');
const {X12Parser} = require('node-x12');
const {Parser} = require('ts-edifact/lib/parser');
const {Configuration} = require('ts-edifact/lib/configuration');
console.warn = console.log = () => {}; // it has no segment tables, and says so
const x12 = raw => {
	const out = [];
	for (const g of new X12Parser(true).parse(raw).functionalGroups)
		for (const t of g.transactions) for (const s of t.segments) out.push([s.tag, ...s.elements.map(e => e.value)]);
	return out;
};
const edifact = raw => {
	const out = []; let elements, components;
	const p = new Parser(new Configuration());
	p.onOpenSegment = s => { elements = []; out.push([s, elements]); };
	p.onElement = () => { components = []; elements.push(components); };
	p.onComponent = v => components.push(v);
	p.write(raw); p.end();
	return out.map(([s, e]) => [s, ...e.map(c => c.join('\t'))]).filter(([s]) => !['UNB', 'UNH', 'UNT', 'UNZ'].includes(s));
};
process.stdout.write(JSON.stringify(process.argv.slice(2).map(f => {
	const raw = fs.readFileSync(f, 'utf8');
	return raw.startsWith('ISA') ? x12(raw) : edifact(raw);
})));
`

const oracleManifest = `{"name":"tillwire-edi-oracles","version":"1.0.0","private":true,"dependencies":{"node-x12":"1.7.1","ts-edifact":"0.0.14"}}`

// installOracles puts the parsers into the repository's .data folder, once. It skips
// where there is no npm, or no registry: with CI=true that is a failure.
func installOracles(t *testing.T) string {
	t.Helper()
	skip := func(format string, args ...any) {
		t.Helper()
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI=true: "+format, args...)
		}
		t.Skipf("no independent EDI parsers: "+format, args...)
	}
	if _, err := exec.LookPath("npm"); err != nil {
		skip("npm is not here; `make deps` installs it")
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", ".data", "peers", "edi"))
	if err == nil {
		err = os.MkdirAll(dir, 0o750)
	}
	for name, content := range map[string]string{"package.json": oracleManifest, "oracle.js": oracle} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(dir, "node_modules", ".complete")
	if b, err := os.ReadFile(done); err == nil && string(b) == oracleManifest {
		return dir
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		skip("npm install: %v\n%.2000s", err, out)
	}
	if err := os.WriteFile(done, []byte(oracleManifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestIndependentParsersReadTheSame compares our segments with those of node-x12 and
// ts-edifact: our fixtures, and such with other delimiters, released characters and
// line ends.
func TestIndependentParsersReadTheSame(t *testing.T) {
	dir := installOracles(t)
	files := map[string]string{}
	for _, name := range []string{"944.x12", "945.x12", "846.x12", "desadv.edi", "recadv.edi", "invrpt.edi"} {
		files[name] = file(t, name)
	}
	files["pipes.x12"] = strings.NewReplacer("*", "|", "~\n", "\n", ">", ":").Replace(files["944.x12"])
	files["crlf.x12"] = strings.ReplaceAll(files["846.x12"], "\n", "\r\n")
	files["released.edi"] = replace(t, files["desadv.edi"], "M?+B SUPPLIES", "M?+B?'S ?:SUPPLIES??")
	files["una.edi"] = strings.NewReplacer("UNA:+.? '", "UNA|*.? ~", ":", "|", "+", "*", "'", "~").Replace(replace(t, files["recadv.edi"], "QTY+194:390", "QTY+194:390"))
	tmp := t.TempDir()
	names, args := []string{}, []string{"oracle.js"}
	for name, raw := range files {
		path := filepath.Join(tmp, name)
		if err := os.WriteFile(path, []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		names, args = append(names, name), append(args, path)
	}
	cmd := exec.Command("node", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, stderr.String())
	}
	var want [][][]string
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatalf("%v: %.300s", err, out)
	}
	for n, name := range names {
		all, p := Split([]byte(files[name]))
		if p != nil || all[0].Problem != nil {
			t.Fatalf("%s: %v %v", name, p, all)
		}
		var got [][]string
		for _, m := range all[0].Messages {
			if m.Problem != nil {
				t.Errorf("%s: %v", name, m.Problem)
			}
			for _, s := range m.Segments {
				row := []string{s.Tag}
				for _, e := range s.elem {
					row = append(row, strings.Join(e, "\t"))
				}
				got = append(got, row)
			}
		}
		if d := cmp.Diff(want[n], got); d != "" || len(got) < 5 {
			t.Errorf("%s (-theirs +ours):\n%s", name, d)
		}
	}
}
