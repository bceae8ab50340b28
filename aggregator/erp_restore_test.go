package aggregator_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/aggregator"
	"tillwire/aggregator/poster/tryton/trytontest"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// gate is the line to an ERP, which a test shuts.
type gate struct {
	erp    *trytontest.Server
	shut   atomic.Bool
	single atomic.Bool // shut it as soon as the next shipment has been made, before its steps
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || g.shut.Load() {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	makes := bytes.Contains(body, []byte("model.stock.shipment.")) && bytes.Contains(body, []byte(`.create"`))
	resp, err := forward(r.Context(), g.erp, r.Header, body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if makes && g.single.CompareAndSwap(true, false) {
		g.shut.Store(true)
	}
	give(w, resp)
}

// drill is a ledger that is lost while it posts to a real Tryton.
type drill struct {
	*process
	erp  *trytontest.Server
	line *gate
	said []string // documents of tills, which their sources still have
	x    *till
}

// TestERPRestore is the drill: the ledger is lost while it posts to a real Tryton, and
// made again of a copy that calls documents due which Tryton has booked since, and that
// knows nothing of others: booked, or left as a draft by the crash. Nothing is posted
// until the ERP has been read back and a person says so; what the sources send again
// nets with what the ERP has. In the end Tryton's own stock is ours to the unit, no
// document is there twice or half-done, and at no moment a difference was shown.
func TestERPRestore(t *testing.T) {
	erp := trytontest.Start(t)
	d := &drill{process: &process{t: t, dir: t.TempDir()}, erp: erp, line: &gate{erp: erp}, x: &till{rnd: rand.New(rand.NewPCG(3, 4)), last: map[string]string{}}}
	server := httptest.NewServer(d.line)
	defer server.Close()
	copies := t.TempDir()
	d.configure(server.URL, 2, 1, fmt.Sprintf("[backup]\nto = %q\nevery = '1h'\n", copies))
	d.up()
	defer func() { d.kill() }()
	d.sell(20)
	d.drained()

	d.line.shut.Store(true)
	d.sell(5)
	due := d.due()
	d.post("/v1/backups", `{}`, http.StatusCreated)
	d.line.shut.Store(false)
	d.sell(10)
	d.drained()
	d.line.single.Store(true)
	for ; !d.line.shut.Load(); time.Sleep(200 * time.Millisecond) {
		d.sell(1)
	}
	d.kill()

	d.restore(copies)
	d.line.shut.Store(false)
	done := d.booked("done")
	if !slices.ContainsFunc(due, func(key string) bool { return slices.Contains(done, key) }) {
		t.Fatalf("of what the copy calls due, %v, Tryton has nothing", due)
	}
	drafts := d.booked("draft")
	if len(drafts) != 1 {
		t.Fatalf("%v are drafts in Tryton", drafts)
	}
	d.up()
	d.sell(3) // shops go on
	d.again()
	d.readBack(done)
	if got := d.booked("done"); len(got) != len(done) {
		t.Errorf("Tryton got %d documents while postings were held", len(got)-len(done))
	}
	d.post("/v1/postings/resume", `{"reason":"all that Tryton has is read back"}`, http.StatusOK)
	standing := d.drained()
	d.undisputed()
	erp.Login()
	d.holdStock(erp)
	d.holdOnce(erp, standing)
	d.holdStatements(erp)
	if standing.Adopted == 0 {
		t.Error("nothing was read back")
	}
	t.Logf("%d documents of tills; %d postings in the end, %d were read back", d.x.n, standing.Posted, standing.Adopted)
	d.stop()
}

// post asks for something and wants one status.
func (d *drill) post(path, body string, want int) []byte {
	d.t.Helper()
	resp, err := http.Post(d.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		d.t.Fatalf("%s: %d, not %d: %v %s", path, resp.StatusCode, want, err, b)
	}
	return b
}

// sell brings so many documents in.
func (d *drill) sell(n int) {
	d.t.Helper()
	for range n {
		doc := d.x.document()
		d.said = append(d.said, doc)
		d.feed(doc)
	}
}

// again has the sources send all that they ever said.
func (d *drill) again() {
	d.t.Helper()
	taken := 0
	for part := range slices.Chunk(d.said, 20) {
		b := d.post("/v1/feeds/pos/events", `{"events":[`+strings.Join(part, ",")+`]}`, http.StatusOK)
		taken += bytes.Count(b, []byte(`"accepted"`))
		if n := bytes.Count(b, []byte(`"duplicate"`)); taken+n == 0 {
			d.t.Fatalf("%s", b)
		}
	}
	if taken == 0 {
		d.t.Error("the ledger had lost nothing")
	}
}

// due waits until documents are due, and names them.
func (d *drill) due() (keys []string) {
	d.t.Helper()
	for until := time.Now().Add(time.Minute); len(keys) == 0; time.Sleep(100 * time.Millisecond) {
		var page struct {
			Postings []protocol.Posting `json:"postings"`
		}
		d.get("/v1/postings?state=due&limit=500", &page)
		for i := range page.Postings {
			keys = append(keys, page.Postings[i].ID)
		}
		if time.Now().After(until) {
			d.t.Fatal("nothing becomes due")
		}
	}
	return keys
}

// restore makes the ledger again of the newest copy.
func (d *drill) restore(copies string) {
	d.t.Helper()
	c, err := aggregator.LoadConfig(d.conf, func(string) (string, bool) { return "", false })
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(c.DataDir, aggregator.LedgerFile)); err != nil {
		d.t.Fatal(err)
	}
	var out strings.Builder
	if err := aggregator.RestoreBackup(context.Background(), c, copies, "", &out); err != nil || !strings.Contains(out.String(), "generation is 2 now") {
		d.t.Fatalf("%v\n%s", err, out.String())
	}
}

// booked lists the documents that Tryton has in a state, by our keys.
func (d *drill) booked(state string) (keys []string) {
	d.t.Helper()
	d.erp.Login()
	for _, model := range []string{"out", "out.return", "in", "in.return", "internal"} {
		var list []struct {
			Reference string `json:"reference"`
		}
		d.erp.Call(&list, "model.stock.shipment."+model+".search_read", []any{[]any{"state", "=", state}}, 0, nil, nil, []string{"reference"})
		for _, s := range list {
			x, ok := posting.ReadReference(s.Reference)
			if !ok {
				d.t.Fatalf("whose is %q?", s.Reference)
			}
			keys = append(keys, x.Key)
		}
	}
	return keys
}

// readBack waits until the book has as posted all that Tryton has.
func (d *drill) readBack(done []string) {
	d.t.Helper()
	var got struct {
		ERPs     []protocol.PostingStanding `json:"erps"`
		Postings []protocol.Posting         `json:"postings"`
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		d.get("/v1/postings?state=posted&limit=1000", &got)
		if !got.ERPs[0].Held {
			d.t.Fatalf("postings are not held: %+v", got.ERPs)
		}
		missing := slices.DeleteFunc(slices.Clone(done), func(key string) bool {
			return slices.ContainsFunc(got.Postings, func(p protocol.Posting) bool { return p.ID == key && p.ERPID != "" })
		})
		if len(missing) == 0 {
			return
		}
		if time.Now().After(until) {
			d.t.Fatalf("not read back: %v", missing)
		}
	}
}

// undisputed holds that no difference with Tryton was ever shown, open or settled.
func (d *drill) undisputed() {
	d.t.Helper()
	var page struct {
		Rows []protocol.Reconciliation `json:"reconciliations"`
	}
	d.get("/v1/reconciliations?source=tryton", &page)
	if len(page.Rows) != 0 {
		d.t.Errorf("differences were shown: %+v", page.Rows)
	}
}
