package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
)

type reconciliationData struct {
	*listing
	List    []driftData
	Systems []system // what waits, by who states it
	Waiting int
	State   string
}

type driftData struct {
	protocol.Reconciliation
	Can []verb
}

// system is what one outer system disagrees about.
type system struct {
	Source string
	Rows   int
	Units  protocol.Quantity // Σ |difference|
	Oldest time.Time
	Href   string
	More   bool
}

// driftVerbs say what each decision does, before it does it.
func driftVerbs(x *protocol.Reconciliation) (out []verb) {
	what := string(x.SKU) + " at " + string(x.Location)
	for _, a := range x.Actions {
		switch a {
		case protocol.DecideAdopt:
			out = append(out, verb{a, "Adopt", "Adopt what " + x.Source + " says of " + what + "?", "The stock becomes " + x.Stated.String() + " as of the statement; our book said " + x.Book.String() + ". Movements since then still count.", "required", true})
		case protocol.DecideDismiss:
			out = append(out, verb{a, "Dismiss", "Leave our book as it is?", "The stock of " + what + " stays; this difference is not shown again until " + x.Source + " states another.", "required", false})
		case protocol.DecideWriteOff:
			out = append(out, verb{a, "Write off", "Write off what never arrived?", "The rest of this transfer or advice (" + x.Difference.String() + ") stops being on its way.", "required", true})
		}
	}
	return out
}

func (w *Web) reconciliationData(r *http.Request, limit int) (*reconciliationData, error) {
	d := &reconciliationData{listing: w.listing(r, "/reconciliation")}
	open, err := w.opts.Reconciliations.Reconciliations(r.Context(), reconcile.Filter{State: "open", Limit: driftCounted})
	if err != nil {
		return nil, err
	}
	d.Systems, d.Waiting = systems(open, d.listing), len(open)
	if w.opts.OpenDrift != nil {
		d.Waiting = w.opts.OpenDrift()
	}
	d.State = d.tabs("state", option{Value: "open", Text: "Open", N: d.Waiting, Counted: true, Bad: true}, option{Value: "adopted", Text: "Adopted"}, option{Value: "dismissed", Text: "Dismissed"}, option{Value: "settled", Text: "Settled"})
	var names []string
	for _, s := range d.Systems {
		names = append(names, s.Source)
	}
	f := reconcile.Filter{
		State: d.State, Source: d.field("source", "System", "", names...), Kind: d.field("kind", "Kind", "", "drift", "mass_zeroing", "residue"),
		Location: protocol.StoreID(d.field("location", "Location", "DC1")), SKU: protocol.SKU(d.field("sku", "SKU", "04006381333931")),
		After: d.query.Get("after"), Limit: limit + 1,
	}
	list, err := w.opts.Reconciliations.Reconciliations(r.Context(), f)
	if err != nil {
		return nil, err
	}
	for _, x := range page(d.listing, list, limit, func(x *protocol.Reconciliation) string { return x.ID }) {
		row := driftData{Reconciliation: x}
		if d.Ops {
			row.Can = driftVerbs(&x)
		}
		d.List = append(d.List, row)
	}
	return d, nil
}

// systems counts what is open by who states it, the most first.
func systems(open []protocol.Reconciliation, l *listing) (out []system) {
	for i := range open {
		x := &open[i]
		k := slices.IndexFunc(out, func(s system) bool { return s.Source == x.Source })
		if k < 0 {
			k = len(out)
			out = append(out, system{Source: x.Source, Oldest: x.FirstAt, Href: l.with("source", x.Source), More: len(open) == driftCounted})
		}
		s := &out[k]
		s.Rows++
		s.Units += max(x.Difference, -x.Difference)
		if x.FirstAt.Before(s.Oldest) {
			s.Oldest = x.FirstAt
		}
	}
	slices.SortFunc(out, func(a, b system) int { return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Source, b.Source)) })
	return out
}

func (w *Web) reconciliationPage(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.reconciliationData(r, rowsPerPage)
	if err != nil {
		return err
	}
	return w.show(rw, r, "reconciliation", "Reconciliation", d)
}

func (w *Web) decideDrift(rw http.ResponseWriter, r *http.Request) error {
	note, err := noted(r)
	if err != nil {
		return err
	}
	if note == "" {
		return noteMissing()
	}
	x, err := w.opts.Reconciliations.Decide(context.WithoutCancel(r.Context()), query(r, "id"), query(r, "action"), who(r), note)
	if err != nil {
		return w.decided("reconciliation", err)
	}
	return done(rw, r, string(x.SKU)+" at "+string(x.Location)+" is "+x.State+" now.")
}

func (w *Web) reconciliationCSV(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.reconciliationData(r, driftCounted-1)
	if err != nil {
		return err
	}
	head := []string{"id", "kind", "state", "source", "location", "sku", "stated", "book", "difference", "as_of", "cycles", "cycles_needed", "owner", "reason", "first_at", "decided_at", "decided_by", "note"}
	return w.csv(rw, "reconciliation", head, func(put func(...string)) {
		for _, x := range d.List {
			decided := ""
			if !x.DecidedAt.IsZero() {
				decided = stamp(&x.DecidedAt)
			}
			put(x.ID, x.Kind, x.State, x.Source, string(x.Location), string(x.SKU), x.Stated.String(), x.Book.String(), x.Difference.String(), stamp(&x.AsOf),
				strconv.Itoa(x.Cycles), strconv.Itoa(x.Needed), x.Owner, x.Reason, stamp(&x.FirstAt), decided, x.DecidedBy, x.Note)
		}
	})
}
