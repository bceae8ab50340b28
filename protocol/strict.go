package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// DecodeStrict reads one JSON object into the struct that into points to. Fields
// that the struct does not have are refused with their name.
func DecodeStrict(b []byte, into any) *Problem {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil && dec.More() {
		err = errors.New("more follows the JSON object")
	}
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &kind):
		ptr := "/" + strings.ReplaceAll(kind.Field, ".", "/")
		return problemOf(CodeInvalidField, ptr+" is a "+kind.Value, []FieldError{{Pointer: ptr, Message: "is a " + kind.Value}})
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		ptr := "/" + strings.Trim(strings.TrimPrefix(err.Error(), "json: unknown field "), `"`)
		return problemOf(CodeUnknownField, ptr+" is not a field here", []FieldError{{Pointer: ptr, Message: "is not a field of this request"}})
	default:
		return problemOf(CodeMalformedJSON, err.Error(), []FieldError{{Message: err.Error()}})
	}
}

// checks collects what is wrong with a decoded request.
type checks struct {
	errs []FieldError
	code string
}

func (c *checks) fail(ptr, msg string) {
	if c.code == "" {
		c.code = CodeInvalidField
	}
	if len(c.errs) < fieldErrorsMax {
		c.errs = append(c.errs, FieldError{Pointer: ptr, Message: msg})
	}
}

// id checks an identifier; required ones must not be empty.
func (c *checks) id(ptr, s string, bytesMax int, required bool) {
	switch {
	case s == "" && !required:
	case s == "":
		c.fail(ptr, "is required")
	case badText(s, bytesMax) != "":
		c.fail(ptr, badText(s, bytesMax))
	case FindPAN(s, true):
		c.fail(ptr, "holds what looks like a payment card number: use an identifier of your own")
		c.code = CodePANDetected
	}
}

func (c *checks) name(ptr, s string) {
	if s != "" && CheckName(s) != nil {
		c.fail(ptr, CheckName(s).Error())
	}
}

func (c *checks) oneOf(ptr, s string, of ...string) {
	if s != "" && !slices.Contains(of, s) {
		c.fail(ptr, fmt.Sprintf("is not one of %s", strings.Join(of, ", ")))
	}
}

func (c *checks) sku(ptr string, s *SKU) {
	if *s == "" {
		c.fail(ptr, "is required")
		return
	}
	n, err := NormalizeSKU(string(*s))
	if err != nil {
		c.fail(ptr, err.Error())
		return
	}
	*s = n
}

func (c *checks) problem() *Problem {
	if len(c.errs) == 0 {
		return nil
	}
	return problemOf(c.code, c.errs[0].Pointer+" "+c.errs[0].Message, c.errs)
}

// DecodeReservation reads the body of POST /v1/reservations. SKUs come out
// normalised.
func DecodeReservation(b []byte) (*ReservationRequest, *Problem) {
	r := &ReservationRequest{}
	if p := DecodeStrict(b, r); p != nil {
		return nil, p
	}
	c := checks{}
	c.id("/reservation_id", r.ReservationID, ReservationIDBytes, true)
	c.id("/channel", r.Channel, NameBytesMax, true)
	c.name("/channel", r.Channel)
	c.id("/order_id", r.OrderID, IDBytesMax, false)
	c.oneOf("/mode", r.Mode, ModeAllOrNothing, ModePartial)
	c.oneOf("/fulfilment", r.Fulfilment, FulfilmentPickup, FulfilmentShip, FulfilmentDelivery)
	c.oneOf("/sourcing", r.Sourcing, SourcingNearest, SourcingMostStock, SourcingFreshest, SourcingLeastSplits)
	if r.TTLS < 0 || r.TTLS > ReservationTTLMaxS {
		c.fail("/ttl_s", fmt.Sprintf("is %d: give 1 to %d seconds, or leave it out for %d", r.TTLS, ReservationTTLMaxS, ReservationTTLUsualS))
	}
	if n := len(r.Lines); n == 0 || n > ReservationLinesMax {
		c.fail("/lines", fmt.Sprintf("has %d lines: send 1 to %d", n, ReservationLinesMax))
	} else {
		for i := range r.Lines {
			l := &r.Lines[i]
			at := fmt.Sprintf("/lines/%d", i)
			c.sku(at+"/sku", &l.SKU)
			c.name(at+"/location", string(l.Location))
			if l.Quantity <= 0 || l.Quantity > QuantityMax {
				c.fail(at+"/quantity", "must be above zero")
			}
		}
	}
	return r, c.problem()
}

// DecodeItem reads one article of the item master.
func DecodeItem(b []byte) (*Item, *Problem) {
	it := &Item{}
	if p := DecodeStrict(b, it); p != nil {
		return nil, p
	}
	c := checks{}
	c.sku("/sku", &it.SKU)
	c.id("/name", it.Name, 200, false)
	c.id("/category", it.Category, IDBytesMax, false)
	if len(it.Units) > ItemUnitsMax {
		c.fail("/units", fmt.Sprintf("has %d units, at most %d", len(it.Units), ItemUnitsMax))
	}
	seen := map[string]bool{it.BaseUnit: it.BaseUnit != "", "": true}
	for i, u := range it.Units {
		at := fmt.Sprintf("/units/%d", i)
		if seen[u.UOM] {
			c.fail(at+"/uom", "is empty, the base unit, or stated twice")
		}
		seen[u.UOM] = true
		if u.Factor <= 0 || u.Factor > QuantityMax {
			c.fail(at+"/factor", "must be above zero: how many base units one of it is")
		}
	}
	if len(it.Kit) > KitPartsMax {
		c.fail("/kit", fmt.Sprintf("has %d parts, at most %d", len(it.Kit), KitPartsMax))
	}
	for i := range it.Kit {
		at := fmt.Sprintf("/kit/%d", i)
		c.sku(at+"/sku", &it.Kit[i].SKU)
		if it.Kit[i].Quantity <= 0 || it.Kit[i].Quantity > QuantityMax {
			c.fail(at+"/quantity", "must be above zero")
		}
		if it.Kit[i].SKU == it.SKU {
			c.fail(at+"/sku", "is the kit itself")
		}
	}
	if it.Version != 0 || it.ChangedBy != "" || !it.ChangedAt.IsZero() {
		c.fail("/version", "is set by the aggregator: leave version, changed_at and changed_by out")
	}
	return it, c.problem()
}

// DecodePolicy reads one policy.
func DecodePolicy(b []byte) (*Policy, *Problem) {
	p := &Policy{}
	if bad := DecodeStrict(b, p); bad != nil {
		return nil, bad
	}
	c := checks{}
	c.id("/policy_id", p.PolicyID, IDBytesMax, true)
	c.id("/note", p.Note, 500, false)
	if p.Scope.SKU != "" {
		c.sku("/scope/sku", &p.Scope.SKU)
	}
	c.id("/scope/category", p.Scope.Category, IDBytesMax, false)
	c.name("/scope/location", string(p.Scope.Location))
	c.id("/scope/group", p.Scope.Group, IDBytesMax, false)
	c.name("/scope/channel", p.Scope.Channel)
	c.policyValues(p)
	if p.ValidFrom != nil && p.ValidTo != nil && !p.ValidFrom.Before(*p.ValidTo) {
		c.fail("/valid_to", "is not after valid_from")
	}
	if p.Version != 0 || p.ChangedBy != "" || !p.ChangedAt.IsZero() || p.Deleted {
		c.fail("/version", "is set by the aggregator: leave version, changed_at, changed_by and deleted out")
	}
	return p, c.problem()
}

func (c *checks) policyValues(p *Policy) {
	v := &p.Values
	if (*v == PolicyValues{}) {
		c.fail("/values", "states nothing: give at least one value")
	}
	for _, q := range []struct {
		name string
		v    *Quantity
	}{{"safety_stock", v.SafetyStock}, {"threshold", v.Threshold}, {"fence", v.Fence}, {"low_at", v.LowAt}, {"escrow", v.Escrow}} {
		if q.v != nil && (*q.v < 0 || *q.v > QuantityMax) {
			c.fail("/values/"+q.name, "must not be below zero")
		}
	}
	if v.Fence != nil && p.Scope.Channel == "" {
		c.fail("/scope/channel", "is required with a fence: whose quota it is")
	}
	if a := v.ServiceLevel; a != nil && *a != 0 && (*a < 0.5 || *a >= 1) {
		c.fail("/values/service_level", "must be 0 (no buffer) or from 0.5 to below 1")
	}
	if d := v.DarkAfterS; d != nil && *d < 1 {
		c.fail("/values/dark_after_s", "must be at least 1 second")
	}
	if v.Sourcing != nil {
		c.oneOf("/values/sourcing", *v.Sourcing, SourcingNearest, SourcingMostStock, SourcingFreshest, SourcingLeastSplits)
	}
	if v.OnConflict != nil {
		c.oneOf("/values/on_conflict", *v.OnConflict, OnConflictSource, OnConflictNotify)
	}
}
