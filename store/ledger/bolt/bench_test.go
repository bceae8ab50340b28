package bolt

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

const benchJournals = 400

// benchSource makes batches of sales of three lines, about 250 bytes each, in
// frames of perFrame events of one journal, as they come from the link.
type benchSource struct {
	pos   ledger.Position
	marks [benchJournals]ledger.Mark
	prev  [20_000]ledger.Position
	next  int
	seq   uint64
}

func newBenchSource() *benchSource {
	s := &benchSource{}
	for i := range s.marks {
		s.marks[i].Origin = protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%04d", i+1)), Agent: "server"}
		s.marks[i].InstallID, s.marks[i].BootID = "7f3c9a4e-install", "b1946ac92492d234"
	}
	return s
}

func (s *benchSource) journals() []ledger.Journal {
	var out []ledger.Journal
	for i := range s.marks {
		out = append(out, ledger.Journal{ID: ledger.OriginID(i + 1), Origin: s.marks[i].Origin})
	}
	return out
}

func (s *benchSource) event(store protocol.StoreID) []byte {
	s.seq++
	e := protocol.Event{
		Kind: protocol.KindSale, Store: store, Register: "R03", BusinessDate: "2026-11-23",
		DocumentID:  fmt.Sprintf("%s-R03-%09d", store, s.seq),
		EventTime:   protocol.Stamp{US: 1_790_000_000_000_000 + int64(s.seq)*1000, OffsetMin: 60},
		Traceparent: fmt.Sprintf("00-%032x-%016x-01", s.seq*0x9e3779b97f4a7c15, s.seq),
	}
	for i := range 3 {
		e.Lines = append(e.Lines, protocol.Line{
			Line: i + 1, SKU: protocol.SKU(fmt.Sprintf("%014d", 4006381000000+(s.seq*7+uint64(i)*13)%20_000)),
			Quantity: protocol.Units(1), UOM: "EA",
		})
	}
	e.ID = protocol.MakeEventID(store, e.Kind, e.DocumentID)
	return protocol.AppendRecord(nil, e.EventTime.US, &e)
}

func (s *benchSource) batch(n, perFrame int) *ledger.Batch {
	b := &ledger.Batch{}
	touched := map[int]bool{}
	for i := range n {
		if i > 0 && i%perFrame == 0 {
			s.next = (s.next + 1) % benchJournals
		}
		m := &s.marks[s.next]
		if !touched[s.next] {
			touched[s.next] = true
			m.WasEpoch, m.WasLease, m.WasSeq = m.Epoch, m.Lease, m.Seq
			m.Epoch, m.Lease = 1, 7
		}
		s.pos++
		m.Seq++
		rec := s.event(m.Origin.Store)
		e := ledger.Entry{
			Position: s.pos, Origin: ledger.OriginID(s.next + 1), Epoch: 1, Seq: m.Seq, MergedUS: 1_790_000_100_000_000,
			Record: rec, Content: [8]byte(rec[20:28]),
		}
		e.EventID, _ = recordID(rec)
		for j := range 3 {
			c := (int(s.seq)*7 + j*13) % len(s.prev)
			e.Links = append(e.Links, ledger.Link{Cell: ledger.CellID(c + 1), Prev: s.prev[c]})
			s.prev[c] = s.pos
		}
		m.RecordUS, m.MergedUS, m.HeadSeen, m.SafeSeq = e.MergedUS, e.MergedUS, m.Seq, m.Seq
		copy(m.Chain[:], rec[5:21])
		b.Entries = append(b.Entries, e)
	}
	s.next = (s.next + 1) % benchJournals
	for i := range touched {
		b.Marks = append(b.Marks, s.marks[i])
	}
	return b
}

type benchCase struct{ n, perFrame int }

var benchCases = []benchCase{{500, 100}, {500, 2}, {4000, 200}, {4000, 10}}

func (c benchCase) String() string {
	return fmt.Sprintf("batch=%d/journals=%d", c.n, min(c.n/c.perFrame, benchJournals))
}

// benchPool is how many batches are made at once, outside of the clock.
const benchPool = 20

func BenchmarkCommit(b *testing.B) {
	for _, c := range benchCases {
		b.Run(c.String(), func(b *testing.B) {
			l, err := Open(Options{Path: filepath.Join(b.TempDir(), "ledger.db")})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			s := newBenchSource()
			if err := l.Commit(context.Background(), &ledger.Batch{Journals: s.journals()}); err != nil {
				b.Fatal(err)
			}
			var pool []*ledger.Batch
			b.ReportAllocs()
			for b.Loop() {
				if len(pool) == 0 {
					b.StopTimer()
					for range benchPool {
						pool = append(pool, s.batch(c.n, c.perFrame))
					}
					b.StartTimer()
				}
				if err := l.Commit(context.Background(), pool[0]); err != nil {
					b.Fatal(err)
				}
				pool = pool[1:]
			}
			b.ReportMetric(float64(b.N*c.n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkBareBolt puts the same values under the same keys into one bucket
// of a bare bbolt: no marks, no index, no checksum.
func BenchmarkBareBolt(b *testing.B) {
	for _, c := range benchCases {
		b.Run(c.String(), func(b *testing.B) {
			db := openBare(b)
			s := newBenchSource()
			var pool [][]bareRow
			b.ReportAllocs()
			for b.Loop() {
				if len(pool) == 0 {
					b.StopTimer()
					for range benchPool {
						pool = append(pool, bareRows(s.batch(c.n, c.perFrame)))
					}
					b.StartTimer()
				}
				if err := putBare(db, pool[0]); err != nil {
					b.Fatal(err)
				}
				pool = pool[1:]
			}
			b.ReportMetric(float64(b.N*c.n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkCommitBesideBare commits in turns to a ledger and to a bare bbolt,
// so that both see the same noise. bare_events/s has a key for each event;
// ratio_p50_blocks is to a bare bbolt that writes our blocks instead, and so
// tells what marks, index and checksums cost on top.
func BenchmarkCommitBesideBare(b *testing.B) {
	for _, c := range benchCases {
		b.Run(c.String(), func(b *testing.B) { besideBare(b, c) })
	}
}

func besideBare(b *testing.B, c benchCase) {
	l, err := Open(Options{Path: filepath.Join(b.TempDir(), "ledger.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	bare := openBare(b)
	s := newBenchSource()
	if err := l.Commit(context.Background(), &ledger.Batch{Journals: s.journals()}); err != nil {
		b.Fatal(err)
	}
	blocks := openBare(b)
	var ours, theirs, inBlocks []time.Duration
	for b.Loop() {
		batch := s.batch(c.n, c.perFrame)
		rows, blockRows := bareRows(batch), bareBlocks(batch)
		start := time.Now()
		if err := l.Commit(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		mid := time.Now()
		if err := putBare(bare, rows); err != nil {
			b.Fatal(err)
		}
		end := time.Now()
		if err := putBare(blocks, blockRows); err != nil {
			b.Fatal(err)
		}
		ours, theirs, inBlocks = append(ours, mid.Sub(start)), append(theirs, end.Sub(mid)), append(inBlocks, time.Since(end))
	}
	var sumOurs, sumTheirs time.Duration
	for i := range ours {
		sumOurs, sumTheirs = sumOurs+ours[i], sumTheirs+theirs[i]
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	slices.Sort(inBlocks)
	perS := func(d time.Duration) float64 { return float64(c.n) / d.Seconds() }
	mo, mt := ours[len(ours)/2], theirs[len(theirs)/2]
	b.ReportMetric(perS(mo), "events/s")
	b.ReportMetric(perS(mt), "bare_events/s")
	b.ReportMetric(float64(mt)/float64(mo), "ratio_p50")
	b.ReportMetric(float64(inBlocks[len(inBlocks)/2])/float64(mo), "ratio_p50_blocks")
	b.ReportMetric(float64(sumTheirs)/float64(sumOurs), "ratio_mean")
	b.ReportMetric(float64(ours[len(ours)-1].Microseconds())/1000, "pause_ms_max")
}

type bareRow struct{ k, v []byte }

func bareRows(batch *ledger.Batch) []bareRow {
	rows := make([]bareRow, len(batch.Entries))
	for i := range batch.Entries {
		k := key64(uint64(batch.Entries[i].Position))
		rows[i] = bareRow{k[:], appendEntry(nil, k[:], &batch.Entries[i])}
	}
	return rows
}

// bareBlocks are the same entries in blocks, as the ledger cuts them.
func bareBlocks(batch *ledger.Batch) []bareRow {
	var rows []bareRow
	for i := range batch.Entries {
		if n := len(rows); n == 0 || len(rows[n-1].v) >= blockBytes {
			k := key64(uint64(batch.Entries[i].Position))
			rows = append(rows, bareRow{k: k[:]})
		}
		last := &rows[len(rows)-1]
		last.v = appendFramed(last.v, &batch.Entries[i])
	}
	return rows
}

func openBare(b *testing.B) *bbolt.DB {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return db
}

func putBare(db *bbolt.DB, rows []bareRow) error {
	return db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("log"))
		if err != nil {
			return err
		}
		bucket.FillPercent = fillAppend
		for _, r := range rows {
			if err := bucket.Put(r.k, r.v); err != nil {
				return err
			}
		}
		return nil
	})
}

// benchLedger holds a million entries; it is made once for all benchmarks.
func benchLedger(b *testing.B, n int) (*Ledger, string) {
	path := filepath.Join(b.TempDir(), "ledger.db")
	l := mustOpen(b, Options{Path: path})
	s := newBenchSource()
	if err := l.Commit(context.Background(), &ledger.Batch{Journals: s.journals()}); err != nil {
		b.Fatal(err)
	}
	for s.pos < ledger.Position(n) {
		if err := l.Commit(context.Background(), s.batch(4000, 200)); err != nil {
			b.Fatal(err)
		}
	}
	return l, path
}

// BenchmarkRead measures reads of a ledger of a million entries: a scan, single
// entries, lookups of known and unknown ids, and opening it after a crash.
func BenchmarkRead(b *testing.B) {
	const n = 1_000_000
	l, path := benchLedger(b, n)
	b.Run("Scan", func(b *testing.B) {
		b.ReportAllocs()
		count := 0
		for b.Loop() {
			if err := l.Scan(1, func(*ledger.Entry) error { count++; return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "entries/s")
	})
	var ids []protocol.EventID
	b.Run("Read", func(b *testing.B) {
		p := uint64(0)
		for b.Loop() {
			p = (p + 0x9e3779b97f4a7c15) % n
			e, err := l.Read(ledger.Position(p + 1))
			if err != nil {
				b.Fatal(err)
			}
			if len(ids) < 10_000 {
				ids = append(ids, e.EventID)
			}
		}
	})
	b.Run("FindKnown", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, _, ok, err := l.Find(ids[i%len(ids)]); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("FindUnknown", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, _, ok, err := l.Find(numbered(ledger.Position(i)).EventID); ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("OpenAfterCrash", func(b *testing.B) {
		crashed := copyFile(b, path)
		for b.Loop() {
			l, err := Open(Options{Path: crashed, ReadOnly: false})
			if err != nil {
				b.Fatal(err)
			}
			_ = l.db.Close() // without the free list, as a crash
		}
	})
	b.Run("OpenAfterClose", func(b *testing.B) {
		closed := copyFile(b, path)
		for b.Loop() {
			l, err := Open(Options{Path: closed})
			if err != nil {
				b.Fatal(err)
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkUpkeep measures the pauses that the id index puts before a commit.
func BenchmarkUpkeep(b *testing.B) {
	l := mustOpen(b, Options{Path: filepath.Join(b.TempDir(), "ledger.db")})
	var seals, steps []time.Duration
	for b.Loop() {
		batch := &ledger.Batch{}
		for i := range 4000 {
			batch.Entries = append(batch.Entries, numbered(l.Head()+1+ledger.Position(i)))
		}
		full, merging := l.hot.len() >= l.opts.IDsHot, len(l.keep.merges) > 0
		start := time.Now()
		if err := l.upkeep(len(batch.Entries)); err != nil {
			b.Fatal(err)
		}
		switch d := time.Since(start); {
		case full:
			seals = append(seals, d)
		case merging:
			steps = append(steps, d)
		}
		if err := l.Commit(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	for name, d := range map[string][]time.Duration{"seal": seals, "merge": steps} {
		if slices.Sort(d); len(d) > 0 {
			b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, name+"_ms_p50")
			b.ReportMetric(float64(d[len(d)-1].Microseconds())/1000, name+"_ms_max")
		}
	}
}
