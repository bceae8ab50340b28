package intake

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"tillwire/protocol"
)

func task(id string, created int64, sku string, units int64) protocol.HoldTask {
	return protocol.HoldTask{HoldID: id, State: protocol.ReservationPending, Fulfilment: "pickup", Channel: "web", CreatedUS: created, Lines: []protocol.HoldLine{{SKU: protocol.SKU(sku), Quantity: protocol.Units(units)}}}
}

func (s *shop) told(rev uint64, tasks ...protocol.HoldTask) {
	s.t.Helper()
	h := &protocol.Holds{V: 1, Rev: rev, Parts: 1, Tasks: tasks}
	for _, t := range tasks {
		h.Held = append(h.Held, t.Lines...)
	}
	if err := s.in.TakeHolds(h); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) states() string {
	s.t.Helper()
	var a struct{ Holds []Task }
	if err := json.NewDecoder(s.do(http.MethodGet, "/v1/holds", "", "").Body).Decode(&a); err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, t := range a.Holds {
		out = append(out, t.HoldID+" "+string(t.State))
	}
	return strings.Join(out, ", ")
}

func (s *shop) item(sku string) StockItem {
	s.t.Helper()
	return decode[StockItem](s.t, s.do(http.MethodGet, "/v1/stock/"+sku, "", "").Body)
}

func TestTasksAreAnsweredInOrderAndOnce(t *testing.T) {
	s := newShop(t)
	s.mustPost("/v1/receipts", `{"document_id":"r","occurred_at":"2026-11-23T08:00:00Z","lines":[{"sku":"X","quantity":9}]}`)
	s.told(5, task("r2", 20, "X", 1), task("r1", 10, "X", 2))
	if got := s.states(); got != "r1 pending, r2 pending" {
		t.Fatal(got)
	}
	if x := s.item("X"); x.Held != protocol.Units(3) || x.Available != protocol.Units(6) {
		t.Errorf("%+v", x)
	}
	for _, step := range []struct {
		path, body string
		status     int
	}{
		{"r1/picked", "", 409},
		{"r1/accept", "", 201},
		{"r1/accept", `{"register":"R1"}`, 200},
		{"r1/collected", "", 201},
		{"r1/collected", "", 200},
		{"r1/reject", "", 409},
		{"r2/reject", `{"reason":"broken"}`, 201},
		{"nobody/accept", "", 404},
		{"r2/accept", `{"who":1}`, 422},
	} {
		if a := s.do(http.MethodPost, "/v1/holds/"+step.path, "application/json", step.body); a.Code != step.status {
			t.Errorf("%s: %d %s", step.path, a.Code, a.Body)
		}
	}
	if got := s.states(); got != "" {
		t.Errorf("left: %s", got)
	}
	if x := s.item("X"); x.OnHand != protocol.Units(7) || x.Held != protocol.Units(1) {
		t.Errorf("handed out: %+v", x)
	}
	s.mustPost("/v1/sales", `{"document_id":"s","occurred_at":"2026-11-23T09:00:00Z","hold_id":"r1","lines":[{"sku":"X","quantity":2}]}`)
	if x := s.item("X"); x.OnHand != protocol.Units(7) {
		t.Errorf("the sale of what was collected counted again: %+v", x)
	}
	s.told(6) // and the aggregator has heard of it all
	if x := s.item("X"); x.Held != 0 || s.in.HoldsRev() != 6 {
		t.Errorf("%+v at %d", x, s.in.HoldsRev())
	}
}

func TestTornAndOldHoldsAreNotTaken(t *testing.T) {
	b := newBoard()
	part := func(rev uint64, n, of int, id string) bool {
		return b.take(&protocol.Holds{V: 1, Rev: rev, Part: n, Parts: of, Tasks: []protocol.HoldTask{task(id, 1, "X", 1)}})
	}
	if part(9, 0, 2, "a") || len(b.tasks) != 0 {
		t.Error("half was taken")
	}
	if !part(9, 1, 2, "b") || len(b.tasks) != 2 || b.rev != 9 {
		t.Errorf("the whole was not: %v", b.tasks)
	}
	if part(8, 0, 1, "old") || part(0, -1, 1, "x") || part(9, 3, 2, "x") || part(9, 0, 0, "x") {
		t.Error("an older or impossible part was taken")
	}
	if part(11, 0, 2, "c"); part(10, 1, 2, "d") || b.rev != 9 {
		t.Error("parts of two revisions were put together")
	}
}

// TestRegisterClocks: what a till posts after it was cut off is told with what its
// documents before have shown of its clock; a clock that is off is not lateness.
func TestRegisterClocks(t *testing.T) {
	const sec = int64(1_000_000)
	c := newRegisterClocks()
	now := int64(1_000_000) * sec
	say := func(event int64) (int64, int64) {
		now += 20 * sec
		return c.learn("R1", event, now)
	}
	for range 5 {
		if off, wrong := say(now + 20*sec - 90*sec); wrong != 0 && off != 90*sec { // 90 s behind, posted at once
			t.Fatalf("stamped %d ± %d", off, wrong)
		}
	}
	if off, wrong := say(now + 20*sec - 90*sec); off != 90*sec || wrong == 0 {
		t.Errorf("a clock 90 s behind: %d ± %d", off, wrong)
	}
	if off, wrong := say(now - 2*3600*sec - 90*sec); off != 90*sec || wrong == 0 {
		t.Errorf("two hours late, by that clock: %d ± %d", off, wrong)
	}
	if off, wrong := c.learn("R2", now-7200*sec, now); off != 0 || wrong != 0 {
		t.Errorf("a register that nobody knows was stamped: %d ± %d", off, wrong)
	}
	if off, wrong := c.learn("R3", now, now); off != 0 || wrong != 0 {
		t.Errorf("in time: %d ± %d", off, wrong)
	}
}

// TestTasksOutliveTheLedger: what a restored aggregator no longer knows is journaled
// before it is forgotten, as far as the shop has come with it; what the same ledger
// takes back is not.
func TestTasksOutliveTheLedger(t *testing.T) {
	s := newShop(t)
	tell := func(gen, rev uint64, tasks ...protocol.HoldTask) {
		t.Helper()
		if err := s.in.TakeHolds(&protocol.Holds{V: 1, Gen: gen, Rev: rev, Parts: 1, Tasks: tasks}); err != nil {
			t.Fatal(err)
		}
	}
	recalled := func() []protocol.HoldTask {
		t.Helper()
		var out []protocol.HoldTask
		recs, _, _, err := s.j.Read(1, 100, 1<<20, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			var e protocol.Event
			if _, err := protocol.DecodeRecord(r, &e); err != nil {
				t.Fatal(err)
			}
			if e.Action != protocol.HoldRecalled {
				continue
			}
			var x protocol.HoldTask
			if err := json.Unmarshal(e.Body, &x); err != nil || x.HoldID != e.HoldID || len(e.Lines) != 0 {
				t.Fatalf("%v: %+v", err, e)
			}
			out = append(out, x)
		}
		return out
	}
	tell(1, 5, task("kept", 10, "X", 1), task("open", 20, "X", 2), task("taken", 30, "X", 1), task("done", 40, "X", 1), task("back", 50, "X", 1))
	tell(1, 6, task("kept", 10, "X", 1), task("open", 20, "X", 2), task("taken", 30, "X", 1), task("done", 40, "X", 1))
	if got := recalled(); len(got) != 0 {
		t.Fatalf("the same ledger takes a task back, and it is recalled: %+v", got)
	}
	for _, path := range []string{"taken/accept", "taken/picked", "done/reject"} {
		if a := s.do(http.MethodPost, "/v1/holds/"+path, "application/json", ""); a.Code != 201 {
			t.Fatalf("%s: %d", path, a.Code)
		}
	}
	tell(2, 7, task("kept", 10, "X", 1))
	got := recalled()
	if len(got) != 2 || got[0].HoldID != "open" || got[0].State != protocol.ReservationPending || got[1].HoldID != "taken" || got[1].State != protocol.ReservationPicked {
		t.Errorf("recalled %+v", got)
	}
	if s.states() != "kept pending" {
		t.Errorf("the shop has %s", s.states())
	}
	tell(2, 8)
	tell(3, 9, task("kept", 10, "X", 1))
	if n := len(recalled()); n != 2 {
		t.Errorf("%d recalled, want no more", n)
	}
}
