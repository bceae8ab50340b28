package journal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"tillwire/protocol"
)

// Image is what a journal's file holds, value by value as the bytes stand there.
// Images share values, which are never changed in place.
type Image struct {
	Identity []byte
	Marks    []byte
	SetBack  map[string][]byte // of the meta bucket, by key
	Header   []byte            // of the first segment; nil where nothing was ever journaled
	First    uint64            // seq of Values[0]
	Values   [][]byte
}

// Hand is a journal without file, goroutines and clock: it plans, seals, verifies,
// marks, trims and salvages with the code of a Journal, and whoever works it owns
// the disk and the time. Simulations of disks and processes do. It indexes all ids
// in memory, and has no ballast of its own. One goroutine uses it.
type Hand struct {
	m       machine
	install string
	boot    string
	base    tip
	head    tip
	us      []int64 // record times from base on
	index   map[protocol.EventID]entry
	marks   marks // as asked for
	written marks
	dirty   bool
	segment uint64 // events
	setBack setBack
	disk    *Image // as the file reads
}

// Need is what a journal wants done, see machine.
type Need = effect

// The needs.
const (
	NeedReopen      = effReopen
	NeedQuarantine  = effQuarantine
	NeedFreeBallast = effFreeBallast
	NeedLayBallast  = effLayBallast
	NeedTrim        = effTrim
	NeedRetry       = effRetry
)

// NewImage is the file of a new journal.
func NewImage(installID string, nowUS int64) Image {
	id, _ := encodeMeta(identity{Format: formatVersion, InstallID: installID, CreatedUS: nowUS, Origin: "fresh"})
	m, _ := encodeMeta(marks{})
	return Image{Identity: id, Marks: m, First: 1}
}

// OpenHand opens a file. Its error is a *CorruptError where the file is damaged.
func OpenHand(disk *Image, segmentEvents int, boot string) (*Hand, error) {
	h := &Hand{segment: uint64(max(segmentEvents, 1)), boot: boot, disk: disk}
	if err := h.load(); err != nil {
		return nil, err
	}
	h.marks = h.written
	h.marks.Boot++
	h.dirty = true
	return h, nil
}

// load reads and verifies all that the file holds.
func (h *Hand) load() error {
	var id identity
	var m marks
	if err := errors.Join(decodeMeta("identity", h.disk.Identity, &id), decodeMeta("marks", h.disk.Marks, &m)); err != nil {
		return err
	}
	h.install, h.written = id.InstallID, m
	h.base, h.us, h.index = tip{}, h.us[:0], make(map[protocol.EventID]entry, len(h.disk.Values))
	if h.disk.Header != nil {
		base, err := decodeHeader(h.disk.First, h.disk.Header)
		if err != nil {
			return err
		}
		h.base = base
	}
	h.head = h.base
	var e protocol.Event
	for i, v := range h.disk.Values {
		seq := h.disk.First + uint64(i)
		r, err := decodeValue(seq, v)
		if err != nil {
			return err
		}
		if h.head, err = h.head.follow(r); err != nil {
			return err
		}
		h.us = append(h.us, h.head.us)
		if _, err := protocol.DecodeRecord(r.record, &e); err == nil {
			h.index[e.ID] = entry{seq, e.ContentHash()}
		}
	}
	var err error
	h.setBack, err = readSetBack(h.head.seq, func(k []byte) []byte { return h.disk.SetBack[string(k)] })
	return err
}

// HandCommit is a transaction on its way to the disk. Image is the file with it.
type HandCommit struct {
	Image Image

	h      *Hand
	items  []*pending
	nowUS  int64
	rows   []planned
	asked  marks
	stored marks
	dirty  bool

	setBack *setBack // nil: no record time was ahead of the clock
}

// Outcome is what one event's writer is told.
type Outcome struct {
	Receipt Receipt
	Err     error
}

// Begin plans a transaction of events and of marks that changed. nil: there is
// nothing to write, and the outcomes are those of duplicates. The error is what
// all of the writers are told.
func (h *Hand) Begin(nowUS int64, events []*protocol.Event) (*HandCommit, []Outcome, error) {
	if err := h.m.phase.err(); err != nil && (len(events) > 0 || h.m.phase != phaseFull) {
		return nil, nil, err
	}
	c := &HandCommit{h: h, nowUS: max(nowUS, 1), asked: h.marks, dirty: h.dirty}
	for _, e := range events {
		p, err := newPending(e)
		if err != nil {
			return nil, nil, err
		}
		c.items = append(c.items, p)
	}
	c.rows = plan(c.nowUS, h.head, c.items, world{
		find: func(id protocol.EventID) (entry, bool) { e, ok := h.index[id]; return e, ok },
		cutAt: func(us int64) uint64 {
			return h.setBack.cut(us, c.nowUS, 0, h.head, func(us int64) uint64 {
				return h.base.seq + uint64(sort.Search(len(h.us), func(i int) bool { return h.us[i] > us }))
			})
		},
		usOf: func(seq uint64) int64 { return h.us[seq-h.base.seq-1] },
	})
	if len(c.rows) == 0 && !c.dirty {
		return nil, c.outcomes(), nil
	}
	img := *h.disk
	img.Values = slices.Clip(img.Values) // what a failed commit appended is nobody else's
	if img.Header == nil && len(c.rows) > 0 {
		img.Header, img.First = headerValue(c.rows[0].before), c.rows[0].after.seq
	}
	for i := range c.rows {
		img.Values = append(img.Values, c.rows[i].value)
	}
	if c.dirty {
		c.stored = c.asked
		c.stored.Update = h.written.Update + 1
		var err error
		if img.Marks, err = encodeMeta(c.stored); err != nil {
			return nil, nil, err
		}
	}
	if err := c.noteSetBack(&img); err != nil {
		return nil, nil, err
	}
	c.Image = img
	return c, nil, nil
}

func (c *HandCommit) noteSetBack(img *Image) error {
	next, ok := c.h.setBack.took(c.nowUS, 0, c.rows)
	if !ok {
		return nil
	}
	c.setBack = &next
	if img.SetBack = maps.Clone(img.SetBack); img.SetBack == nil {
		img.SetBack = make(map[string][]byte)
	}
	return next.write(&c.h.setBack, func(k []byte, v any) (err error) {
		img.SetBack[string(k)], err = encodeMeta(v)
		return err
	})
}

func (c *HandCommit) outcomes() []Outcome {
	out := make([]Outcome, len(c.items))
	for i, p := range c.items {
		out[i] = Outcome{p.receipt, p.err}
	}
	return out
}

// Done takes over a transaction that is on disk, and says what to answer.
func (c *HandCommit) Done() []Outcome {
	h := c.h
	if c.setBack != nil {
		h.setBack = *c.setBack
	}
	for i := range c.rows {
		r := &c.rows[i]
		h.us = append(h.us, r.after.us)
		h.index[r.item.id] = entry{r.after.seq, r.item.content}
		h.head = r.after
	}
	if c.dirty {
		h.written = c.stored
		h.dirty = h.marks != c.asked
	}
	h.m, _ = h.m.step(input{kind: inCommitted})
	return c.outcomes()
}

// Failed takes a commit whose outcome is unknown. The error is what its writers
// are told.
func (h *Hand) Failed(noSpace, corrupt bool) ([]Need, error) {
	var needs []Need
	h.m, needs = h.m.step(input{kind: inCommitFailed, noSpace: noSpace, corrupt: corrupt})
	return needs, answer(noSpace)
}

// Suspect takes damage that a reader met.
func (h *Hand) Suspect() (needs []Need) {
	if h.m.phase == phaseRecovering {
		return nil
	}
	h.m, needs = h.m.step(input{kind: inSuspect, corrupt: true})
	return needs
}

// Reopen reads the file anew, as a restart would, and begins the commit that must
// succeed before anything in it counts as durable: Healed or Failed ends it.
func (h *Hand) Reopen() (*HandCommit, error) {
	if err := h.load(); err != nil {
		return nil, err
	}
	c := &HandCommit{h: h, Image: *h.disk, asked: h.marks, stored: h.written, dirty: true}
	c.stored.Update++
	var err error
	c.Image.Marks, err = encodeMeta(c.stored)
	return c, err
}

// Reopened tells what came of NeedReopen: nil after the healing commit.
func (h *Hand) Reopened(c *HandCommit, err error) (needs []Need) {
	if err != nil {
		h.m, needs = h.m.step(input{kind: inReopenFailed, err: err, corrupt: isCorrupt(err)})
		return needs
	}
	h.written = c.stored
	h.m, needs = h.m.step(input{kind: inReopened})
	return needs
}

// Disk takes a measurement of free space.
func (h *Hand) Disk(free, total uint64) (needs []Need) {
	if h.m.phase != phaseRecovering {
		h.m, needs = h.m.step(input{kind: inDisk, free: free, total: total})
	}
	return needs
}

// Ballast tells whether the ballast stands.
func (h *Hand) Ballast(stands bool) {
	in := input{kind: inNoBallast}
	if stands {
		in.kind = inBallast
	}
	h.m, _ = h.m.step(in)
}

// TrimImage is the file without its oldest segment, if that may go: safe, and not
// younger than beforeUS (0: whatever its age), and not the newest.
func (h *Hand) TrimImage(beforeUS int64) (*HandCommit, bool) {
	if h.m.phase != phaseRunning && h.m.phase != phaseFull {
		return nil, false
	}
	end := h.base.seq + h.segment
	if end >= h.head.seq || end > min(h.marks.Safe, h.marks.Merged) {
		return nil, false
	}
	r, err := decodeValue(end, h.disk.Values[h.segment-1])
	if err != nil {
		return nil, false
	}
	us, err := r.recordTime()
	if err != nil || (beforeUS != 0 && us > beforeUS) {
		return nil, false
	}
	after := tip{seq: end, us: us, total: r.total, chain: r.chain}
	c := &HandCommit{h: h, Image: *h.disk, asked: h.marks, stored: h.marks, dirty: true}
	c.stored.Update = h.written.Update + 1
	if c.Image.Marks, err = encodeMeta(c.stored); err != nil {
		return nil, false
	}
	c.Image.Header, c.Image.First = headerValue(after), end+1
	c.Image.Values = h.disk.Values[h.segment:]
	return c, true
}

// Trimmed takes over a trim that is on disk.
func (c *HandCommit) Trimmed() {
	h := c.h
	for id, e := range h.index {
		if e.seq < c.Image.First {
			delete(h.index, id)
		}
	}
	n := c.Image.First - 1 - h.base.seq
	h.base, _ = decodeHeader(c.Image.First, c.Image.Header) // sealed a moment ago
	h.us = append([]int64(nil), h.us[n:]...)
	h.written = c.stored
	h.dirty = h.marks != c.asked
}

// Salvage builds the file of a new journal from a damaged one. lost are the seqs
// whose records could not be read.
func Salvage(damaged Image, installID string, nowUS int64) (img Image, lost []uint64) {
	f := &finds{headers: map[uint64]tip{}, tail: damaged.First}
	var m marks
	if decodeMeta("marks", damaged.Marks, &m) == nil {
		f.marks = m
	}
	if damaged.Header != nil {
		if before, err := decodeHeader(damaged.First, damaged.Header); err == nil {
			f.headers[damaged.First] = before
		}
	}
	for i, v := range damaged.Values {
		seq := damaged.First + uint64(i)
		if r, err := decodeValue(seq, v); err == nil {
			f.records = append(f.records, find{seq: seq, off: int64(i), size: len(v), chain: r.chain})
		}
	}
	chosen, _ := f.choose(func(x find) (row, error) { return decodeValue(x.seq, damaged.Values[x.off]) })
	img = NewImage(installID, nowUS)
	img.SetBack = damaged.SetBack
	var at tip
	if len(chosen) > 0 {
		at = (&builder{}).start(f, chosen[0])
		img.Header, img.First = headerValue(at), at.seq+1
	}
	for _, x := range chosen {
		for at.seq+1 < x.seq {
			lost = append(lost, at.seq+1)
			r := rebuilt(at, at.us, lostMarker, nil)
			img.Values, at = append(img.Values, r.value), r.after
		}
		got, err := decodeValue(x.seq, damaged.Values[x.off])
		if err != nil {
			continue // it was sound a moment ago, and nothing else writes
		}
		us, event, err := protocol.SplitRecord(got.record)
		if err != nil {
			continue // choose has seen it decode
		}
		r := rebuilt(at, us, event, nil)
		img.Values, at = append(img.Values, r.value), r.after
	}
	for seq := at.seq + 1; seq < damaged.First+uint64(len(damaged.Values)); seq++ {
		lost = append(lost, seq) // behind the last sound record: nobody can tell that they were
	}
	f.marks.Update++
	f.marks.Merged, f.marks.Safe = min(f.marks.Merged, at.seq), min(f.marks.Safe, f.marks.Merged, at.seq)
	img.Marks, _ = encodeMeta(f.marks)
	return img, lost
}

// Phase is running, full, recovering or closed.
func (h *Hand) Phase() string { return h.m.phase.String() }

// Retry is how long to wait where NeedRetry was said, in microseconds.
func (h *Hand) Retry() int64 { return h.m.retry.Microseconds() }

// Dirty tells that marks wait to be written.
func (h *Hand) Dirty() bool { return h.dirty }

// Written is what the file's marks say is merged and safe.
func (h *Hand) Written() (merged, safe uint64) { return h.written.Merged, h.written.Safe }

// State tells how the journal stands.
func (h *Hand) State() State {
	st := State{
		InstallID: h.install, BootReason: h.boot, Tail: h.base.seq + 1, Head: h.head.seq, HeadUS: h.head.us,
		ChainTail: h.base.chain, ChainHead: h.head.chain, phase: h.m.phase, Phase: h.m.phase.String(),
	}
	st.setMarks(h.marks)
	if st.Merged+1 < st.Tail {
		return st
	}
	at, err := h.at(st.Merged)
	if err != nil {
		return st
	}
	st.ChainMerged = at.chain
	if st.Merged < st.Head {
		st.BacklogBytes, st.OldestUnackedUS = h.head.total-at.total, h.us[st.Merged-h.base.seq]
	}
	return st
}

// at is the tip at a retained seq.
func (h *Hand) at(seq uint64) (tip, error) {
	if seq == h.base.seq {
		return h.base, nil
	}
	if h.m.phase == phaseRecovering || seq < h.disk.First || seq-h.disk.First >= uint64(len(h.disk.Values)) {
		return tip{}, ErrRecovering // the file is not yet what was read of it
	}
	r, err := decodeValue(seq, h.disk.Values[seq-h.disk.First])
	if err != nil {
		return tip{}, err
	}
	return tip{seq: seq, us: h.us[seq-h.base.seq-1], total: r.total, chain: r.chain}, nil
}

func (h *Hand) bounds(seq uint64) error {
	st := State{Tail: h.base.seq + 1, Head: h.head.seq}
	return st.bounds(seq)
}

// ChainAt is as a Journal's.
func (h *Hand) ChainAt(seq uint64) (protocol.Chain, error) {
	if err := h.readable(seq); err != nil {
		return protocol.Chain{}, fmt.Errorf("chain at: %w", err)
	}
	at, err := h.at(seq)
	return at.chain, err
}

func (h *Hand) readable(seq uint64) error {
	if h.m.phase == phaseRecovering || h.m.phase == phaseClosed {
		return h.m.phase.err()
	}
	return h.bounds(seq)
}

// Read is as a Journal's.
func (h *Hand) Read(from uint64, maxEvents, maxBytes int, buf [][]byte) (records [][]byte, prev, last protocol.Chain, err error) {
	from = max(from, 1)
	if err := h.readable(from - 1); err != nil {
		return nil, prev, last, fmt.Errorf("read journal: %w", err)
	}
	at, err := h.at(from - 1)
	if err != nil {
		return nil, prev, last, fmt.Errorf("read journal from %d: %w", from, err)
	}
	prev, records = at.chain, buf[:0]
	size := 0
	for seq := from; seq <= h.head.seq && len(records) < min(maxEvents, readEventsMax); seq++ {
		r, err := decodeValue(seq, h.disk.Values[seq-h.disk.First])
		if err != nil {
			return nil, protocol.Chain{}, protocol.Chain{}, fmt.Errorf("read journal from %d: %w", from, err)
		}
		if size += len(r.record); len(records) > 0 && size > maxBytes {
			break
		}
		if at, err = at.follow(r); err != nil {
			return nil, protocol.Chain{}, protocol.Chain{}, fmt.Errorf("read journal from %d: %w", from, err)
		}
		records = appendCopy(records, r.record)
	}
	return records, prev, at.chain, nil
}

// SetMerged is as a Journal's: the mark reaches the disk with the next commit.
func (h *Hand) SetMerged(epoch, merged, safe, generation uint64) error {
	next, err := h.marks.move(epoch, merged, safe, generation, h.head.seq)
	if err != nil {
		return err
	}
	if next != h.marks {
		h.marks, h.dirty = next, true
	}
	return nil
}

// SetLease is as a Journal's.
func (h *Hand) SetLease(lease uint64) {
	if h.marks.Lease != lease {
		h.marks.Lease, h.dirty = lease, true
	}
}
