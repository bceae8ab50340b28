package protocol

import "time"

// Policy says what is held back from sale, and how hard, for the positions that
// its scope matches. Of several that match, each value is taken from the most
// specific that states it: SKU before category before any; within these
// location before group before any; then channel before any; then the newer.
type Policy struct {
	PolicyID  string       `json:"policy_id"`
	Scope     PolicyScope  `json:"scope"`
	Values    PolicyValues `json:"values"`
	ValidFrom *time.Time   `json:"valid_from,omitempty"` // promotions: dated
	ValidTo   *time.Time   `json:"valid_to,omitempty"`   // exclusive
	Note      string       `json:"note,omitempty"`
	Version   uint64       `json:"version,omitempty"` // set by the aggregator: 1, 2, 3 … per policy_id
	ChangedAt time.Time    `json:"changed_at,omitzero"`
	ChangedBy string       `json:"changed_by,omitempty"`
	Deleted   bool         `json:"deleted,omitempty"`
}

// PolicyScope selects positions; empty fields match all.
type PolicyScope struct {
	SKU      SKU     `json:"sku,omitempty"`
	Category string  `json:"category,omitempty"`
	Location StoreID `json:"location,omitempty"`
	Group    string  `json:"group,omitempty"`
	Channel  string  `json:"channel,omitempty"` // fence, low_at: for this channel
}

// PolicyValues are what a policy states; nil is not stated.
type PolicyValues struct {
	SafetyStock  *Quantity `json:"safety_stock,omitempty"`  // per position, kept for walk-in customers
	Threshold    *Quantity `json:"threshold,omitempty"`     // network hold-back per position, on top of safety stock
	Fence        *Quantity `json:"fence,omitempty"`         // ring-fenced per position for the scope's channel
	LowAt        *Quantity `json:"low_at,omitempty"`        // available at or below: "low" events
	ServiceLevel *float64  `json:"service_level,omitempty"` // α of the risk buffer, 0.5 ≤ α < 1; 0 turns it off
	Escrow       *Quantity `json:"escrow,omitempty"`        // units that are the store's alone while it is dark
	DarkAfterS   *int64    `json:"dark_after_s,omitempty"`  // lag beyond which a location is dark
	Sourcing     *string   `json:"sourcing,omitempty"`
	OnConflict   *string   `json:"on_conflict,omitempty"` // source_again | notify
}

// Holdback is what policies say of one position, resolved.
type Holdback struct {
	Safety     Quantity
	Threshold  Quantity
	Escrow     Quantity
	LowAt      Quantity
	Alpha      float64 // service level of the risk buffer; 0 = off
	DarkAfterS int64
	Fences     []Fence // by channel name; nil is usual
}

// Fence is a channel's own quota.
type Fence struct {
	Channel  string
	Quantity Quantity
}

// Holdbacks are those of one SKU: immutable, shared between SKUs that have
// nothing of their own. UntilUS is when a dated policy begins or ends, and they
// must be asked for again; 0 = never.
type Holdbacks struct {
	Rev     uint64
	UntilUS int64
	Default Holdback
	At      map[StoreID]*Holdback // locations that differ
}

// For gives the holdback of one location.
func (h *Holdbacks) For(loc StoreID) *Holdback {
	if x := h.At[loc]; x != nil {
		return x
	}
	return &h.Default
}

// FencedForOthers sums the quotas of channels other than this one; where no
// channel asks, nobody is an other and nothing is fenced.
func (h *Holdback) FencedForOthers(channel string) Quantity {
	var sum Quantity
	for i := range h.Fences {
		if h.Fences[i].Channel != channel && channel != "" {
			sum += h.Fences[i].Quantity
		}
	}
	return sum
}

// Defaults where no policy says otherwise.
const (
	ServiceLevelUsual = 0.95
	DarkAfterUsualS   = 900
)

// What happens to a promise that stock no longer covers.
const (
	OnConflictSource = "source_again"
	OnConflictNotify = "notify"
)
