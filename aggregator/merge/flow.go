package merge

import (
	"crypto/sha256"
	"strings"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// flowKind tells what is on its way.
type flowKind uint8

const (
	flowNone    flowKind = iota
	flowTransit          // a transfer: dispatched, not yet received
	flowAdvice           // an advice (ASN, purchase order): announced, not yet received
)

// flow is what is still open of one transfer or advice at its destination. It is
// a difference, so it does not matter which end is heard first; where it comes
// to zero nothing is kept.
type flow struct {
	kind    flowKind
	id      [16]byte
	name    string
	open    protocol.Quantity // below zero: received more than was sent, or before it
	sinceUS int64             // earliest event heard of it
	dueUS   int64             // advices: when expected; 0 = not told
}

// Flow is an open transfer or advice as others see it.
type Flow struct {
	Kind     string // transfer | advice
	ID       string
	Location protocol.StoreID // where it is to arrive
	SKU      protocol.SKU
	Open     protocol.Quantity
	SinceUS  int64
	DueUS    int64
}

var flowNames = [...]string{flowTransit: "transfer", flowAdvice: "advice"}

// flowOf names the flow that a document speaks of.
func flowOf(ev *protocol.Event) (kind flowKind, name string) {
	switch ev.Kind { //nolint:exhaustive // other kinds have none
	case protocol.KindTransfer:
		return flowTransit, ev.TransferID
	case protocol.KindAdvice:
		if ev.AdviceID != "" { // written off under another document id
			return flowAdvice, ev.AdviceID
		}
		return flowAdvice, ev.DocumentID
	case protocol.KindReceipt:
		if ev.AdviceID != "" {
			return flowAdvice, ev.AdviceID
		}
	}
	return flowNone, ""
}

func flowID(name string) [16]byte {
	sum := sha256.Sum256([]byte(name))
	return [16]byte(sum[:16])
}

// advance moves a flow at a cell and with it what is in transit or incoming
// there. What one transfer received too much takes nothing from another's.
func (e *Engine) advance(id ledger.CellID, ev *protocol.Event, by protocol.Quantity) {
	kind, name := flowOf(ev)
	if kind == flowNone || by == 0 {
		return
	}
	key := flowID(name)
	list := e.flows[id]
	i := 0
	for i < len(list) && (list[i].kind != kind || list[i].id != key) {
		i++
	}
	if i == len(list) {
		list = append(list, flow{kind: kind, id: key, name: strings.Clone(name), sinceUS: ev.EventTime.US})
	}
	f := &list[i]
	before := max(0, f.open)
	f.open += by
	f.sinceUS = min(f.sinceUS, ev.EventTime.US)
	if ev.Kind == protocol.KindAdvice {
		f.dueUS = ev.ExpectedAt.US
	}
	x, grown := e.extraOf(id), max(0, f.open)-before
	if kind == flowTransit {
		x.inTransit += grown
	} else {
		x.incoming += grown
	}
	if f.open == 0 {
		list = append(list[:i], list[i+1:]...)
	}
	if len(list) == 0 {
		delete(e.flows, id)
	} else {
		e.flows[id] = list
	}
}

// Flows lists what is open at a cell, in order of arrival.
func (e *Engine) Flows(id ledger.CellID) []Flow {
	c := &e.cells[id]
	out := make([]Flow, 0, len(e.flows[id]))
	for i := range e.flows[id] {
		out = append(out, e.flows[id][i].public(e.locs[c.loc], e.skus[c.sku]))
	}
	return out
}

func (f *flow) public(loc protocol.StoreID, sku protocol.SKU) Flow {
	return Flow{Kind: flowNames[f.kind], ID: f.name, Location: loc, SKU: sku, Open: f.open, SinceUS: f.sinceUS, DueUS: f.dueUS}
}

// EachFlow calls fn for every open flow; the order is that of the cells.
func (e *Engine) EachFlow(fn func(Flow)) {
	for id := range e.cells {
		c := &e.cells[id]
		if !c.extra {
			continue
		}
		list := e.flows[ledger.CellID(id)]
		for i := range list {
			fn(list[i].public(e.locs[c.loc], e.skus[c.sku]))
		}
	}
}
