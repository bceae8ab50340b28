package epcis

import (
	"strings"

	"tillwire/protocol"
)

// ours finds a place of the table. A GLN that stands in no table is a customer's or a
// supplier's: a parcel to it is no transfer.
func (p Places) ours(uri string) (protocol.StoreID, bool) {
	to, ok := p[uri]
	if name, is := placeOf(uri); !ok && is {
		to, ok = p[name]
	}
	return to, ok
}

// paper is the number of the first business document of one of the types.
func (e *event) paper(types ...string) string {
	for _, want := range types {
		for _, t := range e.Papers {
			if word(t.Type, "btt", "BTT") == want {
				return t.ID[strings.LastIndexByte(t.ID, ':')+1:]
			}
		}
	}
	return ""
}

// shipped makes a transfer of goods that go to a place of ours under a despatch
// advice. Others are sold, where that is the policy.
func (e *event) shipped(doc map[string]any, place protocol.StoreID, o *Options) *protocol.Problem {
	id, told := e.paper("desadv"), false
	for _, t := range e.Destination {
		to, ok := o.Places.ours(t.Target)
		if told = told || ok; ok && to != place && id != "" {
			doc["kind"], doc["direction"], doc["counterparty"], doc["transfer_id"] = "transfer", "out", to, id
			return nil
		}
	}
	switch {
	case o.SaleAway && !told:
		return nil
	case told:
		return refusal(CodeNowhere, "/bizTransactionList", "has no desadv: the receiving end could not settle the transfer")
	case len(e.Destination) == 0:
		return refusal(CodeNowhere, "/destinationList", "is missing: nothing says whereto the goods went")
	}
	return refusal(CodeNowhere, "/destinationList/0/destination", "is not in the table of places")
}

// received settles a transfer where the goods came from a place of ours, and what was
// advised where they came from elsewhere.
func (e *event) received(doc map[string]any, place protocol.StoreID, o *Options) {
	lines, _ := doc["lines"].([]line)
	id := e.paper("desadv")
	for _, s := range e.Sources {
		if from, ok := o.Places.ours(s.Source); ok && from != place && id != "" {
			doc["kind"], doc["direction"], doc["counterparty"], doc["transfer_id"] = "transfer", "in", from, id
			return
		}
	}
	if id == "" {
		id = e.paper("po")
	}
	if id != "" {
		doc["advice_id"] = id
	}
	for i := range lines {
		lines[i].Disposition = unsellable(word(e.Disposition, "disp", "Disp"))
	}
}
