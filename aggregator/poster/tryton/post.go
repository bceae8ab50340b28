package tryton

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"tillwire/aggregator/poster"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// flow is a kind of shipment and the way from its draft to its end.
type flow struct {
	model string
	moves string // the field that its moves are made through
	steps []step
	price bool // its moves need a price
}

// step leads on from a state. One that is asked for too late does nothing, or leads
// back: so the state decides which is next, and is read again at the end.
type step struct{ from, call string }

var (
	flowOut = flow{
		"stock.shipment.out", "outgoing_moves",
		[]step{{stateDraft, "wait"}, {"waiting", "assign_force"}, {"assigned", "pick"}, {"picked", "pack"}, {"packed", "done"}},
		true,
	}
	flowOutReturn = flow{"stock.shipment.out.return", "incoming_moves", []step{{stateDraft, "receive"}, {"received", "done"}}, true}
	flowIn        = flow{"stock.shipment.in", "incoming_moves", []step{{stateDraft, "receive"}, {"received", "done"}}, true}
	flowInReturn  = flow{"stock.shipment.in.return", "moves", []step{{stateDraft, "wait"}, {"waiting", "assign_force"}, {"assigned", "done"}}, true}
	flowInternal  = flow{"stock.shipment.internal", "moves", []step{{stateDraft, "wait"}, {"waiting", "assign_force"}, {"assigned", "done"}}, false}
)

// shipment is one that was found.
type shipment struct {
	ID        int64  `json:"id"`
	State     string `json:"state"`
	Number    string `json:"number"`
	Reference string `json:"reference"`
}

// States of a shipment that matter here.
const (
	stateDraft     = "draft"
	stateDone      = "done"
	stateCancelled = "cancelled"
)

// Post books a document as one shipment, once. Tryton keeps nothing unique, so:
//
//	search by reference ─none─▶ check articles ─▶ create a draft ─▶ search again
//	        │ some
//	        ▼
//	  one wins (done, then begun, then the lowest id) ─▶ cancel the rest, and see
//	  that they are ─▶ the winner's steps ─▶ see that it is done
//
// Cut off after a create: the draft is found next time; drafts move nothing. Cut off
// among the steps, or the answer lost: it is found and the steps are repeated. Two
// posters at once: both cancel the same losers before they touch the winner, and a
// shipment ends as done or cancelled, never both; who worked on a loser sees it
// cancelled and searches again.
func (c *Connector) Post(ctx context.Context, d *posting.Doc) (poster.Receipt, error) {
	if err := c.prepare(ctx); err != nil {
		return poster.Receipt{}, told(err)
	}
	p, err := c.place(ctx, d.Store)
	if err != nil {
		return poster.Receipt{}, told(err)
	}
	if d.Class.Status() && p.unsellable == 0 {
		return poster.Receipt{Note: "nothing to post: no location for what is not sellable is configured"}, nil
	}
	f, head, from, to, err := c.route(d, &p)
	if err != nil {
		return poster.Receipt{}, err
	}
	made := int64(0)
	for range roundsMax {
		s, err := c.find(ctx, &f, d)
		if err == nil && s == nil {
			if made, err = c.create(ctx, &f, d, head, from, to); err == nil {
				continue // search again: somebody else may have made one too
			}
		}
		if err == nil && s.ID != made {
			err = c.same(ctx, &f, s, d)
		}
		if err != nil {
			return poster.Receipt{}, told(err)
		}
		done, err := c.finish(ctx, &f, s, d)
		if err != nil {
			return poster.Receipt{}, err
		}
		if done {
			return poster.Receipt{ID: f.model + " " + s.name()}, nil
		}
	}
	return poster.Receipt{}, &poster.Refusal{Remedy: poster.Retry, Code: "erp_race", Reason: fmt.Sprintf("several shipments %q come and go", d.Reference())}
}

func (s *shipment) name() string {
	if s.Number != "" {
		return s.Number
	}
	return strconv.FormatInt(s.ID, 10)
}

// reference names a document's shipment: another one after it was redated, for what
// stands as a draft in a closed period can neither be changed nor cancelled there.
func reference(d *posting.Doc) string {
	if d.PostDay == d.Day {
		return d.Reference()
	}
	return d.Reference() + " on " + protocol.DayText(d.PostDay)
}

// route says which shipment a document becomes, from where to where.
func (c *Connector) route(d *posting.Doc, p *place) (f flow, head map[string]any, from, to int64, err error) {
	g := c.ground
	head = map[string]any{"company": g.company, "reference": reference(d), "planned_date": date(d.PostDay), "effective_date": date(d.PostDay)}
	switch d.Class { //nolint:exhaustive // the others are moves inside the company
	case posting.ClassSale, posting.ClassReturn:
		head["customer"], head["delivery_address"], head["warehouse"] = g.customer, g.address, p.warehouse
		if d.Inward() {
			return flowOutReturn, head, g.customerPlace, p.input, nil
		}
		return flowOut, head, p.output, g.customerPlace, nil
	case posting.ClassReceipt:
		head["supplier"] = g.supplier
		if d.Inward() {
			head["warehouse"] = p.warehouse
			return flowIn, head, g.supplierPlace, p.input, nil
		}
		head["from_location"], head["to_location"] = p.storage, g.supplierPlace
		return flowInReturn, head, p.storage, g.supplierPlace, nil
	}
	other, here := p.lost, p.storage
	switch {
	case d.Class.Status():
		here, other = p.unsellable, p.storage
	case d.Class == posting.ClassTransferOut || d.Class == posting.ClassTransferIn:
		if other = g.transit; other == 0 {
			return f, nil, 0, 0, &poster.Refusal{Remedy: poster.Park, Code: "transit_unknown", Reason: "no location for goods between stores is configured (transit)"}
		}
	}
	from, to = here, other
	if d.Inward() {
		from, to = other, here
	}
	head["from_location"], head["to_location"] = from, to
	head["planned_start_date"], head["effective_start_date"] = date(d.PostDay), date(d.PostDay)
	return flowInternal, head, from, to, nil
}

// find looks for the document's shipment, and makes it the only one: of several one
// wins and the others are cancelled, before anything is done with the winner. A draft
// of before a redate stays where its period is closed: it can never be done there.
func (c *Connector) find(ctx context.Context, f *flow, d *posting.Doc) (*shipment, error) {
	for range roundsMax {
		var list []shipment
		err := c.call(ctx, &list, "model."+f.model+".search_read", []any{[]any{"reference", "like", d.Reference() + "%"}, []any{"state", "!=", stateCancelled}}, 0, pageMax,
			[]any{[]string{"id", "ASC"}}, []string{"state", "number", "reference"})
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(list, func(x, y shipment) int { return rank(&x, d) - rank(&y, d) }) // ids rise already
		if len(list) > 1 && list[1].State == stateDone {
			return nil, &poster.Refusal{
				Remedy: poster.Park, Code: "erp_twice", Reason: fmt.Sprintf("Tryton has two done shipments %q: %s and %s; cancel one by a shipment the other way, then retry", d.Reference(), list[0].name(), list[1].name()),
			}
		}
		cancelled := false
		for i := range list {
			x := &list[i]
			current := x.State == stateDone || x.Reference == reference(d)
			if i == 0 && current {
				continue
			}
			err := c.call(ctx, nil, "model."+f.model+".cancel", []int64{x.ID})
			var fl *fault
			if err != nil && (current || !errors.As(err, &fl) || fl.kind != faultUser) {
				return nil, err
			}
			cancelled = cancelled || err == nil
		}
		switch {
		case cancelled: // see that they are
		case len(list) == 0 || list[0].State != stateDone && list[0].Reference != reference(d):
			return nil, nil //nolint:nilnil // there is none, and nothing went wrong
		default:
			return &list[0], nil
		}
	}
	return nil, &poster.Refusal{Remedy: poster.Retry, Code: "erp_race", Reason: fmt.Sprintf("several shipments %q come and go", d.Reference())}
}

// rank orders shipments of one document: what is done, then what was begun, then
// drafts, then what is of before a redate.
func rank(s *shipment, d *posting.Doc) int {
	switch {
	case s.State == stateDone:
		return 0
	case s.Reference != reference(d):
		return 3
	case s.State == stateDraft:
		return 2
	}
	return 1
}

// create makes a draft, after every article was found to be postable: of a document
// with an article that Tryton does not have it hears nothing.
func (c *Connector) create(ctx context.Context, f *flow, d *posting.Doc, head map[string]any, from, to int64) (int64, error) {
	products, err := c.resolve(ctx, d)
	if err != nil {
		return 0, err
	}
	moves := make([]map[string]any, len(d.Lines))
	for i := range d.Lines {
		p := products[i]
		m := map[string]any{
			"product": p.id, "uom": p.uom, "quantity": float(d.Lines[i].Qty), "from_location": from, "to_location": to,
			"company": c.ground.company, "planned_date": date(d.PostDay),
		}
		if f.price {
			price := p.list
			if d.Class == posting.ClassReceipt {
				price = p.cost
			}
			m["unit_price"], m["currency"] = decimal(price), c.ground.currency
		}
		moves[i] = m
	}
	head[f.moves] = []any{[]any{"create", moves}}
	var ids []int64
	if err = c.call(ctx, &ids, "model."+f.model+".create", []any{head}); err != nil || len(ids) != 1 {
		return 0, c.closedOr(ctx, d, err)
	}
	return ids[0], nil
}

// finish runs a shipment's steps. false: it was cancelled by another poster. Two
// posters on one shipment may lead it back, or make Tryton refuse what neither would
// alone: so a refusal counts when it comes again.
func (c *Connector) finish(ctx context.Context, f *flow, s *shipment, d *posting.Doc) (bool, error) {
	refused := 0
	for n := range roundsMax {
		err := c.steps(ctx, f, s)
		var fl *fault
		if err != nil && !errors.As(err, &fl) {
			return false, err
		}
		if why := c.state(ctx, f, s); why != nil {
			return false, told(why)
		}
		switch {
		case s.State == stateDone:
			return true, nil
		case s.State == stateCancelled:
			return false, nil
		case fl != nil && fl.kind != faultUser:
			return false, told(err)
		case fl != nil:
			if refused++; refused == refusedMax {
				return false, c.undo(ctx, f, s, d, err)
			}
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(time.Duration(n) * raceWait):
		}
	}
	return false, &poster.Refusal{Remedy: poster.Retry, Code: "erp_unfinished", Reason: fmt.Sprintf("shipment %s is %s after all its steps", s.name(), s.State)}
}

// steps leads a shipment on from the state that it is known to be in.
func (c *Connector) steps(ctx context.Context, f *flow, s *shipment) error {
	begun := false
	for _, x := range f.steps {
		if begun = begun || x.from == s.State; !begun {
			continue
		}
		if err := c.work(ctx, "model."+f.model+"."+x.call, []int64{s.ID}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Connector) state(ctx context.Context, f *flow, s *shipment) error {
	var now []shipment
	if err := c.call(ctx, &now, "model."+f.model+".read", []int64{s.ID}, []string{"state", "number"}); err != nil {
		return err
	}
	if len(now) == 1 {
		*s = now[0]
	}
	return nil
}

// undo follows up on a step that Tryton refuses for good: the shipment is cancelled,
// so that nothing half-done is left, and the reason told.
func (c *Connector) undo(ctx context.Context, f *flow, s *shipment, d *posting.Doc, why error) error {
	why = c.closedOr(ctx, d, why)
	var r *poster.Refusal
	closed := errors.As(why, &r) && r.Closed // then it cannot be cancelled either
	if err := c.call(ctx, nil, "model."+f.model+".cancel", []int64{s.ID}); err != nil && !closed {
		return told(err)
	}
	return told(why)
}

// closedOr tells a refusal for a closed period from others. The message is in
// somebody's language, the period is not.
func (c *Connector) closedOr(ctx context.Context, d *posting.Doc, why error) error {
	var f *fault
	if !errors.As(why, &f) || f.kind != faultUser {
		return why
	}
	closed, err := c.ClosedTo(ctx)
	if err == nil && d.PostDay <= closed {
		return &poster.Refusal{Remedy: poster.Park, Code: "period_closed", Reason: fmt.Sprintf("the stock period is closed up to %s", protocol.DayText(closed)), Closed: true}
	}
	return why
}

// same holds a shipment that was found to the document: a reference that somebody
// else used, or goods that somebody changed, must not pass for a posting.
func (c *Connector) same(ctx context.Context, f *flow, s *shipment, d *posting.Doc) error {
	var head []map[string]json.RawMessage
	if err := c.call(ctx, &head, "model."+f.model+".read", []int64{s.ID}, []string{f.moves}); err != nil {
		return told(err)
	}
	var ids []int64
	if len(head) == 1 {
		_ = json.Unmarshal(head[0][f.moves], &ids)
	}
	var moves []struct {
		Quantity float64 `json:"internal_quantity"`
		State    string  `json:"state"`
	}
	if err := c.call(ctx, &moves, "model.stock.move.read", ids, []string{"internal_quantity", "state"}); err != nil {
		return told(err)
	}
	var sum protocol.Quantity
	n := 0
	for _, m := range moves {
		if m.State == stateCancelled {
			continue
		}
		q, err := quantityOf(m.Quantity)
		if err != nil {
			return &poster.Refusal{Remedy: poster.Park, Code: "erp_differs", Reason: err.Error()}
		}
		sum, n = sum+q, n+1
	}
	if want := max(d.Quantity, -d.Quantity); sum != want || n != len(d.Lines) {
		return &poster.Refusal{
			Remedy: poster.Park, Code: "erp_differs",
			Reason: fmt.Sprintf("Tryton's shipment %s has this reference, but %d moves of %s in all, not %d of %s; see who changed it", s.name(), n, sum, len(d.Lines), want),
		}
	}
	return nil
}
