package protocol

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

func drawStamp(t *rapid.T, label string) Stamp {
	return Stamp{US: rapid.Int64().Draw(t, label), OffsetMin: rapid.Int16().Draw(t, label+" offset")}
}

func drawLine(t *rapid.T) Line {
	text := rapid.StringN(0, 40, 200)
	return Line{
		Line: rapid.IntRange(0, lineOnWireMax).Draw(t, "line"), SKU: SKU(rapid.StringN(1, 20, SKUBytesMax).Draw(t, "sku")),
		Quantity: Quantity(rapid.Int64Range(int64(-QuantityMax), int64(QuantityMax)).Draw(t, "quantity")), UOM: text.Draw(t, "uom"),
		Disposition: Disposition(rapid.Byte().Draw(t, "disposition")), From: Disposition(rapid.Byte().Draw(t, "from")),
		To: Disposition(rapid.Byte().Draw(t, "to")), CountedAt: drawStamp(t, "counted"), Cut: rapid.Uint64().Draw(t, "cut"),
		Zone: text.Draw(t, "zone"), RawCode: text.Draw(t, "raw"), Stance: Stance(rapid.Byte().Draw(t, "stance")),
		Cuts: rapid.SliceOfN(rapid.Custom(drawCut), -1, 3).Draw(t, "cuts"),
	}
}

func drawCut(t *rapid.T) SiblingCut {
	return SiblingCut{
		Agent: AgentID(rapid.StringN(1, 10, NameBytesMax).Draw(t, "agent")), Epoch: rapid.Uint64().Draw(t, "epoch"), Seq: rapid.Uint64().Draw(t, "seq"),
	}
}

func drawEvent(t *rapid.T) *Event {
	text := rapid.StringN(0, 40, 200)
	name := rapid.StringN(1, 10, 64)
	e := &Event{
		ID: EventID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")), Kind: Kind(rapid.IntRange(1, len(kindNames)-1).Draw(t, "kind")),
		Store: StoreID(name.Draw(t, "store")), DocumentID: name.Draw(t, "document"), Register: text.Draw(t, "register"),
		EventTime: drawStamp(t, "time"), BusinessDate: text.Draw(t, "date"), Traceparent: text.Draw(t, "trace"),
		OrderID: text.Draw(t, "order"), HoldID: text.Draw(t, "hold"), OriginalDocument: text.Draw(t, "original"),
		OriginalStore: StoreID(text.Draw(t, "original store")), Voids: text.Draw(t, "voids"), VoidsKind: Kind(rapid.Byte().Draw(t, "voids kind")),
		Source: text.Draw(t, "source"), AdviceID: text.Draw(t, "advice"), TransferID: text.Draw(t, "transfer"),
		Counterparty: StoreID(text.Draw(t, "counterparty")), Direction: Direction(rapid.Byte().Draw(t, "direction")),
		Scope: Scope(rapid.Byte().Draw(t, "scope")), Session: text.Draw(t, "session"), Zone: text.Draw(t, "zone"), Reason: text.Draw(t, "reason"),
		Complete: rapid.Bool().Draw(t, "complete"), Action: text.Draw(t, "action"), Flags: EventFlags(rapid.Uint32().Draw(t, "flags")),
		ExpectedAt: drawStamp(t, "expected"), ClockOffsetUS: rapid.Int64().Draw(t, "clock"), ClockErrorUS: rapid.Int64Min(0).Draw(t, "clock error"),
		Body: rapid.SliceOfN(rapid.Byte(), -1, 300).Draw(t, "body"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "acks") {
		c := drawCut(t)
		e.Acks = append(e.Acks, JournalAck{Origin: Origin{StoreID(name.Draw(t, "acked store")), c.Agent}, Epoch: c.Epoch, Seq: c.Seq})
	}
	if len(e.Body) == 0 {
		e.Body = nil
	}
	if e.ID == (EventID{}) {
		e.ID[0] = 1
	}
	for range rapid.IntRange(0, 6).Draw(t, "lines") {
		l := drawLine(t)
		if n := len(e.Lines); n > 0 && rapid.Bool().Draw(t, "follows") { // the cuts of the line before, some of them moved on
			l.Cuts = slices.Clone(e.Lines[n-1].Cuts)
			for i := range l.Cuts {
				l.Cuts[i].Seq += rapid.Uint64Max(1).Draw(t, "moved")
			}
		}
		e.Lines = append(e.Lines, l)
	}
	return e
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		us := rapid.Int64Min(0).Draw(t, "record time")
		rec := AppendRecord([]byte("before"), us, e)
		rec, ok := bytes.CutPrefix(rec, []byte("before"))
		if !ok {
			t.Fatal("AppendRecord changed what stood there")
		}
		// Into an event that was used before: nothing of it may stay.
		got := *drawEvent(t)
		gotUS, err := DecodeRecord(rec, &got)
		if err != nil || gotUS != us {
			t.Fatalf("%d, want %d: %v", gotUS, us, err)
		}
		if len(got.Lines) == 0 {
			got.Lines = nil
		}
		var text Event
		if _, textErr := DecodeRecordText(rec, string(rec), &text); textErr != nil || !cmp.Equal(text, got) {
			t.Fatalf("as text: %v: %s", textErr, cmp.Diff(text, got))
		}
		for i := range e.Lines {
			if len(e.Lines[i].Cuts) == 0 {
				e.Lines[i].Cuts = nil
			}
		}
		if d := cmp.Diff(&got, e); d != "" {
			t.Fatal(d)
		}
		if again := AppendRecord(nil, us, &got); !bytes.Equal(again, rec) {
			t.Fatalf("equal events have other bytes:\n%x\n%x", again, rec)
		}
		if got.ContentHash() != e.ContentHash() {
			t.Fatal("content hashes differ")
		}
	})
}

// TestLineLengths: a line's length is written into a byte kept free and moved
// where it needs two or three.
func TestLineLengths(t *testing.T) {
	for n := range 400 {
		e := goldenEvents()[0].Event
		e.Lines[0].RawCode = strings.Repeat("x", n)
		checkLines(t, e)
	}
	for _, n := range []int{16_300, 16_350, 16_384, 16_400, 200_000} {
		e := goldenEvents()[0].Event
		e.Lines[0].RawCode = strings.Repeat("x", n)
		checkLines(t, e)
	}
}

func checkLines(t *testing.T, e Event) {
	t.Helper()
	var got Event
	if err := DecodeEvent(AppendEvent(nil, &e), &got); err != nil {
		t.Fatalf("line of %d bytes: %v", len(e.Lines[0].RawCode), err)
	}
	if d := cmp.Diff(got, e); d != "" {
		t.Fatalf("line of %d bytes: %s", len(e.Lines[0].RawCode), d)
	}
}

func TestContentHash(t *testing.T) {
	all := goldenEvents()
	sale, count := all[0].Event, all[3].Event
	for _, c := range []struct {
		name   string
		e      Event
		change func(*Event)
		same   bool
	}{
		{"a retry has a new trace", sale, func(e *Event) { e.Traceparent = "" }, true},
		{"a retried count has a later cut", count, func(e *Event) { e.Lines[0].Cut++ }, true},
		{"a counted quantity", count, func(e *Event) { e.Lines[0].Quantity++ }, false},
		{"when it was counted", count, func(e *Event) { e.Lines[0].CountedAt.US++ }, false},
		{"a quantity", sale, func(e *Event) { e.Lines[1].Quantity++ }, false},
		{"the order of lines", sale, func(e *Event) { slices.Reverse(e.Lines) }, false},
		{"a line more", sale, func(e *Event) { e.Lines = append(e.Lines, e.Lines[0]) }, false},
		{"the register", sale, func(e *Event) { e.Register = "R04" }, false},
		{"a flag", sale, func(e *Event) { e.Flags = 0 }, false},
		{"the zone in which the time was told", sale, func(e *Event) { e.EventTime.OffsetMin = 0 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := c.e
			e.Lines = slices.Clone(e.Lines)
			before := c.e.ContentHash()
			c.change(&e)
			kept := slices.Clone(e.Lines)
			if (e.ContentHash() == before) != c.same {
				t.Fatalf("same content: want %v", c.same)
			}
			if d := cmp.Diff(e.Lines, kept); d != "" {
				t.Fatalf("hashing changed the event: %s", d)
			}
		})
	}
}

func TestEventID(t *testing.T) {
	// printf 'tw1\0S0042\0sale\0S0042-R03-000187' | sha256sum | cut -c1-32
	const want = "9d64ae03794327eb79b906a5060f65cb"
	got := MakeEventID("S0042", KindSale, "S0042-R03-000187")
	ids := map[EventID]string{got: "sale"}
	for name, id := range map[string]EventID{
		"kind":   MakeEventID("S0042", KindReturn, "S0042-R03-000187"),
		"store":  MakeEventID("S0043", KindSale, "S0042-R03-000187"),
		"moved":  MakeEventID("S0042", KindSale, "sale\x00S0042-R03-000187"),
		"long":   MakeEventID("S0042", KindSale, strings.Repeat("x", 5000)),
		"longer": MakeEventID("S0042", KindSale, strings.Repeat("x", 5001)),
	} {
		if former, ok := ids[id]; ok {
			t.Errorf("%s has the id of %s", name, former)
		}
		ids[id] = name
	}
	var back EventID
	text, _ := got.MarshalText()
	if err := back.UnmarshalText(text); err != nil || back != got || string(text) != want {
		t.Fatalf("%s, %v, want %s", text, err, want)
	}
	for _, s := range []string{"", want[1:], want + "0", "zz" + want[2:]} {
		if err := back.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q is taken for an event id", s)
		}
	}
}

// pb composes protobuf fields for events that no writer of ours would make.
type pb []byte

func (b pb) num(n protowire.Number, v uint64) pb {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func (b pb) raw(n protowire.Number, v string) pb {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func TestHostileEvents(t *testing.T) {
	base := pb(AppendEvent(nil, &goldenEvents()[2].Event)) // a void: no lines
	line := func(l pb) pb { return slices.Clip(base).raw(fLine, string(l)) }
	good := pb{}.raw(lSKU, "A").num(lQuantity, 2)
	with := func(n protowire.Number, v uint64) pb { return slices.Clip(base).num(n, v) }
	minus := protowire.EncodeZigZag
	for _, c := range []struct {
		name string
		b    []byte
		want error // nil: accepted
	}{
		{"as it should be", base, nil},
		{"unknown field", with(500, 7).raw(501, "later"), nil},
		{"unknown wire type", protowire.AppendFixed32(protowire.AppendTag(slices.Clip(base), 502, protowire.Fixed32Type), 9), nil},
		{"unknown field in a line", line(slices.Clip(good).num(99, 1)), nil},
		{"nothing", nil, ErrMalformed},
		{"no id", bytes.TrimPrefix(base, base[:18]), ErrMalformed},
		{"id of zeros", slices.Clip(base).raw(fID, strings.Repeat("\x00", 16)), ErrMalformed},
		{"id of 15 bytes", slices.Clip(base).raw(fID, strings.Repeat("\x01", 15)), ErrMalformed},
		{"id as a number", with(fID, 1), ErrMalformed},
		{"no kind", with(fKind, 0), ErrMalformed},
		{"kind of tomorrow", with(fKind, uint64(len(kindNames))), ErrMalformed},
		{"kind 257 is not a sale", with(fKind, 257), ErrMalformed},
		{"voided kind 257", with(fVoidsKind, 257), ErrMalformed},
		{"direction 257 is not out", with(fDirection, 257), ErrMalformed},
		{"scope 259 is not full", with(fScope, 259), ErrMalformed},
		{"flags beyond 32 bits", with(fFlags, 1<<32), ErrMalformed},
		{"zone offset beyond 16 bits", with(fEventOffset, minus(1<<15)), ErrMalformed},
		{"no store", slices.Clip(base).raw(fStore, ""), ErrMalformed},
		{"no document id", slices.Clip(base).raw(fDocumentID, ""), ErrMalformed},
		{"line without a SKU", line(pb{}.num(lQuantity, 2)), ErrMalformed},
		{"line of nothing", line(nil), ErrMalformed},
		{"SKU of 65 bytes", line(pb{}.raw(lSKU, strings.Repeat("x", 65))), ErrMalformed},
		{"quantity just possible", line(pb{}.raw(lSKU, "A").num(lQuantity, minus(int64(-QuantityMax)))), nil},
		{"quantity impossible", line(pb{}.raw(lSKU, "A").num(lQuantity, minus(int64(QuantityMax)+1))), ErrMalformed},
		{"quantity impossible below", line(pb{}.raw(lSKU, "A").num(lQuantity, minus(math.MinInt64))), ErrMalformed},
		{"line number beyond 31 bits", line(slices.Clip(good).num(lLine, 1<<31)), ErrMalformed},
		{"disposition 257 is not sellable", line(slices.Clip(good).num(lDisposition, 257)), ErrMalformed},
		{"from 258", line(slices.Clip(good).num(lFrom, 258)), ErrMalformed},
		{"to 258", line(slices.Clip(good).num(lTo, 258)), ErrMalformed},
		{"counted offset", line(slices.Clip(good).num(lCountedOffset, minus(-1<<15-1))), ErrMalformed},
		{"line cut short", line(good[:len(good)-1]), ErrTruncated},
		{"line longer than the event", append(slices.Clip(base), 0x52, 0x7f), ErrTruncated},
		{"length of 2^64", append(slices.Clip(base), 0x52, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), ErrTruncated},
		{"varint without an end", append(slices.Clip(base), append([]byte{0x10}, bytes.Repeat([]byte{0xff}, 11)...)...), ErrTruncated},
		{"groups in groups", append(slices.Clip(base), bytes.Repeat([]byte{0x7b}, 100_000)...), ErrTruncated},
		{"field number 0", append(slices.Clip(base), 0, 0), ErrTruncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Event
			if err := DecodeEvent(c.b, &e); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
		})
	}
	t.Run("1001 lines", func(t *testing.T) {
		b := slices.Clip(base)
		for range DocumentLinesMax {
			b = b.raw(fLine, string(good))
		}
		var e Event
		if err := DecodeEvent(b, &e); err != nil || len(e.Lines) != DocumentLinesMax {
			t.Fatalf("%d lines, %v", len(e.Lines), err)
		}
		if err := DecodeEvent(b.raw(fLine, string(good)), &e); !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
}

func TestSplitRecord(t *testing.T) {
	for _, c := range []struct {
		name string
		rec  []byte
		us   int64
		rest int
		want string
	}{
		{"time 0", []byte{0, 1, 2}, 0, 2, "accepted"},
		{"largest time", append(protowire.AppendVarint(nil, math.MaxInt64), 5), math.MaxInt64, 1, "accepted"},
		{"time beyond 63 bits", protowire.AppendVarint(nil, math.MaxInt64+1), 0, 0, "truncated"},
		{"nothing", nil, 0, 0, "truncated"},
		{"time without an end", []byte{0x80, 0x80}, 0, 0, "truncated"},
		{"as large as may be", make([]byte, RecordBytesMax), 0, RecordBytesMax - 1, "accepted"},
		{"larger", make([]byte, RecordBytesMax+1), 0, 0, "size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			us, rest, err := SplitRecord(c.rec)
			if us != c.us || len(rest) != c.rest || refusal(err) != c.want {
				t.Fatalf("%d, %d bytes, %v", us, len(rest), err)
			}
		})
	}
}

func TestChain(t *testing.T) {
	var c Chain
	a, b := c.Next([]byte("a")), c.Next([]byte("b"))
	if a == b || a == c || a.Next([]byte("b")) == b.Next([]byte("a")) {
		t.Fatal("the chain does not tell records or their order apart")
	}
	large := bytes.Repeat([]byte("x"), 5000) // beyond the room on the stack
	if c.Next(large) == c.Next(large[1:]) {
		t.Fatal("large records")
	}
	var back Chain
	text, _ := a.MarshalText()
	if err := back.UnmarshalText(text); err != nil || back != a {
		t.Fatalf("%s, %v", back, err)
	}
	if back.UnmarshalText(text[2:]) == nil || back.UnmarshalText([]byte(strings.Repeat("g", 32))) == nil {
		t.Fatal("nonsense is taken for a chain")
	}
}

// FuzzDecodeRecord: no input panics, and what is accepted says the same when it
// is written again.
func FuzzDecodeRecord(f *testing.F) {
	_, records := goldenJournal()
	for _, r := range records {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		var e Event
		us, err := DecodeRecord(rec, &e)
		var text Event
		if textUS, textErr := DecodeRecordText(rec, string(rec), &text); textUS != us || (textErr == nil) != (err == nil) || err == nil && !cmp.Equal(text, e) {
			t.Fatalf("as text: %v, %v: %s", textErr, err, cmp.Diff(text, e))
		}
		if err != nil {
			if strings.HasPrefix(refusal(err), "unclassified") {
				t.Fatal(err)
			}
			return
		}
		again := AppendRecord(nil, us, &e)
		var same Event
		sameUS, err := DecodeRecord(again, &same)
		if err != nil || len(again) > len(rec) || sameUS != us || !cmp.Equal(same, e) {
			t.Fatalf("%v: %s", err, cmp.Diff(same, e))
		}
		if same.ContentHash() != e.ContentHash() {
			t.Fatal("content hashes differ")
		}
	})
}

// TestShortFields: the quick way through a field finds what the long one does.
func TestShortFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := append([]byte{byte(rapid.IntRange(0, 140).Draw(t, "tag")), byte(rapid.IntRange(0, 140).Draw(t, "second"))}, rapid.SliceOfN(rapid.Byte(), 0, 130).Draw(t, "rest")...)
		b = b[:rapid.IntRange(0, len(b)).Draw(t, "length")]
		for _, m := range []*message{&eventMessage, &lineMessage, &headerMessage, &cutMessage} {
			if len(b) == 0 {
				continue
			}
			var f, want field
			rest, err := m.next(b, &f)
			wantRest, wantErr := m.long(b, &want)
			if (err == nil) != (wantErr == nil) || err == nil && (f.number != want.number || f.num != want.num || !bytes.Equal(f.raw, want.raw) || !bytes.Equal(rest, wantRest)) {
				t.Fatalf("%x: short gives %+v (%v), long %+v (%v)", b, f, err, want, wantErr)
			}
		}
	})
}

func BenchmarkDecodeRecord(b *testing.B) {
	_, records := goldenJournal()
	for name, decode := range map[string]func([]byte, *Event) (int64, error){"copies": DecodeRecord, "text": func(rec []byte, e *Event) (int64, error) { return DecodeRecordText(rec, string(rec), e) }} {
		b.Run(name, func(b *testing.B) {
			var e Event
			b.ReportAllocs()
			b.SetBytes(int64(len(records[0])))
			for b.Loop() {
				if _, err := decode(records[0], &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
