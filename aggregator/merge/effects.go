package merge

import (
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Items read a line's article and unit of measure as they were known when an
// entry was merged. They append to into what moves, in base units; a kit's parts
// only with explode.
type Items interface {
	// Plain tells that nothing is known of any article: each line is what it says.
	Plain() bool
	Resolve(sku protocol.SKU, qty protocol.Quantity, uom string, at ledger.Position, explode bool, into []protocol.HoldLine) ([]protocol.HoldLine, Reading)
}

// Reading says how a line was read.
type Reading struct {
	Version     uint64 // of the item; 0 = no master data
	Kit         bool   // exploded into its parts
	Converted   bool
	UnknownUnit bool // counted under the raw code
	UnknownSKU  bool // not in the master data; counted all the same
}

// Effect is what one line of a document does to one (location, SKU).
type Effect struct {
	Location    protocol.StoreID
	SKU         protocol.SKU
	OnHand      protocol.Quantity
	Unavailable protocol.Quantity
	Of          protocol.Disposition // what Unavailable is of
	Flow        protocol.Quantity    // of the document's transfer or advice
	Line        int                  // index into Event.Lines
	Anchor      bool
}

// effects works out what documents do; it keeps the scratch that this needs.
type effects struct {
	items  Items
	pieces []protocol.HoldLine
	notes  *[]Note // nil: nobody wants to know

	version uint64 // greatest of the items that lines were read with
}

// EffectsOf lists the effects of a document's lines in their order, as known at
// a position. Voids have none of their own: they take back those of their
// original (see Negate). Anchors carry the counted quantity in OnHand.
func (x *effects) of(e *protocol.Event, at ledger.Position, into []Effect) []Effect {
	plain := x.items == nil || x.items.Plain()
	for i := range e.Lines {
		l := &e.Lines[i]
		if plain {
			into = lineEffects(e, l, i, l.SKU, l.Quantity, into)
			continue
		}
		explode := e.Kind != protocol.KindCount && e.Kind != protocol.KindSnapshot && e.Kind != protocol.KindKit
		var how Reading
		x.pieces, how = x.items.Resolve(l.SKU, l.Quantity, l.UOM, at, explode, x.pieces[:0])
		x.version = max(x.version, how.Version)
		for k := range x.pieces {
			into = lineEffects(e, l, i, x.pieces[k].SKU, x.pieces[k].Quantity, into)
		}
		if x.notes != nil && (how.UnknownSKU || how.UnknownUnit) {
			x.note(l, how)
		}
	}
	return into
}

func lineEffects(e *protocol.Event, l *protocol.Line, i int, sku protocol.SKU, qty protocol.Quantity, into []Effect) []Effect {
	f := Effect{Location: e.Store, SKU: sku, Line: i}
	switch e.Kind { //nolint:exhaustive // voids, clocks and the aggregator's own kinds move nothing by themselves
	case protocol.KindSale:
		f.OnHand = -qty
	case protocol.KindReturn:
		f.OnHand = qty
		if d := returnedAs(e, l); unsellable(d) {
			f.Unavailable, f.Of = qty, d
		}
	case protocol.KindReceipt, protocol.KindAdjustment:
		f.OnHand = qty
		if unsellable(l.Disposition) {
			f.Unavailable, f.Of = qty, l.Disposition
		}
		if e.AdviceID != "" && e.Kind == protocol.KindReceipt {
			f.Flow = -qty
		}
	case protocol.KindTransfer:
		switch {
		case e.Action == actionWriteOff:
			f.Flow = -qty // what never came: nothing moves but the residue
		case e.Direction == protocol.DirectionOut:
			f.OnHand = -qty
			into = append(into, Effect{Location: e.Counterparty, SKU: sku, Flow: qty, Line: i})
		default:
			f.OnHand, f.Flow = qty, -qty
		}
	case protocol.KindAdvice:
		f.Flow = qty
		if e.Action == actionWriteOff {
			f.Flow = -qty
		}
	case protocol.KindStatusChange:
		if unsellable(l.From) {
			into = append(into, Effect{Location: e.Store, SKU: sku, Unavailable: -qty, Of: l.From, Line: i})
		}
		if !unsellable(l.To) {
			return into
		}
		f.Unavailable, f.Of = qty, l.To
	case protocol.KindKit:
		f.OnHand = qty
		if e.Action == "break" {
			f.OnHand = -qty
		}
	case protocol.KindHold:
		if e.Action != protocol.HoldCollected {
			return into
		}
		f.OnHand = -qty
	case protocol.KindCount:
		f.OnHand, f.Anchor = qty, true
	case protocol.KindSnapshot:
		if l.Stance != protocol.StanceAnchor {
			return into
		}
		f.OnHand, f.Anchor = qty, true
	default:
		return into
	}
	return append(into, f)
}

// actionWriteOff closes what is left of a transfer or an advice.
const actionWriteOff = "write_off"

func unsellable(d protocol.Disposition) bool {
	return d >= protocol.DispositionDamaged && d < protocol.DispositionDamaged+protocol.DispositionsUnsellable
}

// returnedAs: a return without receipt is unavailable until somebody has judged
// the goods; one against its sale is sellable unless it says otherwise.
func returnedAs(e *protocol.Event, l *protocol.Line) protocol.Disposition {
	switch {
	case l.Disposition != protocol.DispositionNone:
		return l.Disposition
	case e.OriginalDocument != "":
		return protocol.DispositionSellable
	}
	return protocol.DispositionUnknown
}

// Negate turns effects round: what a void does.
func Negate(fx []Effect) {
	for i := range fx {
		f := &fx[i]
		f.OnHand, f.Unavailable, f.Flow = -f.OnHand, -f.Unavailable, -f.Flow
	}
}

// Voidable are the kinds that a post-void can cancel, in the order in which a
// void without voids_kind looks for its original.
var Voidable = []protocol.Kind{
	protocol.KindSale, protocol.KindReturn, protocol.KindReceipt,
	protocol.KindAdjustment, protocol.KindTransfer, protocol.KindStatusChange, protocol.KindKit,
}
