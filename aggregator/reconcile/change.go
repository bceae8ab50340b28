package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"tillwire/protocol"
)

// Change is one journaled step of the book: a judged statement (its rows in
// columns), a refused one, or a person's decision. Quantities are thousandths.
type Change struct {
	Source     string           `json:"source"`
	Location   protocol.StoreID `json:"location"`
	Type       string           `json:"type,omitempty"`
	Agents     bool             `json:"agents,omitempty"`
	SnapshotID string           `json:"snapshot_id,omitempty"`
	AsOfUS     int64            `json:"as_of_us,omitempty"`
	NowUS      int64            `json:"now_us"`
	Needed     int              `json:"needed,omitempty"`  // agreeing statements, by the rules of then
	Taken      bool             `json:"taken,omitempty"`   // lines became anchors
	Settles    bool             `json:"settles,omitempty"` // what was refused before is overtaken

	SKUs   []protocol.SKU `json:"skus,omitempty"`
	Ops    string         `json:"ops,omitempty"`  // a letter for each: what becomes of its row
	Cuts   string         `json:"cuts,omitempty"` // a letter for each: w own, k acknowledged, i inferred
	Stated []int64        `json:"stated,omitempty"`
	Book   []int64        `json:"book,omitempty"`
	Cycles []uint32       `json:"cycles,omitempty"`

	Refused *Refusal  `json:"refused,omitempty"`
	Decided *Decision `json:"decided,omitempty"`
}

// Refusal is of a whole statement.
type Refusal struct {
	Zeroed     int64    `json:"zeroed"`
	NonZero    int64    `json:"non_zero"`
	Exceptions []string `json:"exceptions,omitempty"` // the caller's: under which its parts are parked
}

// Decision is what a person decided of a row.
type Decision struct {
	ID       string    `json:"id"`
	Action   string    `json:"action"`
	Who      string    `json:"who"`
	Note     string    `json:"note,omitempty"`
	SKU      string    `json:"sku,omitempty"`      // "" for a whole statement
	Quantity int64     `json:"quantity,omitempty"` // residues: of which it was decided
	Residue  bool      `json:"residue,omitempty"`
	Adoption *Adoption `json:"adoption,omitempty"`
}

// Adoption is what the caller must journal with a decision: an anchor of one
// position, the parked parts of a whole statement once more, or the write-off of a
// residue.
type Adoption struct {
	Action     string            `json:"action"` // adopt | write_off
	Source     string            `json:"source,omitempty"`
	Location   protocol.StoreID  `json:"location"`
	SKU        protocol.SKU      `json:"sku,omitempty"` // "" = the whole statement
	SnapshotID string            `json:"snapshot_id,omitempty"`
	Stated     protocol.Quantity `json:"stated"`
	AsOfUS     int64             `json:"as_of_us,omitempty"`
	Exceptions []string          `json:"exceptions,omitempty"` // whole: those to retry
	Residue    *ResidueRow       `json:"residue,omitempty"`    // write_off: of what
}

// What becomes of a row: letters in Change.Ops.
const (
	opOpen     = 'o' // a new difference
	opDiffers  = 'd' // the difference is another
	opAgain    = 'g' // the same difference once more
	opSettle   = 's' // they agree
	opCycles   = 'n' // adopted: stated often enough
	opCertain  = 'c' // adopted: the cut is certain
	opFirst    = 'f' // adopted: the position had no anchor
	opApproved = 'a' // adopted with the whole statement, by a person
	opsKnown   = "odgsncfa"
	cutLetters = "wki"
)

var errChange = errors.New("no change that this book could have written")

// UnmarshalJSON reads a change back and refuses what no book has written: a
// journal may be damaged, and what is applied is believed.
func (c *Change) UnmarshalJSON(data []byte) error {
	type plain Change
	var p plain
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("decode change: %w", err)
	}
	if err := (*Change)(&p).check(); err != nil {
		return fmt.Errorf("decode change: %w", err)
	}
	*c = Change(p)
	return nil
}

func (c *Change) check() error {
	if d := c.Decided; d != nil && (len(d.Who) > whoBytesMax || len(d.Note) > noteBytesMax) {
		return fmt.Errorf("%w: who of %d bytes, note of %d", errChange, len(d.Who), len(d.Note))
	}
	if d := c.Decided; d != nil && d.Residue {
		if d.Action != protocol.DecideDismiss && d.Action != protocol.DecideWriteOff || !isResidue(d.ID) || len(d.ID) > residueIDBytesMax {
			return fmt.Errorf("%w: %.40q of residue %.80q", errChange, d.Action, d.ID)
		}
		return nil
	}
	for _, name := range []string{c.Source, string(c.Location)} {
		if err := protocol.CheckName(name); err != nil {
			return fmt.Errorf("%w: name %.80q: %w", errChange, name, err)
		}
	}
	if len(c.SnapshotID) > snapshotIDBytesMax || len(c.Type) > protocol.NameBytesMax {
		return fmt.Errorf("%w: snapshot id of %d bytes, type of %d", errChange, len(c.SnapshotID), len(c.Type))
	}
	if d := c.Decided; d != nil && d.Action != protocol.DecideDismiss && d.Action != protocol.DecideAdopt {
		return fmt.Errorf("%w: %.40q", errChange, d.Action)
	}
	n := len(c.SKUs)
	if n > changeRowsMax || len(c.Ops) != n || len(c.Cuts) != n || len(c.Stated) != n || len(c.Book) != n || len(c.Cycles) != n {
		return fmt.Errorf("%w: columns of %d rows are not of one length", errChange, n)
	}
	for i := range n {
		if !possible(c.SKUs[i]) || strings.IndexByte(opsKnown, c.Ops[i]) < 0 || strings.IndexByte(cutLetters, c.Cuts[i]) < 0 || c.Cycles[i] > cyclesMax {
			return fmt.Errorf("%w: row %d", errChange, i)
		}
	}
	return nil
}

// Apply takes a change, live or on replay. It decides nothing.
func (b *Book) Apply(c *Change) {
	if c.Decided != nil {
		b.applyDecision(c)
		return
	}
	p := b.pair(c.Source, c.Location)
	b.told(p, c)
	if c.Taken {
		p.adoptedUS = max(p.adoptedUS, c.AsOfUS)
	}
	if w := p.rows[""]; c.Settles && w != nil && w.state == stateOpen {
		b.edit(p, "", func(r *row) { r.state, r.lastUS = stateSettled, c.NowUS })
	}
	if c.Refused != nil {
		b.applyRefusal(p, c)
	}
	for i, sku := range c.SKUs {
		b.edit(p, sku, func(r *row) { r.step(c, i) })
	}
	b.bound(p.place)
}

// told takes what a statement tells of its location.
func (b *Book) told(p *pair, c *Change) {
	p.place.stated(c.Source, c.Type, c.Agents)
	b.dirtyPlaces[hash(placeShards, string(p.location))] = true
}

func (b *Book) applyRefusal(p *pair, c *Change) {
	b.edit(p, "", func(r *row) {
		if r.whole == nil || r.snapshot != c.SnapshotID {
			*r = row{pair: p, next: r.next, kind: kindZeroing, firstUS: c.NowUS, snapshot: c.SnapshotID, cut: cutInferred, whole: &whole{}}
		}
		r.asOfUS, r.lastUS = c.AsOfUS, c.NowUS
		r.whole.zeroed, r.whole.nonZero = c.Refused.Zeroed, c.Refused.NonZero
		for _, id := range c.Refused.Exceptions {
			r.whole.park(id)
		}
	})
}

// step is what one statement makes of a row.
func (r *row) step(c *Change, i int) {
	if r.firstUS == 0 || r.agrees() {
		r.firstUS = c.NowUS
	}
	if op := c.Ops[i]; op == opOpen || op == opDiffers {
		r.state, r.decision, r.why = stateOpen, nil, whyNone
	}
	switch c.Ops[i] {
	case opSettle:
		r.state, r.decision, r.why = stateSettled, nil, whyNone
	case opCycles:
		r.adopted(whyCycles)
	case opCertain:
		r.adopted(whyCertain)
	case opFirst:
		r.adopted(whyFirst)
	case opApproved:
		r.adopted(whyApproved)
	}
	r.cut = cut(strings.IndexByte(cutLetters, c.Cuts[i]))
	r.stated, r.book, r.cycles = c.Stated[i], c.Book[i], c.Cycles[i]
	r.asOfUS, r.lastUS = c.AsOfUS, c.NowUS
	if r.snapshot != c.SnapshotID {
		r.snapshot = c.SnapshotID
	}
}

func (r *row) adopted(w why) { r.state, r.why, r.decision = stateAdopted, w, nil }

// park notes under which exception a part is kept, once.
func (w *whole) park(id string) {
	for _, x := range w.exceptions {
		if x == id {
			return
		}
	}
	if len(w.exceptions) < exceptionsMax && len(id) <= protocol.IDBytesMax {
		w.exceptions = append(w.exceptions, id)
	}
}
