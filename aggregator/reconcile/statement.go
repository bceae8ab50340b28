package reconcile

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"tillwire/protocol"
)

// Statement is what a system says of a location's on hand, and what the book had.
// Of a complete one the caller adds a line with 0 for each key that it does not
// name, where the book is not zero or a row of this source is open (see OpenAt).
// A statement of many lines may be judged in parts with one SnapshotID; an
// article belongs into one part.
type Statement struct {
	Source       string
	SnapshotID   string
	Location     protocol.StoreID
	Type         string // store | dc
	HasAgents    bool   // agents journal there
	AsOfUS       int64
	NowUS        int64
	Complete     bool
	Acknowledged bool // it says what it had processed of each journal
	Lines        []Line
	Zeroed       int // of the whole statement: keys that it would zero …
	NonZero      int // … of those that are not zero
}

// Line is one article of a statement. Lines of one article add up.
type Line struct {
	SKU      protocol.SKU
	Stated   protocol.Quantity
	Book     protocol.Quantity // at the statement's cut
	Anchored bool              // the position was counted or stated before
	Foreign  bool              // movements of other journals stand within the clock error of as_of: the cut is uncertain
}

// Refusals of a whole statement.
const (
	RefusedOlder      = "snapshot_older"
	RefusedZeroing    = "mass_zeroing"
	RefusedImpossible = "statement_impossible" // a name that no source or location can have
	RefusedLocations  = "too_many_locations"
)

// Judgement is what becomes of a statement. The caller journals the statement
// with the stances, or parks it where it is refused, then journals and applies
// the changes, all in one commit.
type Judgement struct {
	Refused string // "" = it is taken or kept as drift; else Refused…
	Reason  string
	Owner   string
	Cut     string            // own | acknowledged | inferred, of its least certain line
	Stances []protocol.Stance // of each line; nil where it is refused
	Whole   bool              // every line is taken: what it does not name may be zeroed with it
	Changes []*Change         // each fits into a record; none where nothing changes
}

// Judge decides what becomes of a statement. It changes nothing.
func (b *Book) Judge(st *Statement) *Judgement {
	pl := place{location: st.Location}
	if known := b.places[st.Location]; known != nil {
		pl.first = known.first
	}
	pl.stated(st.Source, st.Type, st.HasAgents)
	was := b.lookup(st.Source, st.Location)
	if was == nil {
		was = &pair{place: &pl, source: st.Source}
	}
	j := hearing{b: b, st: st, was: was, whole: was.rows[""], atUS: max(0, min(st.AsOfUS, st.NowUS))}
	j.Owner = b.owner(&pl)
	j.owned = owns(st.Source, j.Owner)
	if j.impossible() || j.owned && j.refuse() {
		return &j.Judgement
	}
	j.approved = j.owned && j.isApproved()
	j.lines()
	j.conclude(&pl)
	return &j.Judgement
}

// hearing is one judgement in the making. Of what a clock that runs ahead states of
// the future, now is remembered, so that it does not shut out what comes after.
type hearing struct {
	Judgement
	b        *Book
	st       *Statement
	was      *pair
	whole    *row
	atUS     int64
	owned    bool
	approved bool
	taken    int
}

func (j *hearing) isApproved() bool {
	return j.whole != nil && j.whole.state == stateAdopted && j.whole.snapshot == j.st.SnapshotID
}

// impossible keeps what could not be applied out of the journal.
func (j *hearing) impossible() bool {
	if err := j.change().check(); err != nil {
		j.Refused, j.Reason = RefusedImpossible, err.Error()
		return true
	}
	if len(j.b.pairs) >= pairsMax && j.b.lookup(j.st.Source, j.st.Location) == nil {
		j.Refused, j.Reason = RefusedLocations, fmt.Sprintf("%d sources of locations are known, which is the most", pairsMax)
		return true
	}
	return false
}

// refuse turns a whole statement away. An older one needs no row: what it is older
// than is the answer.
func (j *hearing) refuse() bool {
	st := j.st
	if st.AsOfUS < j.was.adoptedUS {
		j.Refused = RefusedOlder
		j.Reason = fmt.Sprintf("as of %s, but one of %s as of %s is taken already", moment(st.AsOfUS), st.Source, moment(j.was.adoptedUS))
		return true
	}
	r := &j.b.rules
	if st.NonZero < r.ZeroKeysMin || float64(st.Zeroed) <= r.ZeroShareMax*float64(st.NonZero) || j.isApproved() {
		return false
	}
	j.Refused = RefusedZeroing
	j.Reason = zeroingReason(int64(st.Zeroed), int64(st.NonZero))
	c := j.change()
	c.Refused = &Refusal{Zeroed: int64(st.Zeroed), NonZero: int64(st.NonZero)}
	j.Changes = []*Change{c}
	return true
}

func (j *hearing) change() *Change {
	st := j.st
	return &Change{
		Source: st.Source, Location: st.Location, Type: st.Type, Agents: st.HasAgents, SnapshotID: clip(st.SnapshotID, snapshotIDBytesMax),
		AsOfUS: j.atUS, NowUS: st.NowUS, Needed: j.b.rules.AgreeCycles,
	}
}

// lines judges each line. The cut of the whole is that of its least certain line.
func (j *hearing) lines() {
	worst := cutOwn
	if j.st.Acknowledged {
		worst = cutAcknowledged
	}
	j.Stances = make([]protocol.Stance, len(j.st.Lines))
	first := make(map[protocol.SKU]int, len(j.st.Lines))
	sums := j.st.Lines
	for i := range j.st.Lines {
		l := &j.st.Lines[i]
		if at, twice := first[l.SKU]; twice {
			if &sums[0] == &j.st.Lines[0] {
				sums = append([]Line(nil), j.st.Lines...)
			}
			sums[at].Stated += l.Stated
			sums[at].Foreign = sums[at].Foreign || l.Foreign
			continue
		}
		first[l.SKU] = i
	}
	for i := range sums {
		at := first[sums[i].SKU]
		if at < i {
			j.Stances[i] = j.Stances[at]
			continue
		}
		v := j.line(&sums[i])
		worst = max(worst, v.cut)
		j.Stances[i] = protocol.StanceDrift
		if v.anchor {
			j.Stances[i] = protocol.StanceAnchor
			j.taken++
		}
		if v.op != 0 {
			j.note(&sums[i], &v)
		}
	}
	j.Cut = cutNames[worst]
	j.Whole = j.owned && worst != cutInferred
	for _, s := range j.Stances {
		j.Whole = j.Whole && s == protocol.StanceAnchor
	}
}

// note adds what becomes of a row to the changes.
func (j *hearing) note(l *Line, v *verdict) {
	n := len(j.Changes)
	if n == 0 || len(j.Changes[n-1].SKUs) == changeRowsMax {
		j.Changes = append(j.Changes, j.change())
		n++
	}
	c := j.Changes[n-1]
	c.SKUs = append(c.SKUs, l.SKU)
	c.Ops += string(v.op)
	c.Cuts += string(cutLetters[v.cut])
	c.Stated = append(c.Stated, int64(l.Stated))
	c.Book = append(c.Book, int64(l.Book))
	c.Cycles = append(c.Cycles, v.cycles)
}

// verdict is what becomes of one line.
type verdict struct {
	anchor bool
	op     byte // what becomes of its row; 0 = nothing
	cut    cut
	cycles uint32
}

// line judges one line: see README.md for the picture.
func (j *hearing) line(l *Line) verdict {
	v := verdict{cut: cutOwn}
	if !possible(l.SKU) {
		return v // stays drift, without a row
	}
	r := j.was.rows[l.SKU]
	switch {
	case j.st.Acknowledged:
		v.cut = cutAcknowledged
	case l.Foreign:
		v.cut = cutInferred
	}
	late := r != nil && j.atUS < r.asOfUS // of a row, only the newest statement counts
	if l.Stated == l.Book {
		v.anchor = j.owned
		if r != nil && !r.agrees() && !late {
			v.op, v.cycles = opSettle, r.cycles
		}
		return v
	}
	why := byte(0)
	switch {
	case !j.owned:
	case j.approved:
		why = opApproved
	case !l.Anchored:
		why = opFirst
	case v.cut != cutInferred:
		why = opCertain
	}
	if why != 0 {
		v.anchor = true
		if r != nil && !r.agrees() && !late {
			v.op, v.cycles = why, r.cycles
		}
		return v
	}
	if !late {
		j.differs(l, r, &v)
	}
	return v
}

// differs judges a difference that is not taken at once.
func (j *hearing) differs(l *Line, r *row, v *verdict) {
	live := r != nil && !r.agrees()
	same := live && r.stated-r.book == int64(l.Stated)-int64(l.Book)
	if same && j.atUS == r.asOfUS {
		return // the same statement again is no further one
	}
	switch v.cycles = 1; {
	case same:
		v.cycles, v.op = min(r.cycles+1, cyclesMax), opAgain
		if r.state == stateDismissed {
			return // somebody has explained this difference
		}
	case live:
		v.op = opDiffers
	default:
		v.op = opOpen
	}
	if j.owned && int(v.cycles) >= j.b.rules.AgreeCycles {
		v.anchor = true
		v.op = opCycles
	}
}

// conclude notes what the statement tells of the source and the location.
func (j *hearing) conclude(pl *place) {
	j.Reason = fmt.Sprintf("%d of %d lines are taken, the others are kept as drift", j.taken, len(j.Stances))
	if !j.owned {
		j.Reason = "kept as evidence: " + notRecord(j.st.Source, j.Owner)
	}
	settles := j.st.Complete && j.owned && j.whole != nil && j.whole.state == stateOpen && j.whole.snapshot != j.st.SnapshotID && j.atUS >= j.whole.asOfUS
	taken := j.owned && (j.taken > 0 || len(j.st.Lines) == 0) && j.atUS > j.was.adoptedUS
	known := j.b.places[j.st.Location]
	news := known == nil || known.kind != pl.kind || known.agents != pl.agents || known.first != pl.first
	if len(j.Changes) == 0 && (settles || taken || news) {
		j.Changes = []*Change{j.change()}
	}
	if len(j.Changes) > 0 {
		c := j.Changes[0]
		c.Taken, c.Settles = taken, settles
	}
}

func notRecord(source, owner string) string {
	if owner == OwnerStore {
		return source + " is not the record here, the shop's own journals are"
	}
	return fmt.Sprintf("%s is not the record here, %s is", source, owner)
}

func zeroingReason(zeroed, nonZero int64) string {
	return fmt.Sprintf("it would set %d of %d articles with stock to zero", zeroed, nonZero)
}

func moment(us int64) string { return at(us).Format(time.RFC3339) }

// clip keeps a text within n bytes, and as JSON would give it back.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// possible tells whether a row can be about an article: SKU "" is the whole
// statement.
func possible(sku protocol.SKU) bool {
	return sku != "" && len(sku) <= protocol.SKUBytesMax && utf8.ValidString(string(sku))
}
