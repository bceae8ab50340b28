package intake

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tillwire/protocol"
)

// at makes a document of one line at a minute of the test's hour.
func at(id string, minute int, more, sku, quantity string) string {
	return fmt.Sprintf(`{"document_id":%q,"occurred_at":"2026-11-23T10:%02d:00Z",%s"lines":[{"sku":%q,"quantity":%s}]}`, id, minute, more, sku, quantity)
}

func (s *shop) stockOf(sku string) StockItem {
	s.t.Helper()
	w := s.do(http.MethodGet, "/v1/stock/"+sku, "", "")
	if w.Code != http.StatusOK {
		s.t.Fatalf("stock of %s: %d %s", sku, w.Code, w.Body)
	}
	return decode[StockItem](s.t, w.Body)
}

func TestLocalStock(t *testing.T) {
	s := newShop(t)
	want := func(sku string, onHand, unavailable int64) {
		t.Helper()
		it := s.stockOf(sku)
		avail := max(0, onHand-unavailable)
		if it.OnHand != protocol.Units(onHand) || it.Unavailable != protocol.Units(unavailable) || it.Available != protocol.Units(avail) {
			t.Errorf("%s: %+v, want %d on hand, %d unavailable", sku, it, onHand, unavailable)
		}
	}
	s.mustPost("/v1/receipts", at("r1", 0, ``, "A", "10"))
	want("A", 10, 0)
	s.mustPost("/v1/sales", at("s1", 1, ``, "A", "3"))
	want("A", 7, 0)
	s.mustPost("/v1/returns", `{"document_id":"b1","occurred_at":"2026-11-23T10:02:00Z","lines":[{"sku":"A","quantity":1,"disposition":"damaged"}]}`)
	want("A", 8, 1)
	s.mustPost("/v1/status_changes", at("c1", 3, `"from":"damaged","to":"sellable",`, "A", "1"))
	want("A", 8, 0)
	s.mustPost("/v1/transfers", at("t1", 4, `"direction":"out","counterparty":"S7","transfer_id":"T",`, "A", "2"))
	s.mustPost("/v1/adjustments", at("a1", 5, `"reason":"shrink",`, "A", "-1"))
	want("A", 5, 0)
	// A void takes its sale back, also when it comes first.
	s.mustPost("/v1/voids", `{"document_id":"v1","occurred_at":"2026-11-23T10:06:00Z","voids":"s1"}`)
	want("A", 8, 0)
	s.mustPost("/v1/voids", `{"document_id":"v2","occurred_at":"2026-11-23T10:06:00Z","voids":"s2"}`)
	s.mustPost("/v1/sales", at("s2", 7, ``, "A", "3"))
	want("A", 8, 0)
	s.mustPost("/v1/returns", at("s2", 7, `"original_document_id":"x",`, "A", "1")) // same number, another kind: not voided
	want("A", 9, 0)

	if it := s.stockOf("A"); it.Counted || it.Seq != s.j.State().Head {
		t.Errorf("%+v", it)
	}
	if w := s.do(http.MethodGet, "/v1/stock/B", "", ""); w.Code != 404 {
		t.Errorf("never seen: %d", w.Code)
	}
	if w := s.do(http.MethodGet, "/v1/stock/4006381333932", "", ""); w.Code != 422 {
		t.Errorf("check digit: %d", w.Code)
	}
	w := s.do(http.MethodGet, "/v1/stock?sku=A&sku=B", "", "")
	if a := decode[stockAnswer](t, w.Body); len(a.Items) != 1 || len(a.Unknown) != 1 {
		t.Errorf("%+v", a)
	}
	for _, q := range []string{"", "?sku=4006381333932", "?" + strings.Repeat("sku=A&", 101)} {
		if w := s.do(http.MethodGet, "/v1/stock"+q, "", ""); w.Code != 422 {
			t.Errorf("%.20s: %d", q, w.Code)
		}
	}
}

// TestCountsCutTheJournal: what was off the shelf when it was counted is inside
// the count, whenever the count is told.
func TestCountsCutTheJournal(t *testing.T) {
	now := testNow
	s := newShop(t)
	sale := func(id, quantity string) protocol.WriteResult {
		return s.mustPost("/v1/sales", at(id, 20, ``, "A", quantity))
	}
	first := sale("s1", "1")
	counted := first.JournaledAt.Format(time.RFC3339Nano)
	sale("s2", "2") // behind the count's moment: record times rise
	count := func(id, scope, sku, quantity, session, when string) {
		s.mustPost("/v1/counts", fmt.Sprintf(`{"document_id":%q,"occurred_at":%q,"scope":%q,"session":%q,"lines":[{"sku":%q,"quantity":%s}]}`, id, when, scope, session, sku, quantity))
	}
	count("c1", "sku", "A", "10", "S1", counted)
	if it := s.stockOf("A"); it.OnHand != protocol.Units(8) || !it.Counted {
		t.Errorf("10 were counted, 2 sold since: %+v", it)
	}
	count("c2", "sku", "A", "5", "S1", counted) // another shelf of the same session
	if it := s.stockOf("A"); it.OnHand != protocol.Units(13) {
		t.Errorf("10 and 5 were counted, 2 sold since: %+v", it)
	}
	// Posted late: its own time says that it was before the count.
	s.mustPost("/v1/sales", at("late", 10, ``, "A", "4"))
	if it := s.stockOf("A"); it.OnHand != protocol.Units(13) {
		t.Errorf("a late sale from before the count moved the stock: %+v", it)
	}
	sale("s3", "1")
	count("c3", "full", "B", "6", "S2", "2026-11-23T10:20:00.9Z")
	if a, b := s.stockOf("A"), s.stockOf("B"); a.OnHand != 0 || b.OnHand != protocol.Units(6) {
		t.Errorf("a full count found only B: %+v %+v", a, b)
	}
	// An older count that comes late changes nothing.
	count("c4", "sku", "B", "99", "S0", "2026-11-23T10:00:00Z")
	if b := s.stockOf("B"); b.OnHand != protocol.Units(6) {
		t.Errorf("%+v", b)
	}
	// A restart folds the same from the journal alone.
	fresh := s.in.o
	fresh.Metrics = nil
	again, err := New(fresh)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.stock.catchUp(context.Background(), s.j); err != nil {
		t.Fatal(err)
	}
	for _, sku := range []protocol.SKU{"A", "B"} {
		x, _ := again.stock.get(sku, now)
		y, _ := s.in.stock.get(sku, now)
		if x.OnHand != y.OnHand || x.Unavailable != y.Unavailable || x.Seq != y.Seq {
			t.Errorf("after a restart %+v, before %+v", x, y)
		}
	}
}

func TestRunEnds(t *testing.T) {
	s := newShop(t)
	s.mustPost("/v1/sales", goodDocs["/v1/sales"])
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.in.Run(ctx) }()
	deadline := time.Now().Add(5 * time.Second)
	for s.in.stock.size() == 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if s.in.stock.size() != 1 {
		t.Error("Run does not fold the journal")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRing(t *testing.T) {
	r := newRing(2)
	for i := range 5 {
		r.add(protocol.EventID{byte(i)}, uint64(i))
	}
	if len(r.seqs) != 2 || r.seqs[protocol.EventID{4}] != 4 || r.seqs[protocol.EventID{3}] != 3 {
		t.Errorf("%+v", r)
	}
}
