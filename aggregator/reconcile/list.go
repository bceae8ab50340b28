package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

// Filter selects rows; empty fields match all.
type Filter struct {
	Source   string
	Location protocol.StoreID
	SKU      protocol.SKU
	State    string // open | adopted | dismissed | settled
	Kind     string // drift | mass_zeroing | residue
	After    string // the id of the last row of the page before
	Limit    int    // 0 = pageMax, which is also the most
}

// Open is how many rows wait for a statement or a person, residues included.
func (b *Book) Open() int {
	n := b.open
	for i := range b.residues {
		if b.residueState(&b.residues[i]) == stateOpen {
			n++
		}
	}
	return n
}

// OpenAt lists the articles of a source's rows at a location that are not settled:
// a complete statement that does not name them says zero of them.
func (b *Book) OpenAt(source string, loc protocol.StoreID) []protocol.SKU {
	p := b.lookup(source, loc)
	if p == nil || p.states[stateOpen]+p.states[stateDismissed] == 0 {
		return nil
	}
	var out []protocol.SKU
	for _, sku := range p.sorted() {
		if sku != "" && !p.rows[sku].agrees() {
			out = append(out, sku)
		}
	}
	return out
}

// Get returns one row.
func (b *Book) Get(id string) (protocol.Reconciliation, bool) {
	if x := b.residue(id); x != nil {
		return b.viewResidue(x), true
	}
	source, loc, sku := cutID(id)
	if p := b.lookup(source, loc); p != nil && p.rows[sku] != nil {
		return b.view(p.rows[sku]), true
	}
	return protocol.Reconciliation{}, false
}

// cutID takes {source}/{location}/{sku} apart.
func cutID(id string) (source string, loc protocol.StoreID, sku protocol.SKU) {
	source, rest, _ := strings.Cut(id, "/")
	l, s, _ := strings.Cut(rest, "/")
	return source, protocol.StoreID(l), protocol.SKU(s)
}

// List returns rows in order of source, location and SKU, then the residues. It
// costs the rows of the locations that have one in the state asked for.
func (b *Book) List(f Filter) []protocol.Reconciliation {
	if f.Limit <= 0 || f.Limit > pageMax {
		f.Limit = pageMax
	}
	out := []protocol.Reconciliation{}
	if f.Kind != kindResidue && !isResidue(f.After) {
		out = b.listRows(&f, out)
	}
	for i := range b.residues {
		x := &b.residues[i]
		if len(out) == f.Limit || f.Kind != "" && f.Kind != kindResidue {
			break
		}
		if isResidue(f.After) && x.id <= f.After || f.Location != "" && x.Location != f.Location || f.SKU != "" && x.SKU != f.SKU || f.Source != "" && x.source != f.Source {
			continue
		}
		if f.State == "" || stateNames[b.residueState(x)] == f.State {
			out = append(out, b.viewResidue(x))
		}
	}
	return out
}

func (b *Book) listRows(f *Filter, out []protocol.Reconciliation) []protocol.Reconciliation {
	at := 0
	var source string
	var loc protocol.StoreID
	var after protocol.SKU
	if f.After != "" {
		source, loc, after = cutID(f.After)
		at, _ = slices.BinarySearchFunc(b.pairs, &pair{place: &place{location: loc}, source: source}, comparePairs)
	}
	state := slices.Index(stateNames[:], f.State)
	if f.State != "" && state < 0 {
		return out
	}
	for _, p := range b.pairs[at:] {
		if f.Source != "" && p.source != f.Source || f.Location != "" && p.location != f.Location || state >= 0 && p.states[state] == 0 {
			continue
		}
		behind := f.After != "" && p.source == source && p.location == loc
		for _, sku := range p.some(f) {
			r := p.rows[sku]
			if behind && sku <= after || r == nil || f.State != "" && int(r.state) != state || f.Kind != "" && kindNames[r.kind] != f.Kind {
				continue
			}
			if out = append(out, b.view(r)); len(out) == f.Limit {
				return out
			}
		}
	}
	return out
}

// some are the SKUs of a pair that a filter may want, sorted.
func (p *pair) some(f *Filter) []protocol.SKU {
	switch {
	case f.Kind == kindNames[kindZeroing]:
		return []protocol.SKU{""}
	case f.SKU != "":
		return []protocol.SKU{f.SKU}
	}
	return p.sorted()
}

func (p *pair) sorted() []protocol.SKU {
	if p.order == nil {
		p.order = make([]protocol.SKU, 0, len(p.rows))
		for sku := range p.rows {
			p.order = append(p.order, sku)
		}
		slices.Sort(p.order)
	}
	return p.order
}

func (b *Book) view(r *row) protocol.Reconciliation {
	p := r.pair
	owner := b.owner(p.place)
	owned := owns(p.source, owner)
	v := protocol.Reconciliation{
		ID: p.source + "/" + string(p.location), Kind: kindNames[r.kind], Source: p.source, Location: p.location, SKU: r.sku,
		SnapshotID: r.snapshot, AsOf: at(r.asOfUS), Cut: cutNames[r.cut], Stated: protocol.Quantity(r.stated), Book: protocol.Quantity(r.book),
		Difference: protocol.Quantity(r.stated - r.book), Cycles: int(r.cycles), Owner: owner, State: stateNames[r.state],
		FirstAt: at(r.firstUS), LastAt: at(r.lastUS), Actions: b.actions(r, owned), Reason: b.reason(r, owner, owned),
	}
	if r.sku != "" {
		v.ID += "/" + string(r.sku)
	}
	if r.whole != nil {
		v.Exceptions = slices.Clone(r.whole.exceptions)
	} else if owned {
		v.Needed = b.rules.AgreeCycles
	}
	decidedBy(&v, r.decision)
	return v
}

func decidedBy(v *protocol.Reconciliation, d *decision) {
	if d != nil {
		v.DecidedAt, v.DecidedBy, v.Note = at(d.us), d.who, d.note
	}
}

// at shows a moment; what no calendar of JSON has becomes its end.
func at(us int64) time.Time { return time.UnixMicro(max(0, min(us, momentMaxUS))).UTC() }

// reason says in words why a row is in its state.
func (b *Book) reason(r *row, owner string, owned bool) string {
	switch {
	case r.decision != nil && r.state == stateAdopted:
		return "approved by " + r.decision.who
	case r.decision != nil:
		return "dismissed by " + r.decision.who + "; it opens again when the difference changes"
	case r.whole != nil && r.state == stateSettled:
		return "a newer statement was taken"
	case r.whole != nil:
		return zeroingReason(r.whole.zeroed, r.whole.nonZero)
	case r.state == stateSettled:
		return "the statement and the book agree"
	case r.state == stateAdopted:
		return [...]string{
			whyNone: "adopted", whyCycles: fmt.Sprintf("the same difference was stated %d times in a row", r.cycles),
			whyCertain: "its cut is certain: " + cutNames[r.cut], whyFirst: "it is the position's first number", whyApproved: "the whole statement was approved",
		}[r.why]
	case !owned:
		return notRecord(r.pair.source, owner)
	}
	return fmt.Sprintf("movements of other journals stand too close to the statement's moment; taken when %d statements agree, this is number %d", b.rules.AgreeCycles, r.cycles)
}
