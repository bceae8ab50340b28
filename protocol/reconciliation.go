package protocol

import "time"

// Reconciliation is one row of drift: what an outer system states of a position
// against what the ledger says at the statement's own moment.
type Reconciliation struct {
	ID         string    `json:"id"`   // {source}/{location}/{sku}, or {source}/{location} for a whole snapshot
	Kind       string    `json:"kind"` // drift | snapshot_older | mass_zeroing | residue (an aged transfer or advice)
	Source     string    `json:"source"`
	Location   StoreID   `json:"location"`
	SKU        SKU       `json:"sku,omitempty"`
	SnapshotID string    `json:"snapshot_id,omitempty"`
	AsOf       time.Time `json:"as_of"`
	Cut        string    `json:"cut"` // own | acknowledged | inferred
	Stated     Quantity  `json:"stated"`
	Book       Quantity  `json:"book"` // at the cut
	Difference Quantity  `json:"difference"`
	Cycles     int       `json:"cycles"` // agreeing statements in a row
	Needed     int       `json:"cycles_needed,omitempty"`
	Owner      string    `json:"owner"` // who is the record of this quantity here
	State      string    `json:"state"` // open | adopted | dismissed | settled
	Reason     string    `json:"reason"`
	FirstAt    time.Time `json:"first_at"`
	LastAt     time.Time `json:"last_at"`
	DecidedAt  time.Time `json:"decided_at,omitzero"`
	DecidedBy  string    `json:"decided_by,omitempty"`
	Note       string    `json:"note,omitempty"`
	Exceptions []string  `json:"exceptions,omitempty"` // refused: under which its parts are parked
	Actions    []string  `json:"actions"`              // what may be decided now: adopt, dismiss, write_off
}

// Decisions on a reconciliation.
const (
	DecideAdopt    = "adopt"
	DecideDismiss  = "dismiss"
	DecideWriteOff = "write_off"
)
