package protocol

// Move is what one line of a document does to the stock of an article at the
// document's own store, in the line's own unit; kits are not taken apart.
type Move struct {
	SKU                 SKU
	UOM                 string
	OnHand, Unavailable Quantity
}

// MovesOf lists the movements of a document. Counts and voids have none of their
// own: a count says what is there, a void takes back what another document did.
// It is what a journal can tell by itself; the aggregator's fold, which also
// knows kits, units and what was returned, has the last word.
func MovesOf(e *Event, into []Move) []Move {
	for i := range e.Lines {
		l := &e.Lines[i]
		m := Move{SKU: l.SKU, UOM: l.UOM}
		switch e.Kind { //nolint:exhaustive // the others move nothing
		case KindSale:
			m.OnHand = -l.Quantity
		case KindReturn:
			m.OnHand = l.Quantity
			if !sellable(l.Disposition) || l.Disposition == DispositionNone && e.OriginalDocument == "" {
				m.Unavailable = l.Quantity // without receipt or judgement
			}
		case KindReceipt, KindAdjustment:
			m.OnHand = l.Quantity
			if !sellable(l.Disposition) {
				m.Unavailable = l.Quantity
			}
		case KindTransfer:
			m.OnHand = l.Quantity
			if e.Direction == DirectionOut {
				m.OnHand = -l.Quantity
			}
		case KindStatusChange:
			if !sellable(l.From) {
				m.Unavailable -= l.Quantity
			}
			if !sellable(l.To) {
				m.Unavailable += l.Quantity
			}
		case KindHold:
			if e.Action != HoldCollected {
				continue
			}
			m.OnHand = -l.Quantity
		case KindKit:
			m.OnHand = l.Quantity
			if e.Action == KitBreak {
				m.OnHand = -l.Quantity
			}
		default:
			continue
		}
		into = append(into, m)
	}
	return into
}

func sellable(d Disposition) bool { return d == DispositionNone || d == DispositionSellable }

// voidable are the kinds that a void may mean, in the order of looking.
var voidable = []Kind{KindSale, KindReturn, KindReceipt, KindAdjustment, KindTransfer, KindStatusChange}

// Originals are the ids of documents that a void may mean, the likeliest first.
func Originals(void *Event) []EventID {
	kinds := voidable
	if void.VoidsKind != KindInvalid {
		kinds = []Kind{void.VoidsKind}
	}
	ids := make([]EventID, len(kinds))
	for i, k := range kinds {
		ids[i] = MakeEventID(void.Store, k, void.Voids)
	}
	return ids
}
