package protocol

import "time"

// OutcomesFilter selects what GET /v1/outcomes adds up; empty fields match all.
type OutcomesFilter struct {
	From, To time.Time // weeks that hold a moment from From up to before To
	Store    StoreID
	Channel  string
	Group    []string // of week, store, channel; nothing is one row
}

// What outcomes may be told apart by.
const (
	ByWeek    = "week"
	ByStore   = "store"
	ByChannel = "channel"
)

// Outcomes is how well the chain's numbers and promises held.
type Outcomes struct {
	Group       []string          `json:"group"`
	Rows        []Outcome         `json:"rows"`
	Total       Outcome           `json:"total"`
	Definitions map[string]string `json:"definitions"`
	Oldest      string            `json:"oldest_week,omitempty"` // kept
	WeeksKept   int               `json:"weeks_kept"`
	Dropped     uint64            `json:"rows_dropped,omitempty"` // beyond what is kept
}

// Outcome is one row: of a week, a store, a channel, or several of each.
type Outcome struct {
	Week    string  `json:"week,omitempty"` // its Monday, in UTC
	Store   StoreID `json:"store,omitempty"`
	Channel string  `json:"channel,omitempty"`

	Discrepancy     Discrepancy   `json:"discrepancy"`
	Oversells       Oversells     `json:"oversells"`
	Reconciliations int64         `json:"manual_reconciliations"`
	SyncWindow      SyncWindow    `json:"sync_window"`
	Fulfilment      FulfilmentSum `json:"fulfilment"`
}

// Discrepancy is what counts found against the book.
type Discrepancy struct {
	Lines       int64    `json:"count_lines"`
	Differing   int64    `json:"differing"`
	Rate        *float64 `json:"rate,omitempty"` // none: nothing was counted
	Unexplained Quantity `json:"unexplained"`    // sum of what differed, either way
	Opened      int64    `json:"opened"`         // first counts, with nothing to compare
}

// Oversells are promises and positions that went beyond what was there.
type Oversells struct {
	Total      int64 `json:"total"`
	AtRisk     int64 `json:"promises_at_risk"`
	Moved      int64 `json:"promises_moved"`
	BelowZero  int64 `json:"below_zero"`
	EscrowUsed int64 `json:"escrow_breaches"` // among promises_at_risk
}

// SyncWindow is how long documents took from the store's journal to the ledger.
type SyncWindow struct {
	Documents int64  `json:"documents"`
	P50MS     *int64 `json:"p50_ms,omitempty"`
	P95MS     *int64 `json:"p95_ms,omitempty"`
	P99MS     *int64 `json:"p99_ms,omitempty"`
	MaxMS     *int64 `json:"max_ms,omitempty"` // upper end of the last bucket
}

// FulfilmentSum is what became of firm promises.
type FulfilmentSum struct {
	Kept      int64    `json:"kept"`
	Short     int64    `json:"short"`
	Rejected  int64    `json:"rejected"`
	Moved     int64    `json:"moved"`
	Cancelled int64    `json:"cancelled"`          // by the channel or the customer: neither for nor against
	Accuracy  *float64 `json:"accuracy,omitempty"` // none: no promise ended
}
