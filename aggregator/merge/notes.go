package merge

import (
	"fmt"
	"strings"

	"tillwire/protocol"
)

// Note is something odd about a document that took effect all the same: goods
// moved, and somebody should look at why the document says what it says.
type Note struct {
	Code   string
	Key    string // what it is about: one exception per code and key, not per document
	Reason string
	Over   bool // what an earlier note told of is settled
}

const codeVoidWaiting = "void_waiting"

func voidKey(void *protocol.Event) string { return string(void.Store) + "/" + void.DocumentID }

// noteWaiting tells of a void whose original has not come: between two journals
// that is a matter of minutes, a slip of the till's for ever.
func (e *Engine) noteWaiting(void *protocol.Event) {
	kind := "document"
	if void.VoidsKind != protocol.KindInvalid {
		kind = void.VoidsKind.String()
	}
	e.notes = append(e.notes, Note{
		Code: codeVoidWaiting, Key: voidKey(void),
		Reason: fmt.Sprintf("it cancels %s %s, which has not come; it takes effect when it does, and moves nothing until then", kind, void.Voids),
	})
}

func (x *effects) note(l *protocol.Line, how Reading) {
	if how.UnknownUnit {
		*x.notes = append(*x.notes, Note{
			Code: "unit_unknown", Key: string(l.SKU) + "#" + l.UOM,
			Reason: fmt.Sprintf("line %d: %s has no conversion from %q; the line counts under the raw code until the item's units name it", l.Line, l.SKU, l.UOM),
		})
	} else if how.UnknownSKU {
		*x.notes = append(*x.notes, Note{
			Code: "sku_unknown", Key: string(l.SKU),
			Reason: fmt.Sprintf("line %d: %s is not in the item master; it counts under its own code", l.Line, l.SKU),
		})
	}
}

// returnedMax bounds how many originals' returns are remembered: the alarm is
// for a fraud or an error at the till of these weeks, not for the books.
const returnedMax = 100_000

// returned adds up what was taken back of each original, the oldest forgotten
// first. It raises an alarm and decides no number.
type returned struct {
	sums map[returnKey]protocol.Quantity
	ring []returnKey
	next int
}

type returnKey struct {
	original protocol.EventID
	sku      protocol.SKU
}

func (r *returned) add(k returnKey, q protocol.Quantity) protocol.Quantity {
	if r.sums == nil {
		r.sums = map[returnKey]protocol.Quantity{}
	}
	if _, known := r.sums[k]; !known {
		k.sku = protocol.SKU(strings.Clone(string(k.sku)))
		if len(r.ring) < returnedMax {
			r.ring = append(r.ring, k)
		} else {
			delete(r.sums, r.ring[r.next])
			r.ring[r.next] = k
			r.next = (r.next + 1) % returnedMax
		}
	}
	r.sums[k] += q
	return r.sums[k]
}

// noteReturn compares a return with the sale that it names.
func (e *Engine) noteReturn(ev *protocol.Event) error {
	store := ev.OriginalStore
	if store == "" {
		store = ev.Store
	}
	id := protocol.MakeEventID(store, protocol.KindSale, ev.OriginalDocument)
	p, _, ok, err := e.find(id)
	if err != nil || !ok {
		return err // the sale may come later, or be older than this ledger
	}
	en, err := e.read(p)
	if err != nil {
		return err
	}
	if _, err := protocol.DecodeRecord(en.Record, &e.other); err != nil {
		return fmt.Errorf("decode sale at %d: %w", p, err)
	}
	for i := range ev.Lines {
		l := &ev.Lines[i]
		var sold protocol.Quantity
		for k := range e.other.Lines {
			if e.other.Lines[k].SKU == l.SKU {
				sold += e.other.Lines[k].Quantity
			}
		}
		if back := e.returned.add(returnKey{id, l.SKU}, l.Quantity); back > sold {
			e.notes = append(e.notes, Note{
				Code: "returned_more_than_sold", Key: string(store) + "/" + ev.OriginalDocument,
				Reason: fmt.Sprintf("line %d: %s of %s came back in all, but sale %s of %s has %s; the goods are counted where they are", l.Line, back, l.SKU, ev.OriginalDocument, store, sold),
			})
		}
	}
	return nil
}

// noteFlags tells what the agent could not make sense of.
func (e *Engine) noteFlags(ev *protocol.Event) {
	for _, f := range []struct {
		bit          protocol.EventFlags
		code, reason string
	}{
		{protocol.FlagBadVerifier, "barcode_verifier", "a price-embedded barcode has a wrong price verifier; its line counts under the scanned code"},
		{protocol.FlagNoUnitPrice, "barcode_no_unit_price", "a price-embedded barcode came without the regular unit price; its line counts under the scanned code"},
	} {
		if ev.Flags&f.bit != 0 {
			e.notes = append(e.notes, Note{Code: f.code, Key: string(ev.Store) + "/" + ev.DocumentID, Reason: f.reason})
		}
	}
}
