package protocol

import "time"

// CountNext is one article that a store should count soon, by what a count would
// be worth: the units a day that are promised or refused wrongly for as long as
// nobody counts.
type CountNext struct {
	SKU       SKU        `json:"sku"`
	OnHand    Quantity   `json:"on_hand"`
	Worth     float64    `json:"worth_per_day"`  // units a day
	Demand    float64    `json:"demand_per_day"` // units a day
	Doubt     float64    `json:"doubt"`          // probability that the shelf is not as the book says where it matters
	LastCount *time.Time `json:"last_counted_at"`
	Reason    string     `json:"reason"`
}
