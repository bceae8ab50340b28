package merge

import "tillwire/protocol"

// Effect is what one line of a document does to one (location, SKU).
type Effect struct {
	Location    protocol.StoreID
	SKU         protocol.SKU
	OnHand      protocol.Quantity
	Unavailable protocol.Quantity
	InTransit   protocol.Quantity
	Line        int // index into Event.Lines
	Anchor      bool
}

// EffectsOf lists the effects of a document's lines in their order. Voids have
// none of their own: they take back those of their original (see Negate).
// Anchors carry the counted quantity in OnHand.
func EffectsOf(e *protocol.Event, into []Effect) []Effect {
	for i := range e.Lines {
		l := &e.Lines[i]
		f := Effect{Location: e.Store, SKU: l.SKU, Line: i}
		switch e.Kind {
		case protocol.KindSale:
			f.OnHand = -l.Quantity
		case protocol.KindReturn:
			f.OnHand = l.Quantity
			if !returnedSellable(e, l) {
				f.Unavailable = l.Quantity
			}
		case protocol.KindReceipt, protocol.KindAdjustment:
			f.OnHand = l.Quantity
			if unsellable(l.Disposition) {
				f.Unavailable = l.Quantity
			}
		case protocol.KindTransfer:
			if e.Direction == protocol.DirectionOut {
				f.OnHand = -l.Quantity
				into = append(into, Effect{Location: e.Counterparty, SKU: l.SKU, InTransit: l.Quantity, Line: i})
			} else {
				f.OnHand, f.InTransit = l.Quantity, -l.Quantity
			}
		case protocol.KindStatusChange:
			if unsellable(l.From) {
				f.Unavailable -= l.Quantity
			}
			if unsellable(l.To) {
				f.Unavailable += l.Quantity
			}
		case protocol.KindCount, protocol.KindSnapshot:
			f.OnHand, f.Anchor = l.Quantity, true
		default: // voids and hold answers move nothing by themselves
			continue
		}
		into = append(into, f)
	}
	return into
}

func unsellable(d protocol.Disposition) bool {
	return d != protocol.DispositionNone && d != protocol.DispositionSellable
}

// returnedSellable: a return without receipt is unavailable until somebody has
// judged the goods; one against its sale is sellable unless it says otherwise.
func returnedSellable(e *protocol.Event, l *protocol.Line) bool {
	if l.Disposition == protocol.DispositionNone {
		return e.OriginalDocument != ""
	}
	return l.Disposition == protocol.DispositionSellable
}

// Negate turns effects round: what a void does.
func Negate(fx []Effect) {
	for i := range fx {
		f := &fx[i]
		f.OnHand, f.Unavailable, f.InTransit = -f.OnHand, -f.Unavailable, -f.InTransit
	}
}

// Voidable are the kinds that a post-void can cancel, in the order in which a
// void without voids_kind looks for its original.
var Voidable = []protocol.Kind{
	protocol.KindSale, protocol.KindReturn, protocol.KindReceipt,
	protocol.KindAdjustment, protocol.KindTransfer, protocol.KindStatusChange,
}
