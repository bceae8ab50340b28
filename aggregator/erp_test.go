package aggregator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/aggregator"
	"tillwire/aggregator/poster/tryton/trytontest"
	"tillwire/protocol"
)

// childConfig names the configuration of a process that TestERPChaos and TestERPRestore
// start of this very test binary: an aggregator that may be killed.
const childConfig = "TILLWIRE_TEST_AGGREGATOR"

func TestAggregatorProcess(t *testing.T) {
	path := os.Getenv(childConfig)
	if path == "" {
		t.Skip("is the process that TestERPChaos and TestERPRestore start and kill")
	}
	c, err := aggregator.LoadConfig(path, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	a, err := aggregator.New(c, aggregator.Deps{Log: zerolog.New(os.Stderr).Level(zerolog.WarnLevel), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// process is an aggregator that can be killed.
type process struct {
	t    *testing.T
	dir  string
	conf string
	cmd  *exec.Cmd
	url  string
}

// configure names the Tryton behind a line: documents are cut and stock is compared every
// so many seconds; more are further lines of before its table.
func (p *process) configure(line string, cutS, statementS int, more string) {
	p.t.Helper()
	p.conf = filepath.Join(p.dir, "aggregator.toml")
	conf := fmt.Sprintf("dev = true\ndata_dir = %q\n[http]\nlisten = '127.0.0.1:0'\n[mqtt]\nlisten = '127.0.0.1:0'\n%s[[erp]]\nname = 'tryton'\nkind = 'tryton'\nurl = %q\nuser = 'admin'\npassword = 'admin'\nwindow = 'interval'\nevery = '%ds'\ntransit = 'TRANSIT'\nmaster = '1h'\nstatement = '%ds'\n",
		filepath.Join(p.dir, "data"), more, line+"/erp/", cutS, statementS)
	for _, s := range trytontest.Stores {
		conf += fmt.Sprintf("[[erp.stores]]\nstore = '%s'\n", s)
	}
	if err := os.WriteFile(p.conf, []byte(conf), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) up() {
	p.t.Helper()
	addresses := filepath.Join(p.dir, "data", "addresses.json")
	_ = os.Remove(addresses)
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.Command(os.Args[0], "-test.run", "^TestAggregatorProcess$", "-test.timeout", "20m")
	p.cmd.Env = append(os.Environ(), childConfig+"="+p.conf)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var a struct {
			HTTP string `json:"http"`
		}
		if b, err := os.ReadFile(addresses); err == nil && json.Unmarshal(b, &a) == nil {
			p.url = "http://" + a.HTTP
			if resp, err := http.Get(p.url + "/readyz"); err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return
				}
			}
		}
		if time.Now().After(until) {
			b, _ := os.ReadFile(log.Name())
			p.t.Fatalf("the aggregator does not come up: %s", b)
		}
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// get asks until there is an answer: the process may just be dead.
func (p *process) get(path string, into any) {
	p.t.Helper()
	resp, err := http.Get(p.url + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(b, into) != nil {
		p.t.Fatalf("%s: %d, %v: %.300s", path, resp.StatusCode, err, b)
	}
}

// till makes a shop's documents, in their order.
type till struct {
	rnd  *rand.Rand
	n    int
	last map[string]string // store → a sale that may be cancelled
}

func (x *till) document() string {
	x.n++
	store := string(trytontest.Stores[x.rnd.IntN(3)])
	sku := func() string { return string(trytontest.SKU(x.rnd.IntN(12))) }
	now := time.Now().UTC().Add(-time.Duration(x.rnd.IntN(120)) * time.Minute)
	if x.rnd.IntN(3) == 0 {
		now = now.AddDate(0, 0, -1) // late
	}
	id := fmt.Sprint("d", x.n)
	head := fmt.Sprintf(`"document_id":%q,"location":%q,"occurred_at":%q`, id, store, now.Format(time.RFC3339))
	lines := fmt.Sprintf(`"lines":[{"sku":%q,"quantity":%d},{"sku":%q,"quantity":%d}]`, sku(), 1+x.rnd.IntN(3), sku(), 1+x.rnd.IntN(3))
	switch x.rnd.IntN(12) {
	case 0:
		return fmt.Sprintf(`{"kind":"receipt",%s,%s}`, head, lines)
	case 1:
		return fmt.Sprintf(`{"kind":"return",%s,"lines":[{"sku":%q,"quantity":1,"disposition":"damaged"}]}`, head, sku())
	case 2:
		return fmt.Sprintf(`{"kind":"count",%s,"scope":"sku","lines":[{"sku":%q,"quantity":%d}]}`, head, sku(), x.rnd.IntN(20))
	case 3:
		other := string(trytontest.Stores[x.rnd.IntN(3)])
		if other == store {
			break
		}
		return fmt.Sprintf(`{"kind":"transfer",%s,"transfer_id":%q,"direction":"out","counterparty":%q,%s}`, head, "t"+id, other, lines)
	case 4:
		if of := x.last[store]; of != "" {
			delete(x.last, store)
			return fmt.Sprintf(`{"kind":"void",%s,"voids":%q,"voids_kind":"sale"}`, head, of)
		}
	case 5:
		return fmt.Sprintf(`{"kind":"adjustment",%s,"reason":"shrink","lines":[{"sku":%q,"quantity":-1}]}`, head, sku())
	}
	x.last[store] = id
	return fmt.Sprintf(`{"kind":"sale",%s,%s}`, head, lines)
}

// TestERPChaos kills a real aggregator again and again while it posts to a real
// Tryton through a line that loses answers, and has Tryton itself die once. In the
// end Tryton's own stock is ours, to the unit, and no document is there twice.
func TestERPChaos(t *testing.T) {
	erp := trytontest.Start(t)
	var calm atomic.Bool
	var lost atomic.Int64
	rnd := rand.New(rand.NewPCG(1, 2))
	line := httptest.NewServer(losing(erp, &calm, &lost))
	defer line.Close()
	p := &process{t: t, dir: t.TempDir()}
	p.configure(line.URL, 6, 3, "")
	x := &till{rnd: rnd, last: map[string]string{}}
	p.up()
	const kills = 4
	for n := range kills {
		for until := time.Now().Add(time.Duration(1500+rnd.IntN(2000)) * time.Millisecond); time.Now().Before(until); {
			p.feed(x.document())
		}
		if n == kills/2 {
			erp.Kill()
			erp.Up()
		}
		p.kill()
		p.up()
	}
	calm.Store(true)
	standing := p.drained()
	t.Logf("%d documents of tills, %d answers lost, %d kills: %d postings of %d lines", x.n, lost.Load(), kills, standing.Posted, standing.LinesPosted)
	erp.Login()
	p.holdStock(erp)
	p.holdOnce(erp, standing)
	p.holdAudit()
	p.holdStatements(erp)
	p.stop()
}

// losing passes calls on; now and then the answer is lost, or a proxy fails.
func losing(erp *trytontest.Server, calm *atomic.Bool, lost *atomic.Int64) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k := n.Add(1)
		if !calm.Load() && k%41 == 0 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		resp, err := forward(context.WithoutCancel(r.Context()), erp, r.Header, body) // Tryton works on when the caller has died
		if err != nil || !calm.Load() && k%17 == 0 {
			lost.Add(1)
			panic(http.ErrAbortHandler)
		}
		give(w, resp)
	})
}

// forward makes a call of a line to an ERP.
func forward(ctx context.Context, erp *trytontest.Server, h http.Header, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, erp.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = h.Clone()
	return http.DefaultClient.Do(req)
}

// give passes an ERP's answer on.
func give(w http.ResponseWriter, resp *http.Response) {
	defer func() { _ = resp.Body.Close() }()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// feed brings a document in; it is acknowledged, or was not taken and comes again.
func (p *process) feed(doc string) {
	p.t.Helper()
	resp, err := http.Post(p.url+"/v1/feeds/pos/events", "application/json", strings.NewReader(`{"events":[`+doc+`]}`))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK || !bytes.Contains(b, []byte("accepted")) {
		p.t.Fatalf("%d %s: %s", resp.StatusCode, b, doc)
	}
}

// drained waits until nothing is owed to the ERP.
func (p *process) drained() protocol.PostingStanding {
	p.t.Helper()
	var got struct {
		ERPs     []protocol.PostingStanding `json:"erps"`
		Postings []protocol.Posting         `json:"postings"`
	}
	for until := time.Now().Add(8 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		p.get("/v1/postings?limit=1000", &got)
		s := got.ERPs[0]
		if s.Due == 0 && s.Waiting == 0 {
			if s.Parked > 0 {
				p.t.Errorf("%d postings are parked: %+v", s.Parked, got.Postings)
			}
			return s
		}
		if time.Now().After(until) {
			b, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			p.t.Fatalf("not drained: %+v\n%s", s, b)
		}
	}
}

// holdStock compares Tryton's own stock with ours.
func (p *process) holdStock(erp *trytontest.Server) {
	p.t.Helper()
	ours, theirs := map[string]protocol.Quantity{}, map[string]protocol.Quantity{}
	for _, store := range trytontest.Stores {
		for sku, q := range erp.Stock(string(store) + "-STO") {
			theirs[string(store)+" "+string(sku)] = q
		}
	}
	for n := range 12 {
		var a struct {
			Locations []struct {
				Location string            `json:"location"`
				OnHand   protocol.Quantity `json:"on_hand"`
			} `json:"locations"`
		}
		p.get("/v1/availability/"+string(trytontest.SKU(n)), &a)
		for _, l := range a.Locations {
			if l.OnHand != 0 {
				ours[l.Location+" "+string(trytontest.SKU(n))] = l.OnHand
			}
		}
	}
	if d := cmp.Diff(ours, theirs); d != "" || len(ours) == 0 {
		p.t.Errorf("stock diverges (- ours, + Tryton's): %s", d)
	}
}

// holdOnce counts shipments: as many are done as were posted, nothing is half-done.
func (p *process) holdOnce(erp *trytontest.Server, s protocol.PostingStanding) {
	p.t.Helper()
	total := map[string]int{}
	for _, model := range []string{"stock.shipment.out", "stock.shipment.out.return", "stock.shipment.in", "stock.shipment.in.return", "stock.shipment.internal"} {
		for state, n := range erp.Shipments(model) {
			total[state] += n
		}
	}
	var page struct {
		Postings []protocol.Posting `json:"postings"`
		Next     string             `json:"next"`
	}
	inERP := 0
	for after := ""; ; after = "&after=" + page.Next {
		page.Next = ""
		p.get("/v1/postings?state=posted&limit=500"+after, &page)
		for _, x := range page.Postings {
			if x.ERPID != "" {
				inERP++
			}
		}
		if page.Next == "" {
			break
		}
	}
	if total["done"] != inERP || total["draft"]+total["waiting"]+total["assigned"] != 0 {
		p.t.Errorf("Tryton has %v, we posted %d documents (%d in all)", total, inERP, s.Posted)
	}
}

// holdAudit goes from a document of the ERP to what tills said, and back.
func (p *process) holdAudit() {
	p.t.Helper()
	var page struct {
		Postings []protocol.Posting `json:"postings"`
	}
	p.get("/v1/postings?class=sale&state=posted&limit=1", &page)
	var x protocol.Posting
	p.get("/v1/postings/"+page.Postings[0].ID, &x)
	for _, l := range x.Lines {
		var sum protocol.Quantity
		for _, s := range l.Sources {
			sum += s.Quantity
		}
		if sum != l.Quantity || l.More {
			p.t.Errorf("posting %s, %s: its sources come to %s, not %s", x.ID, l.SKU, sum, l.Quantity)
		}
	}
	if len(x.Lines) != x.LineCount {
		p.t.Fatalf("%d lines of %d", len(x.Lines), x.LineCount)
	}
	p.get("/v1/postings?event_id="+x.Lines[0].Sources[0].EventID.String(), &page)
	found := false
	for _, y := range page.Postings {
		found = found || y.ID == x.ID
	}
	if !found {
		p.t.Errorf("event %s does not lead back to posting %s: %+v", x.Lines[0].Sources[0].EventID, x.ID, page.Postings)
	}
}

// holdStatements has Tryton's stock compared with ours: nothing differs, until
// somebody takes goods there that nobody told us of.
func (p *process) holdStatements(erp *trytontest.Server) {
	p.t.Helper()
	rows := func() (open []protocol.Reconciliation) {
		var page struct {
			Rows []protocol.Reconciliation `json:"reconciliations"`
		}
		p.get("/v1/reconciliations?source=tryton&state=open", &page)
		return page.Rows
	}
	before := rows()
	if len(before) != 0 {
		p.t.Errorf("Tryton's statement differs: %+v", before)
	}
	erp.Take("S2", 2, 3)
	for until := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if got := rows(); len(got) == 1 && got[0].SKU == trytontest.SKU(2) && got[0].Difference == protocol.Units(-3) {
			return
		} else if time.Now().After(until) {
			p.t.Fatalf("3 pieces taken from Tryton are not found: %+v", got)
		}
	}
}
