package reconcile

import "tillwire/protocol"

// OwnerStore is the owner of a location whose own journals are the record.
const OwnerStore = "store"

// Rules say who is the record of what, and when a statement is taken. They are
// configuration: a judgement is made with those in force, a replay needs none.
type Rules struct {
	Owners       []Owner
	AgreeCycles  int     // agreeing statements in a row; 0 = 2
	ZeroShareMax float64 // of the keys that are not zero, to be zeroed by one statement; 0 = 0.2
	ZeroKeysMin  int     // fewer keys than this may all be zeroed; 0 = 20
}

// DefaultRules are those where nobody states others: no table of owners.
func DefaultRules() Rules { return Rules{}.complete() }

// Owner names the record of the on hand of a location, of a type of locations, or
// (with neither) of all others. The most specific row counts, of several alike
// the first.
type Owner struct {
	Location protocol.StoreID
	Type     string // store | dc
	Source   string // OwnerStore, else a feed's source
}

func (r Rules) complete() Rules {
	if r.AgreeCycles <= 0 {
		r.AgreeCycles = agreeCyclesUsual
	}
	if !(r.ZeroShareMax > 0) {
		r.ZeroShareMax = zeroShareMaxUsual
	}
	if r.ZeroKeysMin <= 0 {
		r.ZeroKeysMin = zeroKeysMinUsual
	}
	return r
}

// stated is the source that an Owner row makes the record of a location; "" where
// none concerns it.
func (r *Rules) stated(loc protocol.StoreID, kind string) (source string) {
	best := 0
	for _, o := range r.Owners {
		if o.Location != "" && o.Location != loc || o.Type != "" && o.Type != kind {
			continue
		}
		rank := 1
		if o.Type != "" {
			rank = 2
		}
		if o.Location != "" {
			rank = 3
		}
		if rank > best {
			best, source = rank, o.Source
		}
	}
	return source
}

// owner is the record of a location: the rules' word, else the store's own
// journals where there are any, else the first source that stated or moved
// anything there. "" where nobody did.
func (b *Book) owner(p *place) string {
	switch s := b.rules.stated(p.location, p.kind); {
	case s != "":
		return s
	case p.agents:
		return OwnerStore
	}
	return p.first
}

// owns tells whether a feed is the record. A feed that calls itself "store" is
// not the store.
func owns(source, owner string) bool { return source == owner && source != OwnerStore }

// Owner is the record of a location as it is known; "" where nobody ever stated or
// moved anything there.
func (b *Book) Owner(loc protocol.StoreID) string {
	if p := b.places[loc]; p != nil {
		return b.owner(p)
	}
	return b.owner(&place{location: loc})
}
