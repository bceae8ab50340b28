package outcomes

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

var start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).UnixMicro() // a Monday

func report(t interface{ Fatal(...any) }, b *Book, f protocol.OutcomesFilter) protocol.Outcomes {
	out, err := b.Report(&f)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCounts(t *testing.T) {
	b, one, two := New(), [16]byte{1}, [16]byte{2}
	b.Counted(start, 1, one, "S1", 0, 5000, true)       // an opening
	b.Counted(start, 2, one, "S1", 5000, 5000, false)   // agrees
	b.Counted(start, 3, one, "S1", 5000, 2000, false)   // 3 are missing …
	b.Counted(start+1, 3, one, "S1", 2000, 4000, false) // … of which the second zone has 2
	b.Counted(start, 4, one, "S1", 0, 0, false)         // a full count's zero of what had nothing
	b.Counted(start, 5, one, "S2", 1000, 3000, false)
	got := report(t, b, protocol.OutcomesFilter{Group: []string{"store"}})
	want := []protocol.Discrepancy{
		{Lines: 2, Differing: 1, Rate: rate(1, 2), Unexplained: 1000, Opened: 1},
		{Lines: 1, Differing: 1, Rate: rate(1, 1), Unexplained: 2000},
	}
	for n := range want {
		if d := cmp.Diff(want[n], got.Rows[n].Discrepancy); d != "" {
			t.Errorf("%s (-want +got):\n%s", got.Rows[n].Store, d)
		}
	}
	b.Late(start+dayUS, 3, one, -1000)  // a till's sale that the count had seen: nothing is missing
	b.Late(start+dayUS, 5, two, -1000)  // of another count
	b.Late(start+8*dayUS, 5, one, 2000) // too late
	d := report(t, b, protocol.OutcomesFilter{}).Total.Discrepancy
	if d.Lines != 3 || d.Differing != 1 || d.Unexplained != 2000 {
		t.Errorf("after late movements: %+v", d)
	}
	if len(b.counted) != 0 || len(b.order) != 0 {
		t.Errorf("%d lines are still to be corrected after 8 days", len(b.counted))
	}
}

func TestFilters(t *testing.T) {
	b := New()
	b.Add(start, "S1", "web", Kept)
	b.Add(start, "S1", "web", Rejected)
	b.Add(start+weekUS, "S1", "app", Moved)
	b.Add(start+weekUS, "S2", "", BelowZero)
	b.Synced(start+5e6, start, "S2")
	b.Synced(start, start+5e6, "S2") // a clock that runs ahead
	total := report(t, b, protocol.OutcomesFilter{}).Total
	if f := total.Fulfilment; *f.Accuracy != 1.0/3 || total.Oversells.Total != 2 || total.SyncWindow.Documents != 2 {
		t.Errorf("total %+v", total)
	}
	weeks := report(t, b, protocol.OutcomesFilter{Group: []string{"week"}}).Rows
	if len(weeks) != 2 || weeks[0].Week != "2026-11-23" || weeks[1].Week != "2026-11-30" {
		t.Errorf("weeks %+v", weeks)
	}
	web := report(t, b, protocol.OutcomesFilter{Channel: "web", Group: []string{"channel", "store"}})
	if len(web.Rows) != 1 || web.Rows[0].Channel != "web" || web.Rows[0].Store != "S1" || *web.Total.Fulfilment.Accuracy != 0.5 {
		t.Errorf("of web %+v", web)
	}
	for name, x := range map[string]struct {
		f    protocol.OutcomesFilter
		want int64
	}{
		"from within the second week": {protocol.OutcomesFilter{From: time.UnixMicro(start + weekUS + 1)}, 2},
		"to its first moment":         {protocol.OutcomesFilter{To: time.UnixMicro(start).Add(-10 * time.Hour).Add(7 * 24 * time.Hour)}, 0},
		"another store":               {protocol.OutcomesFilter{Store: "S2"}, 1},
	} {
		if got := report(t, b, x.f).Total.Oversells.Total; got != x.want {
			t.Errorf("%s: %d oversells, want %d", name, got, x.want)
		}
	}
}

func TestWindow(t *testing.T) {
	for _, ms := range []int64{0, 1, 2, 3, 4, 5, 7, 8, 1000, 86_400_000} {
		if from, to := bounds(bucketOf(ms)); ms < from || ms >= to {
			t.Errorf("%d ms stands in the bucket of %d to %d", ms, from, to)
		}
	}
	var w window
	for n := range int64(1000) {
		w.add(n * 1000)
	}
	if p := w.quantile(0.5); p < 450 || p > 550 {
		t.Errorf("median of 0 to 999 ms is %d", p)
	}
	w.add(1 << 60)
	if w.most() < 18*86_400_000 {
		t.Errorf("the slowest is %d ms", w.most())
	}
}

// Old weeks go, and one that comes for a week that has gone is dropped.
func TestWeeksAreBounded(t *testing.T) {
	b := New()
	for n := range int64(100) {
		b.Add(start+n*weekUS, "S1", "", BelowZero)
	}
	b.Add(start, "S1", "", BelowZero)
	if got := report(t, b, protocol.OutcomesFilter{}).Total.Oversells.Total; got != weeksKept || len(b.weeks) != weeksKept {
		t.Errorf("%d kept in %d weeks", got, len(b.weeks))
	}
	for n := range weekRowsMax + 10 {
		b.Add(start+100*weekUS, protocol.StoreID(fmt.Sprint("x", n)), "", Kept)
	}
	if len(b.newest.rows) != weekRowsMax+1 || b.newest.rows[name{}].n[Kept] != 10 || b.dropped != 10 {
		t.Errorf("%d rows in one week, %d dropped", len(b.newest.rows), b.dropped)
	}
}

// step is one thing that a book is told.
type step func(b *Book)

func draw(t *rapid.T, us *int64) step {
	*us += rapid.Int64Range(0, 3).Draw(t, "days") * dayUS
	at := *us // the merge's times never fall
	store := protocol.StoreID(rapid.SampledFrom([]string{"S1", "S2", "Ü"}).Draw(t, "store"))
	cell := rapid.Uint32Range(1, 6).Draw(t, "cell")
	session := [16]byte{rapid.Byte().Draw(t, "session") % 3}
	qty := rapid.Int64Range(-3, 3).Draw(t, "quantity") * 1000
	switch rapid.IntRange(0, 3).Draw(t, "what") {
	case 0:
		return func(b *Book) { b.Counted(at, cell, session, store, qty, 1000, qty == 2000) }
	case 1:
		return func(b *Book) { b.Late(at, cell, session, qty) }
	case 2:
		return func(b *Book) { b.Synced(at, at-qty*1000, store) }
	}
	m := Measure(rapid.IntRange(int(BelowZero), int(measures)-1).Draw(t, "measure"))
	return func(b *Book) { b.Add(at, store, "web", m) }
}

// A book that is read back from its checkpoints, whenever they were taken, goes on
// as the one that was never away.
func TestCheckpoints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live, kept, us := New(), map[uint32][]byte{}, start
		save := func() {
			_ = live.Chunks(func(no uint32, data []byte) { kept[no] = append([]byte(nil), data...) })
		}
		again := live
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			s := draw(t, &us)
			s(live)
			if again != live {
				s(again)
			}
			if rapid.IntRange(0, 9).Draw(t, "save") == 0 {
				save()
				again = New()
				for no, data := range kept {
					if err := again.Restore(no, data); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		all := protocol.OutcomesFilter{Group: []string{"week", "store", "channel"}}
		if d := cmp.Diff(report(t, live, all), report(t, again, all)); d != "" {
			t.Fatalf("(-live +restored):\n%s", d)
		}
		if d := cmp.Diff(everything(live), everything(again)); d != "" {
			t.Fatalf("chunks (-live +restored):\n%s", d)
		}
	})
}

// everything is a book's whole state.
func everything(b *Book) map[uint32]string {
	for _, w := range b.weeks {
		w.dirty = true
	}
	for cell := range b.counted {
		b.slots[cell%countedSlots] = true
	}
	b.dirtyBook = true
	out := map[uint32]string{}
	_ = b.Chunks(func(no uint32, data []byte) { out[no] = string(data) })
	maps.DeleteFunc(out, func(no uint32, s string) bool { return no != bookChunk && len(s) == 1 })
	return out
}

// A chunk that no book has written is refused, and never panics.
func FuzzRestore(f *testing.F) {
	b := New()
	b.Counted(start, 7, [16]byte{1}, "S1", 1, 2, false)
	b.Synced(start, start-5e6, "S1")
	b.Add(start, "S1", "web", Kept)
	_ = b.Chunks(func(no uint32, data []byte) { f.Add(no, data) })
	f.Fuzz(func(t *testing.T, no uint32, data []byte) {
		b := New()
		if b.Restore(no, data) != nil {
			return
		}
		for again, data := range everything(b) {
			if err := New().Restore(again, []byte(data)); err != nil {
				t.Errorf("chunk %d was read, and %d of what was read is not: %v", no, again, err)
			}
		}
	})
}
