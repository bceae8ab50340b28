package posting

import (
	"fmt"
	"slices"
	"strings"

	"tillwire/protocol"
)

// Opened makes the changes that bring the open stores to what is configured: per
// store the ERP that books it. opening says of an ERP that what is in a store when
// it is connected is posted too.
func (b *Book) Opened(want map[protocol.StoreID]string, opening map[string]bool, nowUS int64) (out []*Change) {
	for store, erp := range want {
		if a := b.accounts[store]; a == nil || !a.open || a.erp != erp {
			out = append(out, &Change{Op: opOpen, NowUS: nowUS, Store: store, ERP: erp, Opening: opening[erp] && a == nil})
		}
	}
	for store, a := range b.accounts {
		if a.open && want[store] == "" {
			out = append(out, &Change{Op: opClose, NowUS: nowUS, Store: store})
		}
	}
	slices.SortFunc(out, func(x, y *Change) int { return strings.Compare(string(x.Store), string(y.Store)) })
	return out
}

// Opens names the store whose stock the change posts, "" where it posts none.
func (c *Change) Opens() (store protocol.StoreID) {
	if c.Op == opOpen && c.Opening {
		return c.Store
	}
	return ""
}

// Generation makes keys new ones where the cloud's generation is another than that
// of the book; nil where it is the same.
func (b *Book) Generation(now uint64, nowUS int64) *Change {
	if b.generation == now {
		return nil
	}
	return &Change{Op: opGeneration, NowUS: nowUS, Gen: now}
}

// Resume has posting go on after a restore; nil where nothing is held.
func (b *Book) Resume(who, note string, nowUS int64) (*Change, *protocol.Problem) {
	switch {
	case !b.held:
		return nil, nil
	case note == "" || len(note) > noteBytes:
		return nil, protocol.NewProblem(422, "reason_required", "Going on needs a reason", fmt.Sprintf("/reason has %d bytes", len(note)), fmt.Sprintf("say in 1 to %d bytes what was looked at", noteBytes))
	}
	return &Change{Op: opResume, NowUS: nowUS, Who: Clip(who, whoBytes), Note: note}, nil
}

// adoptedReason stands on documents that an ERP had and a restored ledger had lost.
const adoptedReason = "the ERP had it when this ledger was restored"

// Found is a document that an ERP has under a key of ours.
type Found struct {
	Key   string
	Store protocol.StoreID
	Day   int32
	Class Class
	ERPID string
	Begun bool   // the ERP has not booked it: it was cut off at that
	Lines []Line // without cells; nil where it is only begun
}

// Strange tells that a document which the ERP has only begun is none of this book's:
// nobody will end it.
func (b *Book) Strange(f *Found) bool { return f.Begun && b.docs[f.Key] == nil }

// Adopt makes a posted document of one that the ERP has and this book does not know,
// or knows as due or parked; nil where it knows that it is settled, and where it has
// other numbers than the ERP: they are compared when it is sent. cell finds a position
// of the store, or makes one.
func (b *Book) Adopt(erp string, f *Found, nowUS int64, cell func(protocol.SKU) (uint32, bool)) *Change {
	known := b.docs[f.Key]
	if f.Begun || known != nil && (known.settled() || known.ERP != erp) || b.accounts[f.Store] == nil || !isKey(f.Key) {
		return nil
	}
	d := &Doc{
		Key: f.Key, Number: b.number + 1, ERP: erp, Store: f.Store, Day: f.Day, PostDay: f.Day, Class: f.Class, CutUS: nowUS, DecidedUS: nowUS,
		State: protocol.PostingPosted, ERPID: Clip(f.ERPID, erpIDBytes), Reason: adoptedReason,
	}
	for _, l := range f.Lines {
		c, ok := cell(l.SKU)
		if !ok {
			return nil
		}
		x := Line{Cell: c, SKU: l.SKU, Qty: l.Qty}
		if known != nil {
			i := slices.IndexFunc(known.Lines, func(k Line) bool { return k.Cell == c && k.Qty == l.Qty })
			if i < 0 {
				return nil
			}
			x = known.Lines[i]
		}
		d.Lines = append(d.Lines, x)
	}
	if known != nil {
		d.Number, d.PostDay, d.CutUS = known.Number, known.PostDay, known.CutUS
	}
	d.total()
	c := &Change{Op: opAdopt, NowUS: nowUS, ERP: erp, Doc: d}
	if c.wrong() != "" {
		return nil
	}
	return c
}

// Posted notes that the ERP has a document.
func Posted(key, erpID, reason string, nowUS int64) *Change {
	return &Change{Op: opPosted, NowUS: nowUS, Key: key, ERPID: Clip(erpID, erpIDBytes), Reason: Clip(reason, reasonBytes)}
}

// Parked puts a document aside until a person decides.
func Parked(key, code, reason string, nowUS int64) *Change {
	return &Change{Op: opParked, NowUS: nowUS, Key: key, Code: Clip(code, codeBytes), Reason: Clip(reason, reasonBytes)}
}

// Redated has a document booked on another day than its own.
func Redated(key string, day int32, nowUS int64) *Change {
	return &Change{Op: opRedate, NowUS: nowUS, Key: key, Day: day}
}

// Split parks the lines of some articles in a document of their own, so that they
// do not hold up the rest. Where that is all of them, the document itself is
// parked.
func (b *Book) Split(key string, skus []protocol.SKU, code, reason string, nowUS int64) *Change {
	d := b.docs[key]
	if d == nil || d.State != protocol.PostingDue {
		return nil
	}
	var gone []Line
	for _, l := range d.Lines {
		if slices.Contains(skus, l.SKU) {
			gone = append(gone, l)
		}
	}
	switch len(gone) {
	case 0:
		return nil
	case len(d.Lines):
		return Parked(key, code, reason, nowUS)
	}
	x := &Doc{
		Number: b.number + 1, ERP: d.ERP, Store: d.Store, Day: d.Day, PostDay: d.PostDay, Class: d.Class, CutUS: d.CutUS, Lines: gone,
		State: protocol.PostingParked, SplitOf: key, Code: Clip(code, codeBytes), Reason: Clip(reason, reasonBytes), DecidedUS: nowUS,
	}
	x.Key = keyOf(x, b.generation)
	x.total()
	c := &Change{Op: opSplit, NowUS: nowUS, Key: key, Doc: x}
	for _, l := range gone {
		c.SKUs = append(c.SKUs, l.SKU)
	}
	return c
}

func keyOf(d *Doc, generation uint64) string {
	return key(d.ERP, d.Store, protocol.DayText(d.Day), d.Class, d.Number, generation)
}

// Retry makes a parked document due again; nil where it is.
func (b *Book) Retry(key, who string, nowUS int64) (*Change, *protocol.Problem) {
	d, p := b.parked(key, protocol.PostingDue)
	if p != nil || d == nil {
		return nil, p
	}
	return &Change{Op: opRetry, NowUS: nowUS, Key: key, Who: Clip(who, whoBytes)}, nil
}

// Discard settles a parked document without the ERP; nil where that was done.
func (b *Book) Discard(key, who, note string, nowUS int64) (*Change, *protocol.Problem) {
	d, p := b.parked(key, protocol.PostingDiscarded)
	switch {
	case p != nil || d == nil:
		return nil, p
	case note == "" || len(note) > noteBytes:
		return nil, protocol.NewProblem(422, "reason_required", "Discarding needs a reason", fmt.Sprintf("/reason has %d bytes", len(note)),
			fmt.Sprintf("say in 1 to %d bytes why the ERP need not have it; from then on its stock and ours differ by it", noteBytes))
	}
	return &Change{Op: opDiscard, NowUS: nowUS, Key: key, Who: Clip(who, whoBytes), Note: note, Code: d.Code, Reason: d.Reason}, nil
}

// parked finds a document that a person may decide on; nil where it is in the
// state that is wanted already.
func (b *Book) parked(key string, want protocol.PostingState) (*Doc, *protocol.Problem) {
	d := b.docs[key]
	switch {
	case d == nil:
		return nil, protocol.NewProblem(404, "unknown_posting", "No such posting", Clip(key, 80), "GET /v1/postings lists them")
	case d.State == want:
		return nil, nil
	case d.State != protocol.PostingParked:
		return nil, protocol.NewProblem(409, "posting_state", "This cannot be decided so now", fmt.Sprintf("%s is %s", d.Key, d.State), "only parked postings are retried or discarded; those that are due are tried by themselves")
	}
	return d, nil
}

// Clip keeps valid text within most bytes.
func Clip(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}
