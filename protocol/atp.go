package protocol

import "time"

// ATP is available-to-promise over time: at each point what may still be promised
// for then, which is the least that is projected from then to the horizon.
type ATP struct {
	SKU      SKU        `json:"sku"`
	Location StoreID    `json:"location"`
	AsOf     time.Time  `json:"as_of"`
	Horizon  time.Time  `json:"horizon"`
	Points   []ATPPoint `json:"points"` // the first is now
}

// ATPPoint is one moment at which the projection changes.
type ATPPoint struct {
	At        time.Time `json:"at"`
	Change    Quantity  `json:"change"`           // expected then; 0 for now
	Projected Quantity  `json:"projected"`        // available then, if all comes as advised
	ATP       Quantity  `json:"atp"`              // least projected from then to the horizon, never below zero
	Reason    string    `json:"reason,omitempty"` // which advice or transfer
}
