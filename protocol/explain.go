package protocol

import (
	"fmt"
	"time"
)

// UnavailableBy splits what is on hand but cannot be sold by disposition.
type UnavailableBy struct {
	Damaged    Quantity `json:"damaged,omitzero"`
	Quarantine Quantity `json:"quarantine,omitzero"`
	Unknown    Quantity `json:"unknown,omitzero"` // returned without receipt, not yet judged
}

// UnavailableOf names the numbers of a position's dispositions.
func UnavailableOf(q [DispositionsUnsellable]Quantity) UnavailableBy {
	return UnavailableBy{Damaged: q[0], Quarantine: q[1], Unknown: q[2]}
}

// Sum is what is unavailable in all.
func (u UnavailableBy) Sum() Quantity { return u.Damaged + u.Quarantine + u.Unknown }

// ExplainDigest is what an agent announced of its backlog and is still on its
// way: its sums are part of on_hand and unavailable until the journal has come.
type ExplainDigest struct {
	Agent       AgentID   `json:"agent"`
	MergedSeq   uint64    `json:"merged_seq"`
	AsOfSeq     uint64    `json:"as_of_seq"`
	AsOf        time.Time `json:"as_of"` // agent's clock
	OnHand      Quantity  `json:"on_hand"`
	Unavailable Quantity  `json:"unavailable,omitzero"`
}

// Words continue the sum of an explanation.
func (d *ExplainDigest) Words() string {
	sign, q := "+", d.OnHand
	if q < 0 {
		sign, q = "−", -q
	}
	return fmt.Sprintf("; %s %s announced by %s and on its way", sign, q, d.Agent)
}

// ExplainFlow is an open transfer or advice: in_transit is the sum of the open
// transfers that are above zero, incoming that of the advices.
type ExplainFlow struct {
	Kind  string     `json:"kind"` // transfer | advice
	ID    string     `json:"id"`
	Open  Quantity   `json:"open"` // below zero: more came than was sent
	Since time.Time  `json:"since"`
	Due   *time.Time `json:"due,omitempty"`
}

// ExplainHold is one reservation's share of a position: reserved and allocated
// are the sums over them.
type ExplainHold struct {
	ReservationID string           `json:"reservation_id"`
	Channel       string           `json:"channel"`
	State         ReservationState `json:"state"`
	Reserved      Quantity         `json:"reserved,omitzero"`
	Allocated     Quantity         `json:"allocated,omitzero"`
	ExpiresAt     *time.Time       `json:"expires_at,omitempty"`
}

// ExplainBuffer is a hold-back: safety_stock and risk_buffer are the sums of
// theirs.
type ExplainBuffer struct {
	Quantity string   `json:"quantity"` // safety_stock | risk_buffer | fenced
	Value    Quantity `json:"value"`
	Reason   string   `json:"reason"` // in words: which policy and version, or the arithmetic
	PolicyID string   `json:"policy_id,omitempty"`
	Version  uint64   `json:"version,omitempty"`
}
