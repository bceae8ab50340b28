package simulator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"tillwire/protocol"
)

// tell posts one document, now and then more than once, and records it.
func (w *worker) tell(hard context.Context, d *document) error {
	nuisance, h := w.rng.IntN(1000), &w.shop.habits
	var a ack
	var err error
	if nuisance < h.Doubles {
		a, err = w.tellTwice(hard, d)
	} else {
		a, err = w.till.post(hard, d)
	}
	var r *refusal
	switch {
	case errors.As(err, &r):
		w.crew.refused.Add(1)
		w.crew.fault(fmt.Sprintf("%s %s of %s was refused: %v", d.kind, d.DocumentID, w.shop.Store, err))
		return nil
	case err != nil:
		return err
	}
	w.took(d, a)
	if nuisance >= h.Doubles && nuisance < h.Doubles+h.Repeats {
		return w.tellAgain(hard, d, a)
	}
	return nil
}

// took notes what an agent has acknowledged.
func (w *worker) took(d *document, a ack) {
	w.crew.oracle.record(w.shop.Store, d, a.Seq)
	w.shop.clockSet = false
	w.crew.posted.Add(1)
	w.crew.lines.Add(uint64(len(d.Lines)))
	if d.Direction == "out" {
		w.crew.ship(parcel{out: d, from: w.shop.Store}, protocol.StoreID(d.Counterparty))
	}
}

// tellMany posts a whole upload, as old systems do.
func (w *worker) tellMany(hard context.Context, docs []*document) error {
	for part := range slices.Chunk(docs, bulkDocsMax) {
		acks, err := w.till.postMany(hard, part)
		if err != nil {
			return err
		}
		for i, a := range acks {
			w.took(part[i], a)
		}
	}
	return nil
}

// tellTwice posts the same document over two connections at once.
func (w *worker) tellTwice(hard context.Context, d *document) (ack, error) {
	var other ack
	var otherErr error
	var wg sync.WaitGroup
	wg.Go(func() { other, otherErr = w.till.post(hard, d) })
	a, err := w.till.post(hard, d)
	wg.Wait()
	if err != nil || otherErr != nil {
		return a, errors.Join(err, otherErr)
	}
	w.crew.repeats.Add(1)
	w.crew.oracle.recordRepeat(w.shop.Store)
	if a.Seq != other.Seq || a.Duplicate == other.Duplicate {
		w.crew.wrongSeq.Add(1)
		w.crew.fault(fmt.Sprintf("%s of %s sent twice at once: seq %d (duplicate %v) and seq %d (duplicate %v)",
			d.DocumentID, w.shop.Store, a.Seq, a.Duplicate, other.Seq, other.Duplicate))
	}
	return a, nil
}

// tellAgain posts an acknowledged document once more.
func (w *worker) tellAgain(hard context.Context, d *document, first ack) error {
	a, err := w.till.post(hard, d)
	if err != nil {
		return err
	}
	w.crew.repeats.Add(1)
	w.crew.oracle.recordRepeat(w.shop.Store)
	if a.Seq != first.Seq || !a.Duplicate {
		w.crew.wrongSeq.Add(1)
		w.crew.fault(fmt.Sprintf("%s of %s sent again: seq %d, duplicate %v; the first answer was seq %d",
			d.DocumentID, w.shop.Store, a.Seq, a.Duplicate, first.Seq))
	}
	return nil
}

// tellPoison posts a document that no agent may take.
func (w *worker) tellPoison(hard context.Context) {
	kind, body := poison(w.shop, w.now(), w.rng)
	w.crew.poison.Add(1)
	_, err := w.till.send(hard, path(kind), "application/json", body)
	var r *refusal
	if err == nil || (errors.As(err, &r) && r.Status/100 != 4) {
		w.crew.swallowed.Add(1)
		w.crew.fault(fmt.Sprintf("bad document was not refused with 4xx (%v): %.300s", err, body))
	}
}
