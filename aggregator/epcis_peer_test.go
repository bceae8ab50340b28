package aggregator_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// epcisClient is what a WMS that uses the public client would do: it makes events by
// the client's own classes, has it derive their hash ids, and captures a document.
const epcisClient = `
const e = require('epcis2.js');
e.setup({apiUrl: process.env.EPCIS_URL, EPCISDocumentSchemaVersion: '2.0', headers: {'content-type': 'application/json'},
	EPCISDocumentContext: 'https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld'});
const at = (step, n) => {
	const ev = new e.ObjectEvent({eventTime: '2026-11-23T09:00:0' + n + '.000+01:00', eventTimeZoneOffset: '+01:00', action: 'OBSERVE', bizStep: step});
	ev.addQuantity(new e.QuantityElement({epcClass: 'https://id.gs1.org/01/05901234123457', quantity: 3}));
	ev.setReadPoint('https://id.gs1.org/414/9521321000010');
	ev.setBizLocation('https://id.gs1.org/414/9521321000010/254/S001');
	ev.addBizTransaction(new e.BizTransactionElement({type: 'po', bizTransaction: 'urn:epcglobal:cbv:bt:9521321000010:PO-77'}));
	ev.generateHashID({}, true);
	return ev;
};
(async () => {
	const d = new e.EPCISDocument();
	d.setCreationDate('2026-11-23T09:00:09.000+00:00');
	d.addEvent(at('receiving', 1));
	d.addEvent(at('retail_selling', 2));
	d.addEvent(at('shipping', 3));
	if (!d.isValid()) throw new Error('the client calls its own document invalid');
	const r = await e.capture(d);
	console.log(r.status, r.headers.get ? r.headers.get('location') : r.headers.location);
})().catch(x => { console.error(x); process.exit(1); });
`

// installPeer puts npm packages into the repository's .data folder, once. It skips
// where there is no npm, or no registry: with CI=true that is a failure.
func installPeer(t *testing.T, name, manifest string, files map[string]string) string {
	t.Helper()
	skip := func(format string, args ...any) {
		t.Helper()
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI=true: "+format, args...)
		}
		t.Skipf("no npm peer "+name+": "+format, args...)
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip("%s is not here; `make deps` installs it", tool)
		}
	}
	dir, err := filepath.Abs(filepath.Join("..", ".data", "peers", name))
	if err != nil {
		t.Fatal(err)
	}
	files["package.json"] = manifest
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done := filepath.Join(dir, "node_modules", ".complete")
	if b, err := os.ReadFile(done); err == nil && string(b) == manifest {
		return dir
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		skip("npm install: %v\n%.2000s", err, out)
	}
	if err := os.WriteFile(done, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEPCISClient has the public npm client capture what it made, twice.
func TestEPCISClient(t *testing.T) {
	dir := installPeer(t, "epcis", `{"name":"tillwire-epcis-peer","version":"1.0.0","private":true,"dependencies":{"epcis2.js":"2.7.3"},"overrides":{"fs":"file:./fsstub"}}`, map[string]string{
		"fsstub/package.json": `{"name":"fs","version":"1.0.0","main":"index.js"}`, "fsstub/index.js": "module.exports = {};\n", "client.js": epcisClient,
	})
	r := start(t, true)
	r.stop()
	r.cfg.EPCIS.Destination = "sale"
	r.open()
	say := func() answer {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", "client.js")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "EPCIS_URL=http://"+r.agg.HTTPAddr()+"/epcis/v2/")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%.2000s", err, stderr.String())
		}
		status, at, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		if status != "202" || !strings.HasPrefix(at, "/epcis/v2/capture/") {
			t.Fatalf("the client heard %s", out)
		}
		return r.do("GET /epcis/v2/capture/{id}", at, "")
	}
	first, again := say(), say()
	for n := range 3 {
		id := r.result(first, n, "document_id")
		if r.result(first, n, "status") != "accepted" || !strings.HasPrefix(id, "ni:///sha-256;") || r.result(again, n, "status") != "duplicate" {
			t.Errorf("event %d: %s and then %s", n, first.body, again.body)
		}
	}
	r.says("received 3, sold 3, shipped 3", r.numbers("05901234123457", "9521321000010-S001"), "-3 on hand, 0 reserved, 0 allocated, 0 available")
}
