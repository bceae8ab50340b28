package journal

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// sale is a small basket named doc.
func sale(doc string) *protocol.Event {
	return &protocol.Event{
		ID: protocol.MakeEventID("S0042", protocol.KindSale, doc), Kind: protocol.KindSale, Store: "S0042",
		DocumentID: doc, Register: "R03", EventTime: protocol.Stamp{US: 1_795_000_000_000_000, OffsetMin: 60},
		BusinessDate: "2026-11-23",
		Lines: []protocol.Line{
			{Line: 1, SKU: "04006381333931", Quantity: protocol.Units(2), UOM: "EA"},
			{Line: 2, SKU: "2100045", Quantity: 455, UOM: "KGM"},
		},
	}
}

func testOptions(t testing.TB) Options {
	t.Helper()
	return Options{
		Path: filepath.Join(t.TempDir(), "journal.db"), Log: zerolog.Nop(), BallastBytes: -1,
		DiskFree: func() (uint64, uint64, error) { return 80, 100, nil },
	}
}

func open(t testing.TB, o Options) *Journal {
	t.Helper()
	j, err := Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return j
}

func mustAppend(t testing.TB, j *Journal, e *protocol.Event) Receipt {
	t.Helper()
	r, err := j.Append(context.Background(), e)
	if err != nil {
		t.Fatalf("append %s: %v", e.DocumentID, err)
	}
	return r
}

func TestAppendReadReopen(t *testing.T) {
	o := testOptions(t)
	o.SegmentEvents = 700
	j := open(t, o)
	const n = 3000
	events := make([]*protocol.Event, n)
	for i := range events {
		events[i] = sale(fmt.Sprintf("D%05d", i))
	}
	start := time.Now()
	for i := 0; i < n; i += 100 {
		_, errs := j.AppendAll(context.Background(), events[i:i+100])
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d events in %v", n, time.Since(start))
	if r := mustAppend(t, j, events[17]); r.Seq != 18 || !r.Duplicate {
		t.Fatalf("duplicate: %+v", r)
	}
	before := j.State()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	o.VerifyAll = true
	j = open(t, o)
	after := j.State()
	if after.Head != n || after.ChainHead != before.ChainHead || after.InstallID != before.InstallID || after.BootReason != "reopened" {
		t.Fatalf("after reopen: %+v\nbefore: %+v", after, before)
	}
	for _, i := range []int{0, 17, 699, 700, 2999} {
		if r := mustAppend(t, j, events[i]); r.Seq != uint64(i+1) || !r.Duplicate || r.RecordUS == 0 {
			t.Fatalf("duplicate of %d after reopen: %+v", i, r)
		}
	}
	chain := protocol.Chain{}
	count := uint64(0)
	err := j.Scan(1, func(seq uint64, us int64, rec []byte) error {
		count++
		chain = chain.Next(rec)
		var e protocol.Event
		if _, err := protocol.DecodeRecord(rec, &e); err != nil {
			return err
		}
		if seq != count || e.ID != events[seq-1].ID {
			return fmt.Errorf("seq %d, count %d, document %s", seq, count, e.DocumentID)
		}
		return nil
	})
	if err != nil || count != n || chain != after.ChainHead {
		t.Fatalf("scan: %d records, %v", count, err)
	}
}
