package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

func mustPending(t testing.TB, e *protocol.Event) *pending {
	t.Helper()
	p, err := newPending(e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func emptyWorld() world {
	return world{
		find:  func(protocol.EventID) (entry, bool) { return entry{}, false },
		cutAt: func(int64) uint64 { return 0 },
		usOf:  func(uint64) int64 { return 0 },
	}
}

func TestPlanPlacesInOrder(t *testing.T) {
	head := tip{seq: 41, us: 1000, total: 7, chain: protocol.Chain{1}}
	group := []*pending{mustPending(t, sale("A")), mustPending(t, sale("B")), mustPending(t, sale("A"))}
	reused := sale("B")
	reused.Lines[0].Quantity = 1
	group = append(group, mustPending(t, reused))
	rows := plan(500, head, group, emptyWorld())
	if len(rows) != 2 {
		t.Fatalf("got %d rows, want 2", len(rows))
	}
	at := head
	for i, r := range rows {
		got, err := decodeValue(head.seq+1+uint64(i), r.value)
		if err != nil {
			t.Fatal(err)
		}
		if at, err = at.follow(got); err != nil {
			t.Fatal(err)
		}
		if at != r.after {
			t.Fatalf("tip behind row %d: %+v, want %+v", i, at, r.after)
		}
		if want := int64(1001 + i); r.after.us != want {
			t.Errorf("a clock behind the head: record time %d, want %d", r.after.us, want)
		}
	}
	if want := (Receipt{EventID: group[0].id, Seq: 42, RecordUS: 1001, Duplicate: true}); group[2].receipt != want {
		t.Errorf("duplicate within the group: %+v, want %+v", group[2].receipt, want)
	}
	var again *IDReusedError
	if !errors.As(group[3].err, &again) || again.Seq != 43 {
		t.Errorf("other content within the group: %v", group[3].err)
	}
}

func TestPlanAnswersKnownIDs(t *testing.T) {
	p, other := mustPending(t, sale("A")), sale("A")
	other.Lines[0].Quantity++
	q := mustPending(t, other)
	w := emptyWorld()
	w.find = func(protocol.EventID) (entry, bool) { return entry{7, p.content}, true }
	w.usOf = func(seq uint64) int64 { return int64(seq) * 10 }
	if rows := plan(5, tip{seq: 9}, []*pending{p, q}, w); len(rows) != 0 {
		t.Fatalf("known ids were placed: %d rows", len(rows))
	}
	if want := (Receipt{EventID: p.id, Seq: 7, RecordUS: 70, Duplicate: true}); p.receipt != want {
		t.Errorf("got %+v, want %+v", p.receipt, want)
	}
	if !errors.Is(q.err, ErrIDReused) {
		t.Errorf("other content: %v", q.err)
	}
}

// count is a document of two lines, counted at the given record times.
func count(doc string, at ...int64) *protocol.Event {
	e := sale(doc)
	e.Kind, e.ID = protocol.KindCount, protocol.MakeEventID("S0042", protocol.KindCount, doc)
	e.Scope = protocol.ScopeSKU
	e.Lines = e.Lines[:0]
	for i, us := range at {
		l := protocol.Line{Line: i + 1, SKU: protocol.SKU(fmt.Sprintf("K%d", i)), Quantity: 1000}
		if us != 0 {
			l.CountedAt = protocol.Stamp{US: us}
		}
		e.Lines = append(e.Lines, l)
	}
	return e
}

func TestPlanCutsCounts(t *testing.T) {
	w := emptyWorld()
	w.cutAt = func(us int64) uint64 { return min(10, uint64(us/100)) } // head 10, record n at 100n
	c := count("C", 350, 1005, 1007, 99999, 0)
	c.EventTime = protocol.Stamp{US: 720}
	before := c.Lines[0]
	group := []*pending{mustPending(t, sale("A")), mustPending(t, sale("B")), mustPending(t, c), mustPending(t, sale("D"))}
	rows := plan(1005, tip{seq: 10, us: 1000}, group, w)
	var e protocol.Event
	got, err := decodeValue(13, rows[2].value)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := protocol.DecodeRecord(got.record, &e); err != nil {
		t.Fatal(err)
	}
	var cuts []uint64
	for _, l := range e.Lines {
		cuts = append(cuts, l.Cut)
	}
	// A stands at seq 11, time 1005; B at 12, 1006; the count at 13, 1007.
	if want := []uint64{3, 11, 12, 12, 7}; !slices.Equal(cuts, want) {
		t.Errorf("cuts %v, want %v", cuts, want)
	}
	if !cmp.Equal(c.Lines[0], before) {
		t.Error("the caller's event was changed")
	}
	if e.ContentHash() != c.ContentHash() {
		t.Error("cuts changed the content hash: a retry would be taken for another document")
	}
}

func TestNewPendingRefuses(t *testing.T) {
	noID := sale("A")
	noID.ID = protocol.EventID{}
	if _, err := newPending(noID); !errors.Is(err, errNoID) {
		t.Errorf("no id: %v", err)
	}
	big := sale("B")
	big.Session = string(make([]byte, protocol.RecordBytesMax))
	var size *protocol.SizeError
	if _, err := newPending(big); !errors.As(err, &size) {
		t.Errorf("too large: %v", err)
	}
}

func TestMachine(t *testing.T) {
	eNoSpace := input{kind: inCommitFailed, noSpace: true}
	disk := func(used int) input { return input{kind: inDisk, free: uint64(100 - used), total: 100} }
	tests := []struct {
		name    string
		from    machine
		in      []input
		phase   phase
		effects []effect // of the last input
	}{
		{"a failed commit reopens", machine{}, []input{{kind: inCommitFailed}}, phaseRecovering, []effect{effReopen}},
		{"ENOSPC frees the ballast first", machine{ballast: true}, []input{eNoSpace}, phaseRecovering, []effect{effFreeBallast, effReopen}},
		{"reopened runs", machine{}, []input{{kind: inCommitFailed}, {kind: inReopened}}, phaseRunning, nil},
		{"reopened after ENOSPC is full and trims", machine{}, []input{eNoSpace, {kind: inReopened}}, phaseFull, []effect{effTrim}},
		{"room ends full", machine{}, []input{eNoSpace, {kind: inReopened}, disk(50)}, phaseRunning, []effect{effLayBallast}},
		{"room with ballast", machine{phase: phaseFull, ballast: true}, []input{disk(50)}, phaseRunning, nil},
		{"at 94 % full stays full", machine{phase: phaseFull}, []input{disk(94)}, phaseFull, nil},
		{"at 94 % running stays running", machine{}, []input{disk(94)}, phaseRunning, nil},
		{"the floor", machine{ballast: true}, []input{disk(95)}, phaseFull, []effect{effFreeBallast, effTrim}},
		{"the floor without ballast", machine{}, []input{disk(99)}, phaseFull, []effect{effTrim}},
		{"unknown space changes nothing", machine{}, []input{{kind: inDisk, err: errNothing}}, phaseRunning, nil},
		{"between 90 and 94 % no ballast is laid", machine{}, []input{disk(92)}, phaseRunning, nil},
		{"a reopen that fails is tried again", machine{phase: phaseRecovering}, []input{{kind: inReopenFailed}}, phaseRecovering, []effect{effRetry}},
		{"corrupt is set aside", machine{phase: phaseRecovering}, []input{{kind: inReopenFailed, corrupt: true}}, phaseRecovering, []effect{effQuarantine}},
		{"but once", machine{phase: phaseRecovering}, []input{{kind: inReopenFailed, corrupt: true}, {kind: inReopenFailed, corrupt: true}}, phaseRecovering, []effect{effRetry}},
		{"a reader's damage reopens", machine{}, []input{{kind: inSuspect, corrupt: true}}, phaseRecovering, []effect{effReopen}},
		{"closed stays closed", machine{}, []input{{kind: inClose}, {kind: inCommitFailed}, disk(10)}, phaseClosed, nil},
		{"no appends while recovering, whatever the disk", machine{phase: phaseRecovering}, []input{disk(10)}, phaseRecovering, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, effects := tt.from, []effect(nil)
			for _, in := range tt.in {
				m, effects = m.step(in)
			}
			if m.phase != tt.phase || !slices.Equal(effects, tt.effects) {
				t.Errorf("got %v %v, want %v %v", m.phase, effects, tt.phase, tt.effects)
			}
		})
	}
	m := machine{phase: phaseRecovering}
	for range 20 {
		m, _ = m.step(input{kind: inReopenFailed})
	}
	if m.retry != retryMax {
		t.Errorf("pause after 20 failures: %v, want %v", m.retry, retryMax)
	}
}

func TestMarksMove(t *testing.T) {
	m := marks{Epoch: 3, Generation: 1, Merged: 50, Safe: 40}
	tests := []struct {
		name                            string
		epoch, merged, safe, generation uint64
		want                            marks
		ok                              bool
	}{
		{"forward", 3, 60, 45, 1, marks{Epoch: 3, Generation: 1, Merged: 60, Safe: 45}, true},
		{"safe goes back where the aggregator says so", 3, 60, 10, 1, marks{Epoch: 3, Generation: 1, Merged: 60, Safe: 10}, true},
		{"safe is held to merged", 3, 60, 90, 1, marks{Epoch: 3, Generation: 1, Merged: 60, Safe: 60}, true},
		{"back in the same epoch", 3, 49, 0, 1, m, false},
		{"back in a new epoch", 4, 10, 5, 1, marks{Epoch: 4, Generation: 1, Merged: 10, Safe: 5}, true},
		{"back in a new generation", 3, 10, 5, 2, marks{Epoch: 3, Generation: 2, Merged: 10, Safe: 5}, true},
		{"beyond the head", 3, 101, 0, 1, m, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := m.move(tt.epoch, tt.merged, tt.safe, tt.generation, 100)
			if (err == nil) != tt.ok || got != tt.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestRunsFindEveryID(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 7, 512, 5000} {
		items := make([]runItem, n)
		for i := range items {
			binary.BigEndian.PutUint64(items[i].id[:], rng.Uint64())
			if n == 512 { // ids that are no hashes: one prefix, all alike
				binary.BigEndian.PutUint64(items[i].id[:], 42)
				binary.BigEndian.PutUint64(items[i].id[8:], uint64(i))
			}
			items[i].entry = entry{seq: uint64(i + 1), content: [8]byte{byte(i)}}
		}
		want := slices.Clone(items)
		sortRun(items)
		run := appendRun(nil, items)
		if err := checkRun(run); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if got, ok := findInRun(run, w.id); !ok || got != w.entry {
				t.Fatalf("n=%d: id %s: got %+v %v, want %+v", n, w.id, got, ok, w.entry)
			}
			absent := w.id
			absent[15] ^= 0xff
			absent[14] ^= 0xff
			if _, ok := findInRun(run, absent); ok {
				t.Fatalf("n=%d: found an id that is not there", n)
			}
		}
		if got := runItems(nil, run); len(got) != n || (n > 0 && !cmp.Equal(got, items, cmp.AllowUnexported(runItem{}, entry{}))) {
			t.Fatalf("n=%d: run does not come back", n)
		}
		if n > 0 {
			run[len(run)-1] ^= 1
			if checkRun(run) == nil {
				t.Fatal("a flipped bit in a run was not seen")
			}
		}
	}
}

// A filter that forgets an id would journal a document twice; one that holds all
// of them would save nothing.
func TestFilterHoldsItsIDs(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	random := func() (id protocol.EventID) {
		binary.BigEndian.PutUint64(id[:], rng.Uint64())
		binary.BigEndian.PutUint64(id[8:], rng.Uint64())
		return id
	}
	n := uint64(0)
	tests := []struct {
		name string
		next func() protocol.EventID
	}{
		{"hashes", random},
		{"one prefix, counted", func() (id protocol.EventID) { n++; binary.BigEndian.PutUint64(id[8:], n); return id }},
		{"a time, counted", func() (id protocol.EventID) { n += 1 << 16; binary.BigEndian.PutUint64(id[:], n); return id }},
	}
	for _, tt := range tests {
		for _, size := range []int{1, 512, 4096, 100_000} {
			items := make([]runItem, size)
			for i := range items {
				items[i].id = tt.next()
			}
			sortRun(items)
			f := filterOfItems(items)
			if got := filterOfRun(appendRun(nil, items)); !slices.Equal(got, f) {
				t.Fatalf("%s, %d: the filter of the run is not that of its items", tt.name, size)
			}
			for i := range items {
				if !f.mayHold(&items[i].id) {
					t.Fatalf("%s, %d: id %s is not held", tt.name, size, items[i].id)
				}
			}
			wrong := 0
			for range 20_000 {
				if id := tt.next(); f.mayHold(&id) {
					wrong++
				}
			}
			if wrong > 20_000*3/100 {
				t.Errorf("%s, %d: %d of 20,000 absent ids held, want at most 3 %%", tt.name, size, wrong)
			}
		}
	}
	if id := random(); !idFilter(nil).mayHold(&id) {
		t.Error("a filter that knows nothing rules an id out")
	}
}

func TestMergeTailKeepsRunsFew(t *testing.T) {
	var runs []runName
	most, written := 0, 0
	for range 100_000 / indexMemMax {
		n := indexMemMax
		take := mergeTail(runs, n, false)
		for _, r := range runs[len(runs)-take:] {
			n += r.count
		}
		runs = append(runs[:len(runs)-take], runName{count: n})
		most, written = max(most, len(runs)), written+n
	}
	if most > 3*indexFanout {
		t.Errorf("up to %d runs in a segment, want at most %d", most, 3*indexFanout)
	}
	if written > 5*100_000 {
		t.Errorf("each entry is written %d times, want at most 5", written/100_000)
	}
	if take := mergeTail(runs, 1, true); take != len(runs) {
		t.Errorf("sealing merges %d of %d runs", take, len(runs))
	}
}

func TestRegistersAreBounded(t *testing.T) {
	r := registers{}
	for i := range 3 * registersMax {
		r.seen(fmt.Sprintf("R%d", i), int64(i))
	}
	if _, ok := r[fmt.Sprintf("R%d", 3*registersMax-1)]; len(r) != registersMax || !ok {
		t.Errorf("%d registers kept, newest kept: %v", len(r), ok)
	}
	r.seen("", 1)
	if len(r) != registersMax {
		t.Error("a document without register was noted as one")
	}
}

func FuzzDecodeValue(f *testing.F) {
	f.Add(uint64(1), newValue(1, 10, protocol.Chain{1}, []byte("0123456789")))
	f.Add(uint64(2), []byte{})
	f.Add(uint64(1), headerValue(tip{seq: 1, us: 3}))
	f.Fuzz(func(t *testing.T, seq uint64, v []byte) {
		r, err := decodeValue(seq, v)
		if err != nil {
			if !isCorrupt(err) {
				t.Fatalf("not a CorruptError: %v", err)
			}
			return
		}
		if !bytes.Equal(newValue(seq, r.total, r.chain, r.record), v) {
			t.Fatal("value does not come back")
		}
		_, _ = tip{seq: seq - 1}.follow(r)
		_, _ = decodeHeader(seq+1, v)
	})
}

// FuzzPages feeds damaged files to the readers of pages.
func FuzzPages(f *testing.F) {
	o := testOptions(f)
	o.SegmentEvents = 30
	filled(f, o, 100)
	sound, err := os.ReadFile(o.Path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), uint64(1), uint32(9000), uint64(1<<40))
	f.Fuzz(func(t *testing.T, at uint32, x uint64, at2 uint32, y uint64) {
		b := append(bytes.Clone(sound), make([]byte, 8)...)
		binary.LittleEndian.PutUint64(b[int(at)%len(sound):], x)
		binary.LittleEndian.PutUint64(b[int(at2)%len(sound):], y)
		read := func(off int64, n int) ([]byte, error) {
			if off >= int64(len(b)) {
				return nil, nil
			}
			return b[off:min(int64(len(b)), off+int64(n))], nil
		}
		if err := inspectPages(read, int64(len(b))); err != nil && !isCorrupt(err) {
			t.Fatalf("not a CorruptError: %v", err)
		}
		found := finds{headers: map[uint64]tip{}}
		found.sweepPage(b, 0)
		chosen, _ := found.choose(func(find) (row, error) { return row{}, errNothing })
		for i := 1; i < len(chosen); i++ {
			if chosen[i].seq <= chosen[i-1].seq {
				t.Fatal("salvaged records out of order")
			}
		}
	})
}
