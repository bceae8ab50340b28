package protocol

import "time"

// Item is the master data of one article that the numbers depend on. Versions
// are told apart by ledger position: an event is read with the version that was
// known when it was merged, and the explanation names it.
type Item struct {
	SKU       SKU            `json:"sku"`
	Name      string         `json:"name,omitempty"`
	Category  string         `json:"category,omitempty"`
	BaseUnit  string         `json:"base_unit,omitempty"` // UN/ECE Rec 20; "" = EA
	Units     []UnitOfItem   `json:"units,omitempty"`     // conversions to the base unit
	Kit       []KitComponent `json:"kit,omitempty"`       // bill of materials: a kit has no stock of its own
	Version   uint64         `json:"version,omitempty"`   // set by the aggregator: 1, 2, 3 … per SKU
	ChangedAt time.Time      `json:"changed_at,omitzero"`
	ChangedBy string         `json:"changed_by,omitempty"`
}

// UnitOfItem converts one unit of measure: one UOM is Factor base units.
type UnitOfItem struct {
	UOM    string   `json:"uom"`    // UN/ECE Rec 20: CS, KGM, …
	Factor Quantity `json:"factor"` // base units per UOM, thousandths
}

// The bounds of items.
const (
	ItemUnitsMax = 16
	KitPartsMax  = 64
	KitDepthMax  = 8
	ItemsMax     = 2_000_000
)
