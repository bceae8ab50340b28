package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tillwire/protocol"
)

const kindResidue = "residue"

// Kinds of residue.
const (
	ResidueTransfer = "transfer"
	ResidueAdvice   = "advice"
)

// ResidueRow is what is left of a transfer or an advice long after it was due.
type ResidueRow struct {
	Kind     string            `json:"kind"` // ResidueTransfer, ResidueAdvice
	Name     string            `json:"name"` // transfer_id or advice_id
	Location protocol.StoreID  `json:"location"`
	SKU      protocol.SKU      `json:"sku"`
	Quantity protocol.Quantity `json:"quantity"` // still expected; below zero: more came than was sent
	SinceUS  int64             `json:"since_us"` // when it was sent, or due
}

type residue struct {
	ResidueRow
	id, source string
	seenUS     int64
}

// residueDecision is remembered while the quantity stays what it was.
type residueDecision struct {
	quantity int64
	state    state
	decision
}

// Residue takes the aged residue as it is now, in place of what was offered
// before. It is no part of the state; what was decided of it is.
func (b *Book) Residue(rows []ResidueRow, nowUS int64) {
	b.residues, b.unlisted = make([]residue, 0, len(rows)), 0
	for _, r := range rows {
		source := r.Kind + ":" + slashes.Replace(r.Name)
		id := strings.ToValidUTF8(source+"/"+string(r.Location)+"/"+string(r.SKU), "\ufffd")
		if !isResidue(id) || len(id) > residueIDBytesMax {
			b.unlisted++
			continue
		}
		b.residues = append(b.residues, residue{ResidueRow: r, source: source, id: id, seenUS: nowUS})
	}
	slices.SortFunc(b.residues, func(x, y residue) int { return cmp.Or(cmp.Compare(x.id, y.id), cmp.Compare(x.SinceUS, y.SinceUS)) })
	b.residues = slices.CompactFunc(b.residues, func(x, y residue) bool { return x.id == y.id })
	if n := len(b.residues) - residuesMax; n > 0 { // the youngest wait for their turn
		slices.SortStableFunc(b.residues, func(x, y residue) int { return cmp.Compare(x.SinceUS, y.SinceUS) })
		b.residues = slices.Clip(b.residues[:residuesMax])
		slices.SortFunc(b.residues, func(x, y residue) int { return cmp.Compare(x.id, y.id) })
		b.unlisted += n
	}
}

// slashes keeps names of transfers from looking like parts of an id.
var slashes = strings.NewReplacer("%", "%25", "/", "%2F")

// isResidue tells ids apart: no source's name has a colon.
func isResidue(id string) bool {
	return strings.HasPrefix(id, ResidueTransfer+":") || strings.HasPrefix(id, ResidueAdvice+":")
}

func (b *Book) residue(id string) *residue {
	if !isResidue(id) {
		return nil
	}
	i, ok := slices.BinarySearchFunc(b.residues, id, func(x residue, id string) int { return cmp.Compare(x.id, id) })
	if !ok {
		return nil
	}
	return &b.residues[i]
}

func (b *Book) residueState(x *residue) state {
	if d := b.decided[x.id]; d != nil && d.quantity == int64(x.Quantity) {
		return d.state
	}
	return stateOpen
}

func (b *Book) viewResidue(x *residue) protocol.Reconciliation {
	v := protocol.Reconciliation{
		ID: x.id, Kind: kindResidue, Source: x.source, Location: x.Location, SKU: x.SKU, AsOf: at(x.SinceUS), Cut: cutNames[cutOwn],
		Book: x.Quantity, Difference: -x.Quantity, Owner: OwnerStore, State: stateNames[stateOpen], FirstAt: at(x.SinceUS), LastAt: at(x.seenUS),
		Actions: []string{protocol.DecideWriteOff, protocol.DecideDismiss},
	}
	v.Reason = fmt.Sprintf("%s of %s %s sent or due %s did not arrive", x.Quantity, x.Kind, x.Name, moment(x.SinceUS))
	if x.Quantity < 0 {
		v.Reason = fmt.Sprintf("%s more than %s %s had came", -x.Quantity, x.Kind, x.Name)
	}
	switch s := b.residueState(x); s { //nolint:exhaustive // nothing else is decided of a residue
	case stateDismissed:
		v.Actions = []string{protocol.DecideWriteOff}
		v.State = stateNames[s]
		decidedBy(&v, &b.decided[x.id].decision)
	case stateAdopted:
		v.Actions = []string{}
		v.State = stateNames[s]
		decidedBy(&v, &b.decided[x.id].decision)
	}
	return v
}

func (b *Book) decideResidue(d *Decision, to state, x *decision) {
	b.decided[d.ID] = &residueDecision{quantity: d.Quantity, state: to, decision: *x}
	b.dirtyResidues[hash(residueShards, d.ID)] = true
	if len(b.decided) <= residueDecidedMax {
		return
	}
	ids := make([]string, 0, len(b.decided))
	for id := range b.decided {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y string) int {
		return cmp.Or(cmp.Compare(b.decided[x].us, b.decided[y].us), cmp.Compare(x, y))
	})
	for _, id := range ids[:residueDecidedMax/dropShare] {
		delete(b.decided, id)
		b.dirtyResidues[hash(residueShards, id)] = true
		b.drops.Decided++
	}
	b.dirtyBook = true
}
