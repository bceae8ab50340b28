package epcis

import (
	"slices"

	"tillwire/protocol"
)

// effect is what a business step does to the stock of its place.
type effect struct {
	kind   protocol.Kind
	sign   int // of the quantities of an adjustment
	reason string
	from   string // status changes: between which dispositions
}

// moves are the steps of CBV 2.0 that move stock. Goods that are picked, packed
// or staged are still in the house: they leave with shipping, once.
var moves = map[string]effect{
	"receiving":       {kind: protocol.KindReceipt},
	"retail_selling":  {kind: protocol.KindSale},
	"shipping":        {kind: protocol.KindSale}, // a transfer where the destination is told
	"void_shipping":   {kind: protocol.KindAdjustment, sign: 1, reason: "correction"},
	"cycle_counting":  {kind: protocol.KindCount},
	"stock_taking":    {kind: protocol.KindCount},
	"destroying":      {kind: protocol.KindAdjustment, sign: -1, reason: "damage"},
	"decommissioning": {kind: protocol.KindAdjustment, sign: -1, reason: "correction"},
	"commissioning":   {kind: protocol.KindAdjustment, sign: 1, reason: "correction"},
	"dispensing":      {kind: protocol.KindAdjustment, sign: -1, reason: "internal_use"},
	"sampling":        {kind: protocol.KindAdjustment, sign: -1, reason: "internal_use"},
	"holding":         {kind: protocol.KindStatusChange, from: "sellable"},
	"inspecting":      {kind: protocol.KindStatusChange, from: "sellable"}, // where it finds something
}

// still are the other steps of CBV 2.0: they move no stock between places.
var still = []string{
	"accepting", "arriving", "assembling", "collecting", "consigning", "creating_class_instance", "departing", "disassembling",
	"encoding", "entering_exiting", "installing", "killing", "loading", "other", "packing", "picking", "removing", "repackaging",
	"repairing", "replacing", "reserving", "sensor_reporting", "staging_outbound", "stocking", "storing", "transforming",
	"transporting", "unloading", "unpacking",
}

func isStill(step string) bool { return slices.Contains(still, step) }

// unsellable reads a CBV disposition as ours; "" where the goods are sellable
// or it says nothing about that.
func unsellable(disposition string) string {
	switch disposition {
	case "damaged":
		return "damaged"
	case "non_sellable_other", "expired", "recalled", "disposed", "needs_replacement", "no_pedigree_match", "mismatch_class", "mismatch_instance", "mismatch_quantity", "unavailable":
		return "quarantine"
	case "returned", "unknown":
		return "unknown"
	}
	return ""
}
