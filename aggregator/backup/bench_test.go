package backup

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// benchLedger holds a million events of about 250 bytes, as stores send them.
func benchLedger(b *testing.B, entries int) *bolt.Ledger {
	b.Helper()
	l, err := bolt.Open(bolt.Options{Path: filepath.Join(b.TempDir(), "ledger.db"), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	if err := l.Commit(context.Background(), &ledger.Batch{Journals: []ledger.Journal{{ID: 1, Origin: shop}}}); err != nil {
		b.Fatal(err)
	}
	grow(b, l, entries)
	return l
}

func grow(b *testing.B, l *bolt.Ledger, entries int) {
	b.Helper()
	for entries > 0 {
		batch, head := &ledger.Batch{}, uint64(l.Head())
		was := head
		for range min(entries, 10_000) {
			head++
			e := protocol.Event{
				Kind: protocol.KindSale, Store: "S1", DocumentID: "S1-R03-" + time.Unix(int64(head), 0).UTC().Format("20060102150405"), Register: "R03", BusinessDate: "2026-11-23",
				EventTime: protocol.Stamp{US: 1_790_000_000_000_000 + int64(head)*1_000_003}, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			}
			for n := range 3 {
				e.Lines = append(e.Lines, protocol.Line{Line: n + 1, SKU: protocol.SKU(time.Unix(int64(head*7+uint64(n))%20_000, 0).UTC().Format("20060102150405")), Quantity: protocol.Units(1), UOM: "EA"})
			}
			e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
			rec := protocol.AppendRecord(nil, e.EventTime.US, &e)
			batch.Entries = append(batch.Entries, ledger.Entry{Position: ledger.Position(head), Origin: 1, Epoch: 1, Seq: head, MergedUS: int64(head), EventID: e.ID, Content: e.ContentHash(), Record: rec})
		}
		entries -= len(batch.Entries)
		m := ledger.Mark{Origin: shop, Epoch: 1, Lease: 1, Seq: head, WasSeq: was}
		if was > 0 {
			m.WasEpoch, m.WasLease = 1, 1
		}
		batch.Marks = []ledger.Mark{m}
		if err := l.Commit(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

func benchSource(b *testing.B, l *bolt.Ledger) *Source {
	return &Source{
		Ledger: l, ID: "bench", Generation: func() uint64 { return 1 }, Spool: b.TempDir(), Now: time.Now, Log: zerolog.Nop(),
		Freeze: func(_ context.Context, fn func(string) error) error { return fn("digest") },
	}
}

// BenchmarkFirst copies a million events and reads the copy back.
func BenchmarkFirst(b *testing.B) {
	l := benchLedger(b, 1_000_000)
	var m *Manifest
	for b.Loop() {
		var err error
		if m, _, err = Make(context.Background(), benchSource(b, l), b.TempDir(), "", false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(m.Head)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(m.Bytes())/1e6, "MB")
	b.ReportMetric(float64(l.Stats().Bytes)/1e6, "ledger-MB")
}

// BenchmarkNext makes a copy after 10,000 more events.
func BenchmarkNext(b *testing.B) {
	l, to := benchLedger(b, 1_000_000), b.TempDir()
	for first := true; b.Loop(); first = false {
		b.StopTimer()
		if first {
			if _, _, err := Make(context.Background(), benchSource(b, l), to, "", false); err != nil {
				b.Fatal(err)
			}
		}
		grow(b, l, 10_000)
		b.StartTimer()
		if _, _, err := Make(context.Background(), benchSource(b, l), to, "", false); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRebuild makes the ledger of a copy of a million events.
func BenchmarkRebuild(b *testing.B) {
	l := benchLedger(b, 1_000_000)
	m, f, err := Make(context.Background(), benchSource(b, l), b.TempDir(), "", false)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "ledger.db")
		if err := f.Rebuild(context.Background(), m, path); err != nil {
			b.Fatal(err)
		}
		c, err := bolt.Open(bolt.Options{Path: path, Log: zerolog.Nop()}) // its index of ids is made here
		if err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
	b.ReportMetric(float64(m.Head)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
