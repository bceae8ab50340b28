package posting

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"tillwire/protocol"
)

// Change is one entry of the journal CHAIN/feed:postings: what was decided of ERP
// documents, or what became of one. It is decided once and applied, live and on
// replay.
type Change struct {
	Op      string           `json:"op"`
	NowUS   int64            `json:"now_us"`
	ERP     string           `json:"erp,omitempty"`
	Store   protocol.StoreID `json:"store,omitempty"`
	Opening bool             `json:"opening,omitempty"` // open: what is there is posted too
	Through int32            `json:"through,omitempty"` // cut_done: rows of days up to it that came to nothing are gone
	Doc     *Doc             `json:"doc,omitempty"`     // cut, split: the new one
	Key     string           `json:"key,omitempty"`
	SKUs    []protocol.SKU   `json:"skus,omitempty"` // split: what goes to Doc
	Day     int32            `json:"day,omitempty"`  // redate: where to
	ERPID   string           `json:"erp_id,omitempty"`
	Code    string           `json:"code,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Who     string           `json:"who,omitempty"`
	Note    string           `json:"note,omitempty"`
	Gen     uint64           `json:"generation,omitempty"` // generation
}

// What a change does.
const (
	opOpen       = "open"       // a store's movements are netted for an ERP from here on
	opClose      = "close"      // … no more; what is netted stays
	opCut        = "cut"        // a document is made of rows
	opCutDone    = "cut_done"   // that was all of a store
	opPosted     = "posted"     // the ERP has it
	opParked     = "parked"     // it waits for a person
	opRedate     = "redate"     // to a day that is open
	opSplit      = "split"      // lines that hold it up are parked alone
	opRetry      = "retry"      // a person: parked → due
	opDiscard    = "discard"    // a person: it will never be posted
	opGeneration = "generation" // the ledger was restored: keys must be new ones, and nothing is posted
	opAdopt      = "adopt"      // a document that the ERP has and this ledger lost
	opResume     = "resume"     // a person: posting goes on
)

var errChange = errors.New("no change that this book could have written")

// UnmarshalJSON reads a change back and refuses what no book has written.
func (c *Change) UnmarshalJSON(data []byte) error {
	type plain Change
	var p plain
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("decode change: %w", err)
	}
	if why := (*Change)(&p).wrong(); why != "" {
		return fmt.Errorf("decode change: %w: %s", errChange, why)
	}
	*c = Change(p)
	return nil
}

func (c *Change) wrong() string {
	for _, x := range []struct {
		what string
		text string
		most int
	}{{"erp_id", c.ERPID, erpIDBytes}, {"code", c.Code, codeBytes}, {"reason", c.Reason, reasonBytes}, {"who", c.Who, whoBytes}, {"note", c.Note, noteBytes}} {
		if len(x.text) > x.most {
			return fmt.Sprintf("%s has %d bytes", x.what, len(x.text))
		}
	}
	switch c.Op {
	case opOpen, opClose, opCutDone:
		if protocol.CheckName(string(c.Store)) != nil || c.Op != opClose && protocol.CheckName(c.ERP) != nil {
			return fmt.Sprintf("store %.80q, erp %.80q", c.Store, c.ERP)
		}
	case opCut, opAdopt:
		return c.Doc.wrong()
	case opSplit:
		if !isKey(c.Key) || len(c.SKUs) == 0 || len(c.SKUs) > LinesMax {
			return fmt.Sprintf("split of %.80q by %d articles", c.Key, len(c.SKUs))
		}
		return c.Doc.wrong()
	case opPosted, opParked, opRetry, opDiscard, opRedate:
		if !isKey(c.Key) || c.Op == opRedate && (c.Day <= 0 || c.Day > math.MaxUint16) {
			return fmt.Sprintf("key %.80q, day %d", c.Key, c.Day)
		}
	case opGeneration, opResume:
	default:
		return fmt.Sprintf("op %.80q", c.Op)
	}
	return ""
}

func (d *Doc) wrong() string {
	if d == nil {
		return "there is no document"
	}
	n := len(d.Lines)
	if !isKey(d.Key) || protocol.CheckName(d.ERP) != nil || protocol.CheckName(string(d.Store)) != nil || d.Class == ClassNone || d.Class >= classLimit || n == 0 || n > LinesMax || d.Count != n || d.Number == 0 {
		return fmt.Sprintf("document %.80q of %.80q with %d lines", d.Key, d.Store, n)
	}
	var sum protocol.Quantity
	for i := range d.Lines {
		l := &d.Lines[i]
		if l.Qty == 0 || (l.Qty > 0) != (d.Lines[0].Qty > 0) || l.SKU == "" || len(l.Sources) > countSources {
			return fmt.Sprintf("line %d of document %s", i, d.Key)
		}
		sum += l.Qty
	}
	if sum != d.Quantity || d.Day < 0 || d.Day > math.MaxUint16 {
		return fmt.Sprintf("document %s adds up to %s, day %d", d.Key, sum, d.Day)
	}
	return ""
}

// Apply takes a change that stands in the log at an entry. It decides nothing; a
// change about a document that is no longer known does nothing.
func (b *Book) Apply(c *Change, at uint64) {
	switch c.Op {
	case opOpen:
		b.open(c)
	case opClose:
		if a := b.accounts[c.Store]; a != nil {
			a.open, b.dirtyMeta = false, true
		}
	case opCut:
		b.take(c.Doc, at)
	case opCutDone:
		b.cutDone(c)
	case opSplit:
		b.split(c, at)
	case opAdopt:
		b.adopt(c, at)
	case opGeneration:
		b.held = b.held || b.generation != 0
		b.generation, b.dirtyMeta = c.Gen, true
	case opResume:
		b.held, b.dirtyMeta = false, true
	default:
		if d := b.docs[c.Key]; d != nil {
			b.settle(d, c)
		}
	}
}

func (b *Book) open(c *Change) {
	a := b.accounts[c.Store]
	if a == nil {
		a = &Account{store: c.Store, number: len(b.numbered), minDay: math.MaxInt32, rows: map[uint64]row{}, sources: map[uint64][]uint64{}}
		b.accounts[c.Store], b.numbered = a, append(b.numbered, a)
	}
	a.erp, a.open, b.dirtyMeta = c.ERP, true, true
	b.erp(c.ERP)
}

// take moves a document's lines out of their rows.
func (b *Book) take(d *Doc, at uint64) {
	x := *d
	x.At = at
	if a := b.accounts[d.Store]; a != nil {
		for i := range d.Lines {
			l := &d.Lines[i]
			k := rowKey(l.Cell, d.Day, d.Class)
			r := a.rows[k]
			if r.first == 0 { // adopted: what it nets with has not come back yet
				r.first, r.last, a.minDay = at, at, min(a.minDay, d.Day)
			}
			if r.qty -= l.Qty; r.qty == 0 {
				delete(a.rows, k)
				delete(a.sources, k)
			} else {
				a.rows[k] = r
			}
		}
		a.dirty = true
	}
	b.add(&x)
}

func (b *Book) add(d *Doc) {
	b.number, b.dirtyMeta = max(b.number, d.Number), true
	b.docs[d.Key] = d
	b.list = append(b.list, d)
	b.touch(d)
	t := b.erp(d.ERP)
	switch d.State {
	case protocol.PostingDue:
		t.due[d.Key] = d
	case protocol.PostingParked:
		t.parked++
	case protocol.PostingPosted:
		t.posted++
		t.lines += uint64(d.Count)
	case protocol.PostingDiscarded:
	}
	b.bound()
}

// adopt takes a document that the ERP has out of its rows, as if it had been cut
// here: what stores send again nets with it to nothing. Of one that is due or parked
// here the ERP may have been told less, since articles that held it up were split off:
// what it was not told of goes back to the rows.
func (b *Book) adopt(c *Change, at uint64) {
	d := b.docs[c.Doc.Key]
	switch {
	case d == nil:
		b.take(c.Doc, at)
		d = b.docs[c.Doc.Key]
	case d.settled():
		return
	default:
		if a := b.accounts[d.Store]; a != nil {
			a.giveBack(d, c.Doc)
		}
		b.settle(d, &Change{Op: opPosted, NowUS: c.NowUS, ERPID: c.Doc.ERPID, Reason: c.Doc.Reason})
		b.erp(d.ERP).lines -= uint64(d.Count - c.Doc.Count)
		d.At, d.Count, d.Quantity = at, c.Doc.Count, c.Doc.Quantity
	}
	d.Lines, b.adopted, b.dirtyMeta = nil, b.adopted+1, true
}

// giveBack nets what a document has and the ERP's form of it does not.
func (a *Account) giveBack(d, theirs *Doc) {
	for _, l := range d.Lines {
		if slices.ContainsFunc(theirs.Lines, func(t Line) bool { return t.Cell == l.Cell }) {
			continue
		}
		k := rowKey(l.Cell, d.Day, d.Class)
		r, there := a.rows[k]
		if !there {
			r.first, r.last = l.First, l.Last
		}
		r.first, r.last, r.qty = min(r.first, l.First), max(r.last, l.Last), r.qty+l.Qty
		a.rows[k], a.minDay, a.dirty = r, min(a.minDay, d.Day), true
		if len(l.Sources) > 0 {
			sources := append(slices.Clone(l.Sources), a.sources[k]...)
			a.sources[k] = sources[:min(len(sources), countSources)]
		}
	}
}

// bound forgets the oldest settled documents; the log has them.
func (b *Book) bound() {
	if len(b.list) <= docsMax {
		return
	}
	drop := docsMax / 10
	b.list = slices.DeleteFunc(b.list, func(d *Doc) bool {
		if drop == 0 || !d.settled() {
			return false
		}
		drop--
		delete(b.docs, d.Key)
		b.touch(d)
		return true
	})
}

// cutDone drops what came to nothing, and notes when the store was cut.
func (b *Book) cutDone(c *Change) {
	a := b.accounts[c.Store]
	if a == nil {
		return
	}
	a.lastCutUS, a.minDay, a.dirty, b.dirtyMeta = c.NowUS, math.MaxInt32, true, true
	for k, r := range a.rows {
		_, day, _ := cutKey(k)
		if day <= c.Through && r.qty == 0 {
			delete(a.rows, k)
			delete(a.sources, k)
			continue
		}
		a.minDay = min(a.minDay, day)
	}
}

// split parks some lines of a document in one of their own.
func (b *Book) split(c *Change, at uint64) {
	d := b.docs[c.Key]
	if d == nil || d.settled() {
		return
	}
	x := *c.Doc
	x.At = at
	b.add(&x)
	kept := make([]Line, 0, len(d.Lines))
	for _, l := range d.Lines {
		if !slices.Contains(c.SKUs, l.SKU) {
			kept = append(kept, l)
		}
	}
	d.Lines, d.Splits = kept, append(d.Splits, x.Key)
	d.total()
	b.touch(d)
}

// settle takes what became of a document.
func (b *Book) settle(d *Doc, c *Change) {
	t := b.erp(d.ERP)
	b.touch(d)
	b.dirtyMeta = true
	if c.Op == opRedate {
		d.PostDay = c.Day
		return
	}
	if d.settled() {
		return
	}
	if d.State == protocol.PostingParked {
		t.parked--
	}
	delete(t.due, d.Key)
	d.DecidedUS, d.Who, d.Note, d.Code, d.Reason = c.NowUS, c.Who, c.Note, c.Code, c.Reason
	switch c.Op {
	case opPosted:
		d.State, d.ERPID, d.Lines = protocol.PostingPosted, c.ERPID, nil
		t.posted++
		t.lines += uint64(d.Count)
		t.lastUS = c.NowUS
	case opParked:
		d.State = protocol.PostingParked
		t.parked++
	case opRetry:
		d.State = protocol.PostingDue
		t.due[d.Key] = d
	case opDiscard:
		d.State, d.Lines = protocol.PostingDiscarded, nil
		t.discarded++
	}
}

func (b *Book) touch(d *Doc) { b.dirtyDocs[uint32(d.Number%docShards)] = true }
