package bolt

import (
	"context"
	"path/filepath"
	"testing"

	"tillwire/store/ledger"
)

func TestSmoke(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l.db")
	open := func(ro bool) *Ledger {
		l, err := Open(Options{Path: path, IDsHot: 2000, ReadOnly: ro})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open(false)
	s := newBenchSource()
	if err := l.Commit(context.Background(), &ledger.Batch{Journals: s.journals()}); err != nil {
		t.Fatal(err)
	}
	var all []ledger.Entry
	check := func() {
		for _, e := range all {
			p, c, ok, err := l.Find(e.EventID)
			if err != nil || !ok || p != e.Position || c != e.Content {
				t.Fatal(e.Position, p, c, ok, err)
			}
		}
		n := 0
		if err := l.Scan(0, func(e *ledger.Entry) error {
			if e.EventID != all[n].EventID || string(e.Record) != string(all[n].Record) || len(e.Links) != 3 || e.Links[2] != all[n].Links[2] {
				t.Fatal(e)
			}
			n++
			return nil
		}); err != nil || n != len(all) {
			t.Fatal(err, n)
		}
	}
	for range 60 {
		b := s.batch(500, 100)
		all = append(all, b.Entries...)
		if err := l.Commit(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	check()
	t.Logf("runs %d dead %v stats %+v", len(l.runs), l.keep.dead, l.Stats())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(true)
	check()
	_ = l.Close()
	l = open(false)
	check()
	_ = l.Close()
}
