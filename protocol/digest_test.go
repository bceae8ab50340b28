package protocol

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// stretch is a journal's records from seq 1.
type stretch []*Event

const stretchBaseUS = 1_790_000_000_000_000

func (s stretch) recordUS(seq uint64) int64 { return stretchBaseUS + int64(seq)*1_000_000 }

// digest does what an agent does.
func (s stretch) digest(after, asOf uint64) *Digest {
	d := &Digest{Epoch: 3, Lease: 4, After: after, AsOf: asOf, AsOfUS: s.recordUS(asOf), Parts: 1}
	p, f := NewDigestPlan(), NewDigestFold(d)
	for seq := after + 1; seq <= asOf; seq++ {
		p.See(s[seq-1], seq)
		f.Add(s[seq-1], seq, s.recordUS(seq))
	}
	from, cancelled := p.Fill(d)
	if len(d.Rows) > 0 {
		f = NewDigestFold(d)
		for seq := from; seq <= asOf; seq++ {
			f.Add(s[seq-1], seq, s.recordUS(seq))
		}
	} else {
		for _, seq := range cancelled {
			f.Remove(s[seq-1])
		}
	}
	d.Rows = f.Rows()
	return d
}

func drawStretch(t *rapid.T) stretch {
	var s stretch
	n := rapid.IntRange(1, 40).Draw(t, "records")
	for i := range n {
		seq := uint64(i + 1)
		e := &Event{Store: "S1", DocumentID: fmt.Sprint("d", i), EventTime: Stamp{US: s.recordUS(seq) - 1000}}
		e.Kind = rapid.SampledFrom([]Kind{KindSale, KindSale, KindSale, KindReturn, KindReceipt, KindCount, KindVoid, KindHold, KindClock}).Draw(t, "kind")
		switch e.Kind { //nolint:exhaustive // the others have lines only
		case KindVoid:
			e.Voids, e.VoidsKind = fmt.Sprint("d", rapid.IntRange(0, n).Draw(t, "of")), KindSale
		case KindHold:
			e.HoldID, e.Action = fmt.Sprint("h", i), HoldCollected
			e.DocumentID = HoldDocumentID(e.HoldID, e.Action)
		case KindSale:
			if rapid.IntRange(0, 4).Draw(t, "collects") == 0 {
				e.HoldID = fmt.Sprint("h", rapid.IntRange(0, n).Draw(t, "hold"))
			}
		case KindCount:
			e.Scope = rapid.SampledFrom([]Scope{ScopeSKU, ScopeSKU, ScopeZone}).Draw(t, "scope")
		}
		for k := range rapid.IntRange(0, 3).Draw(t, "lines") {
			l := Line{Line: k + 1, SKU: SKU(rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "sku")), Quantity: Quantity(rapid.IntRange(0, 9000).Draw(t, "q"))}
			if e.Kind == KindCount {
				l.Cut = uint64(rapid.IntRange(max(0, i-5), i).Draw(t, "cut"))
				l.CountedAt = Stamp{US: s.recordUS(l.Cut) + 1}
			}
			e.Lines = append(e.Lines, l)
		}
		if rapid.IntRange(0, 9).Draw(t, "late") == 0 {
			e.EventTime.US -= 10 * LateToleranceUS
		}
		e.ID = MakeEventID(e.Store, e.Kind, e.DocumentID)
		s = append(s, e)
	}
	return s
}

// What the reader of the frames sums up is, at the end of the stretch, what was
// announced; and nothing less or other is.
func TestDigestIsWhatTheStretchComesTo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStretch(t)
		after := uint64(rapid.IntRange(0, len(s)-1).Draw(t, "after"))
		d := s.digest(after, uint64(len(s)))
		f := NewDigestFold(d)
		for seq := after + 1; seq <= d.AsOf; seq++ {
			if seq > after+1 {
				f.Row("A", "") // asked midway, as the overlay does
			}
			f.Add(s[seq-1], seq, s.recordUS(seq))
		}
		if diff, same := f.Same(d.Rows); !same {
			t.Fatal(diff)
		}
		if len(d.Rows) > 0 {
			bent := append([]DigestRow(nil), d.Rows...)
			k := rapid.IntRange(0, len(bent)-1).Draw(t, "bent")
			bent[k].Net++
			if _, same := f.Same(bent); same {
				t.Fatal("a row that is one off passes")
			}
			if _, same := f.Same(d.Rows[1:]); same {
				t.Fatal("a row that was not announced passes")
			}
			if _, same := f.Same(append(append([]DigestRow(nil), d.Rows...), DigestRow{SKU: "Z", Net: 1})); same {
				t.Fatal("a row that did not come passes")
			}
		}
	})
}

// A digest's net is the plain sum of movements that nobody took back.
func TestDigestOfPlainCases(t *testing.T) {
	sale := func(id, sku string, q int64) *Event {
		e := &Event{Store: "S1", Kind: KindSale, DocumentID: id, Lines: []Line{{SKU: SKU(sku), Quantity: Units(q)}}}
		e.ID = MakeEventID(e.Store, e.Kind, id)
		return e
	}
	of := func(e *Event, change func(*Event)) *Event {
		change(e)
		e.ID = MakeEventID(e.Store, e.Kind, e.DocumentID)
		return e
	}
	count := func(q int64, cut uint64, sku string) *Event {
		return of(sale("c", sku, q), func(e *Event) {
			e.Kind, e.Scope, e.Lines[0].Cut, e.Lines[0].CountedAt = KindCount, ScopeSKU, cut, Stamp{US: stretchBaseUS + int64(cut)*1_000_000 + 1}
		})
	}
	void := func(id string) *Event {
		return of(&Event{Store: "S1", DocumentID: "v" + id}, func(e *Event) { e.Kind, e.Voids, e.VoidsKind = KindVoid, id, KindSale })
	}
	for name, c := range map[string]struct {
		s     stretch
		after uint64
		open  uint64
		want  []DigestRow
	}{
		"sales add up":                    {stretch{sale("1", "A", 1), sale("2", "A", 2), sale("3", "B", 1)}, 1, 0, []DigestRow{{SKU: "A", Net: Units(-2)}, {SKU: "B", Net: Units(-1)}}},
		"a void within takes its sale":    {stretch{sale("1", "A", 1), void("1"), sale("2", "A", 5)}, 0, 0, []DigestRow{{SKU: "A", Net: Units(-5)}}},
		"a void may come before its sale": {stretch{void("1"), sale("1", "A", 1)}, 0, 0, nil},
		"a void of what came before":      {stretch{sale("1", "A", 1), void("1")}, 1, 1, nil},
		"a count within": {stretch{sale("1", "A", 1), sale("2", "A", 2), count(10, 1, "A"), sale("3", "A", 4)}, 0, 0, []DigestRow{{
			SKU: "A", Net: Units(-7), Count: &DigestCount{Seq: 3, Cut: 1, CountedUS: stretchBaseUS + 1_000_001, Quantity: Units(10), Since: Units(-6)},
		}}},
		"a count that reaches back before": {stretch{sale("1", "A", 1), sale("2", "A", 2), count(10, 1, "A")}, 2, 0, []DigestRow{{
			SKU: "A", Count: &DigestCount{Seq: 3, Cut: 1, CountedUS: stretchBaseUS + 1_000_001, Quantity: Units(10), Before: Units(-2)},
		}}},
		"two shelves of one session are more than a row can tell": {stretch{of(count(3, 0, "A"), func(e *Event) { e.Session, e.DocumentID = "s", "c1" }), of(count(4, 0, "A"), func(e *Event) { e.Session, e.DocumentID = "s", "c2" })}, 0, 1, nil},
		"a return without receipt cannot be sold":                 {stretch{of(sale("r", "A", 1), func(e *Event) { e.Kind = KindReturn })}, 0, 0, []DigestRow{{SKU: "A", Net: Units(1), Unavailable: Units(1)}}},
		"units are kept apart":                                    {stretch{sale("1", "A", 1), of(sale("2", "A", 1), func(e *Event) { e.Lines[0].UOM = "CS" })}, 0, 0, []DigestRow{{SKU: "A", Net: Units(-1)}, {SKU: "A", UOM: "CS", Net: Units(-1)}}},
	} {
		for i, e := range c.s {
			e.EventTime = Stamp{US: c.s.recordUS(uint64(i + 1))}
		}
		d := c.s.digest(c.after, uint64(len(c.s)))
		if diff := cmp.Diff(c.want, d.Rows, cmp.Comparer(func(a, b []DigestRow) bool {
			return len(a) == 0 && len(b) == 0 || cmp.Equal(a, b, cmp.Comparer(sameRowWhole))
		})); diff != "" || d.Open != c.open {
			t.Errorf("%s: %d open, want %d; rows %s", name, d.Open, c.open, diff)
		}
	}
}

func sameRowWhole(a, b DigestRow) bool {
	if (a.Count == nil) != (b.Count == nil) || a.SKU != b.SKU || a.UOM != b.UOM || a.Net != b.Net || a.Unavailable != b.Unavailable {
		return false
	}
	return a.Count == nil || *a.Count == *b.Count
}

func TestDigestSplitsAndReadsBack(t *testing.T) {
	c, err := NewFrameCodec()
	if err != nil {
		t.Fatal(err)
	}
	d := &Digest{Epoch: 9, Lease: 2, After: 10, AsOf: 90_000, AsOfUS: -5, Chain: Chain{1, 2, 3}, Open: 7}
	for i := range 30_000 {
		r := DigestRow{SKU: SKU(fmt.Sprintf("%014d", i)), Net: Quantity(i - 4000), Unavailable: Quantity(i % 3)}
		if i%100 == 0 {
			r.UOM, r.Count = "CS", &DigestCount{Seq: uint64(11 + i), Cut: uint64(i), CountedUS: int64(i), Quantity: 5, Since: -6, Before: 1}
		}
		d.Rows = append(d.Rows, r)
	}
	for i := range 2000 {
		d.Cancelled = append(d.Cancelled, EventID{byte(i), byte(i >> 8), 1})
	}
	got := &Digest{}
	total := 0
	for n, p := range SplitDigest(d) {
		b, err := c.AppendDigest(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		total += len(b)
		part, err := c.DecodeDigest(b)
		if err != nil {
			t.Fatal(err)
		}
		if part.Part != n || part.Parts < 2 {
			t.Errorf("part %d says %d of %d", n, part.Part, part.Parts)
		}
		rows, cancelled := append(got.Rows, part.Rows...), append(got.Cancelled, part.Cancelled...)
		*got = *part
		got.Rows, got.Cancelled = rows, cancelled
		for cut := range len(b) {
			if cut > 64 && cut < len(b)-64 {
				continue
			}
			if _, err := c.DecodeDigest(b[:cut]); err == nil {
				t.Fatalf("a part cut to %d of %d bytes is read", cut, len(b))
			}
		}
		b[len(b)/2] ^= 0x10
		if _, err := c.DecodeDigest(b); !errors.Is(err, ErrChecksum) {
			t.Errorf("a flipped bit: %v", err)
		}
	}
	got.Part, got.Parts = 0, 0
	if diff := cmp.Diff(d, got); diff != "" {
		t.Error(diff)
	}
	t.Logf("30,000 rows: %d bytes", total)
}

func TestDigestsThatCannotBeTrueAreRefused(t *testing.T) {
	c, err := NewFrameCodec()
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]Digest{
		"an empty stretch":             {After: 5, AsOf: 5, Parts: 1},
		"a stretch that goes back":     {After: 5, AsOf: 4, Parts: 1},
		"a stretch beyond all bounds":  {AsOf: DigestStretchMax + 1, Parts: 1},
		"no parts":                     {AsOf: 1},
		"a part beyond the parts":      {AsOf: 1, Part: 1, Parts: 1},
		"too many parts":               {AsOf: 1, Parts: DigestPartsMax + 1},
		"rows out of order":            {AsOf: 1, Parts: 1, Rows: []DigestRow{{SKU: "B"}, {SKU: "A"}}},
		"a row twice":                  {AsOf: 1, Parts: 1, Rows: []DigestRow{{SKU: "A"}, {SKU: "A"}}},
		"a row without an article":     {AsOf: 1, Parts: 1, Rows: []DigestRow{{}}},
		"a sum that no shop has":       {AsOf: 1, Parts: 1, Rows: []DigestRow{{SKU: "A", Net: 1 << 62}}},
		"a count outside the stretch":  {AsOf: 1, Parts: 1, Rows: []DigestRow{{SKU: "A", Count: &DigestCount{Seq: 2}}}},
		"a count that has seen itself": {AsOf: 9, Parts: 1, Rows: []DigestRow{{SKU: "A", Count: &DigestCount{Seq: 2, Cut: 2}}}},
	} {
		b, err := c.AppendDigest(nil, &d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.DecodeDigest(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeDigest(f *testing.F) {
	c, err := NewFrameCodec()
	if err != nil {
		f.Fatal(err)
	}
	b, err := c.AppendDigest(nil, &Digest{AsOf: 3, Parts: 1, Cancelled: []EventID{{1}}, Rows: []DigestRow{{SKU: "A", Net: -1, Count: &DigestCount{Seq: 2, Quantity: 4}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := Checksum(b) // so that the fuzzer gets past the checksum
		d, err := c.DecodeDigest(append(b[:len(b):len(b)], byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)))
		if err != nil {
			return
		}
		again, err := c.AppendDigest(nil, d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.DecodeDigest(again); err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
	})
}
