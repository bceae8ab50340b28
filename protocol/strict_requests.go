package protocol

import "strconv"

// DecodeReservation reads the body of POST /v1/reservations and checks it. SKUs
// come out normalised.
func DecodeReservation(b []byte) (*ReservationRequest, *Problem) {
	r := &ReservationRequest{}
	if p := DecodeStrict(b, r); p != nil {
		return nil, p
	}
	if p := r.Check(); p != nil {
		return nil, p
	}
	return r, nil
}

// Check judges a request, whoever made it, and normalises its SKUs.
func (r *ReservationRequest) Check() *Problem {
	c := checks{}
	c.id("/reservation_id", r.ReservationID, ReservationIDBytes)
	if r.Channel == "" {
		c.missing("/channel")
	}
	c.name("/channel", r.Channel)
	c.text("/order_id", r.OrderID, IDBytesMax)
	c.text("/group", r.Group, IDBytesMax)
	c.oneOf("/mode", r.Mode, ModeAllOrNothing, ModePartial)
	c.oneOf("/fulfilment", r.Fulfilment, FulfilmentPickup, FulfilmentShip, FulfilmentDelivery)
	c.oneOf("/sourcing", r.Sourcing, SourcingNearest, SourcingMostStock, SourcingFreshest, SourcingLeastSplits)
	if r.TTLS < 0 || r.TTLS > ReservationTTLMaxS {
		c.invalid("/ttl_s", "must be 1 to %d seconds; left out it is %d", ReservationTTLMaxS, ReservationTTLUsualS)
	}
	if r.Traceparent != "" && !ValidTraceparent(r.Traceparent) {
		c.invalid("/traceparent", "is not a W3C traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	}
	switch n := len(r.Lines); {
	case n == 0:
		c.missing("/lines")
	case n > ReservationLinesMax:
		c.invalid("/lines", "has more than %d lines: reserve them under several ids", ReservationLinesMax)
		return c.problem()
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		c.sku(linePointer(i, "sku"), &l.SKU)
		c.name(linePointer(i, "location"), string(l.Location))
		c.positive(linePointer(i, "quantity"), l.Quantity, "how many base units to hold")
	}
	return c.problem()
}

// DecodeItem reads one article of the item master and checks it. Of an item that
// is refused only what names it may be used. Kits that hold each other are the
// catalog's to find: it alone knows the others.
func DecodeItem(b []byte) (*Item, *Problem) {
	it := &Item{}
	if p := DecodeStrict(b, it); p != nil {
		return nil, p
	}
	c := checks{}
	c.sku("/sku", &it.SKU)
	c.text("/name", it.Name, ItemNameBytesMax)
	c.text("/category", it.Category, IDBytesMax)
	c.uom("/base_unit", it.BaseUnit)
	c.units(it)
	c.kit(it)
	c.aggregators(aggregatorsField{"version", it.Version != 0}, aggregatorsField{"changed_at", !it.ChangedAt.IsZero()},
		aggregatorsField{"changed_by", it.ChangedBy != ""})
	return it, c.problem()
}

func (c *checks) units(it *Item) {
	if len(it.Units) > ItemUnitsMax {
		c.invalid("/units", "has more than %d units", ItemUnitsMax)
		return
	}
	base := it.BaseUnit
	if base == "" {
		base = "EA"
	}
	at := func(i int, name string) string { return "/units/" + strconv.Itoa(i) + "/" + name }
	seen := make(map[string]bool, len(it.Units))
	for i, u := range it.Units {
		switch {
		case u.UOM == "":
			c.missing(at(i, "uom"))
		case u.UOM == base:
			c.invalid(at(i, "uom"), "is the base unit: one of it is one")
		case seen[u.UOM]:
			c.invalid(at(i, "uom"), "stands twice")
		}
		c.uom(at(i, "uom"), u.UOM)
		seen[u.UOM] = true
		c.positive(at(i, "factor"), u.Factor, "how many base units one of it is")
	}
}

func (c *checks) kit(it *Item) {
	if len(it.Kit) > KitPartsMax {
		c.invalid("/kit", "has more than %d parts", KitPartsMax)
		return
	}
	at := func(i int, name string) string { return "/kit/" + strconv.Itoa(i) + "/" + name }
	seen := make(map[SKU]bool, len(it.Kit))
	for i := range it.Kit {
		k := &it.Kit[i]
		c.sku(at(i, "sku"), &k.SKU)
		switch {
		case k.SKU == "":
		case k.SKU == it.SKU:
			c.invalid(at(i, "sku"), "is the kit itself: a kit is made of other articles")
		case seen[k.SKU]:
			c.invalid(at(i, "sku"), "stands twice: add its quantities up")
		}
		seen[k.SKU] = true
		c.positive(at(i, "quantity"), k.Quantity, "how many base units of it one kit takes")
	}
}

// DecodePolicy reads one policy and checks it.
func DecodePolicy(b []byte) (*Policy, *Problem) {
	p := &Policy{}
	if bad := DecodeStrict(b, p); bad != nil {
		return nil, bad
	}
	c := checks{}
	c.id("/policy_id", p.PolicyID, IDBytesMax)
	c.text("/note", p.Note, PolicyNoteBytesMax)
	if p.Scope.SKU != "" {
		c.sku("/scope/sku", &p.Scope.SKU)
	}
	c.text("/scope/category", p.Scope.Category, IDBytesMax)
	c.name("/scope/location", string(p.Scope.Location))
	c.text("/scope/group", p.Scope.Group, IDBytesMax)
	c.name("/scope/channel", p.Scope.Channel)
	c.policyValues(p)
	if p.ValidFrom != nil && p.ValidTo != nil && !p.ValidFrom.Before(*p.ValidTo) {
		c.invalid("/valid_to", "must be after valid_from: it is exclusive")
	}
	c.aggregators(aggregatorsField{"version", p.Version != 0}, aggregatorsField{"changed_at", !p.ChangedAt.IsZero()},
		aggregatorsField{"changed_by", p.ChangedBy != ""}, aggregatorsField{"deleted", p.Deleted})
	return p, c.problem()
}

func (c *checks) policyValues(p *Policy) {
	v := &p.Values
	if (*v == PolicyValues{}) {
		c.fail(CodeMissingField, "/values", "states nothing: give at least one value")
	}
	for _, q := range []struct {
		name string
		v    *Quantity
	}{{"safety_stock", v.SafetyStock}, {"threshold", v.Threshold}, {"fence", v.Fence}, {"low_at", v.LowAt}, {"escrow", v.Escrow}} {
		if q.v != nil && (*q.v < 0 || *q.v > QuantityMax) {
			c.invalid("/values/"+q.name, "must not be below zero")
		}
	}
	if v.Fence != nil && p.Scope.Channel == "" {
		c.fail(CodeMissingField, "/scope/channel", "is required with a fence: whose quota it is")
	}
	if a := v.ServiceLevel; a != nil && *a != 0 && !(*a >= 0.5 && *a < 1) {
		c.invalid("/values/service_level", "must be 0 (no buffer), or from 0.5 to below 1")
	}
	if d := v.DarkAfterS; d != nil && (*d < 1 || *d > DarkAfterMaxS) {
		c.invalid("/values/dark_after_s", "must be 1 to %d seconds", DarkAfterMaxS)
	}
	if v.Sourcing != nil {
		c.word("/values/sourcing", *v.Sourcing, SourcingNearest, SourcingMostStock, SourcingFreshest, SourcingLeastSplits)
	}
	if v.OnConflict != nil {
		c.word("/values/on_conflict", *v.OnConflict, OnConflictSource, OnConflictNotify)
	}
}

// word is oneOf where "" was stated.
func (c *checks) word(ptr, s string, of ...string) {
	if s == "" {
		s = " "
	}
	c.oneOf(ptr, s, of...)
}
