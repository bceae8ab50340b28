package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"tillwire/protocol"
)

// Decide makes a person's decision of a row; nil where it was decided so before.
// What the caller must journal with it stands in Decided.Adoption.
func (b *Book) Decide(id, action, who, note string, nowUS int64) (*Change, *protocol.Problem) {
	v, ok := b.Get(id)
	if !ok {
		return nil, protocol.NewProblem(404, "unknown_reconciliation", "No such reconciliation", clip(id, 200), "GET /v1/reconciliations lists them")
	}
	if done := map[string]string{protocol.DecideAdopt: "adopted", protocol.DecideDismiss: "dismissed", protocol.DecideWriteOff: "adopted"}[action]; done == v.State && !v.DecidedAt.IsZero() {
		return nil, nil //nolint:nilnil // no change and no problem
	}
	if !slices.Contains(v.Actions, action) {
		return nil, protocol.NewProblem(409, "reconciliation_state", "This cannot be decided so now",
			fmt.Sprintf("%s is %s, of %s: %s", v.ID, v.State, v.Owner, v.Reason), fmt.Sprintf("what may be decided now: %v", v.Actions))
	}
	switch {
	case len(note) > noteBytesMax:
		return nil, protocol.NewProblem(422, "invalid_field", "The note is too long", fmt.Sprintf("/note has %d bytes", len(note)), fmt.Sprintf("use at most %d", noteBytesMax))
	case action == protocol.DecideDismiss && note == "":
		return nil, protocol.NewProblem(422, "note_required", "A dismissal needs a note", "/note is empty", "say what explains the difference, for whoever looks next")
	}
	d := &Decision{ID: id, Action: action, Who: clip(who, whoBytesMax), Note: strings.ToValidUTF8(note, ""), SKU: string(v.SKU)}
	c := &Change{Source: v.Source, Location: v.Location, SnapshotID: v.SnapshotID, AsOfUS: v.AsOf.UnixMicro(), NowUS: nowUS, Decided: d}
	if x := b.residue(id); x != nil {
		d.Residue, d.Quantity = true, int64(x.Quantity)
		if action == protocol.DecideWriteOff {
			d.Adoption = &Adoption{Action: action, Location: x.Location, SKU: x.SKU, Residue: &x.ResidueRow}
		}
		return c, nil
	}
	if action == protocol.DecideAdopt {
		d.Adoption = &Adoption{
			Action: action, Source: v.Source, Location: v.Location, SKU: v.SKU, SnapshotID: v.SnapshotID, Stated: v.Stated,
			AsOfUS: v.AsOf.UnixMicro(), Exceptions: v.Exceptions,
		}
	}
	return c, nil
}

func (b *Book) applyDecision(c *Change) {
	d := c.Decided
	x := &decision{us: c.NowUS, who: d.Who, note: d.Note}
	to := stateDismissed
	if d.Action != protocol.DecideDismiss {
		to = stateAdopted
	}
	if d.Residue {
		b.decideResidue(d, to, x)
		return
	}
	p := b.lookup(c.Source, c.Location)
	if p == nil || p.rows[protocol.SKU(d.SKU)] == nil {
		return // it was dropped at a bound
	}
	b.edit(p, protocol.SKU(d.SKU), func(r *row) {
		r.state, r.decision, r.why = to, x, whyNone
		if to == stateAdopted {
			r.why = whyApproved
		}
	})
	if to == stateAdopted {
		p.adoptedUS = max(p.adoptedUS, c.AsOfUS)
		b.dirtyPlaces[hash(placeShards, string(p.location))] = true
	}
}

// actions are what may be decided of a row now.
func (b *Book) actions(r *row, owned bool) []string {
	adopt := owned && (r.whole == nil || r.asOfUS >= r.pair.adoptedUS)
	switch {
	case r.state == stateOpen && adopt:
		return []string{protocol.DecideAdopt, protocol.DecideDismiss}
	case r.state == stateOpen:
		return []string{protocol.DecideDismiss}
	case r.state == stateDismissed && adopt:
		return []string{protocol.DecideAdopt}
	}
	return []string{}
}
