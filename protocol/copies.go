package protocol

import "time"

// Copies tells of processes that speak under one agent's name: a cloned disk, a
// restored image beside its original, two installations with one token.
type Copies struct {
	Store         StoreID    `json:"store"`
	Agent         AgentID    `json:"agent"`
	State         string     `json:"state"`  // quarantined, picked
	Reason        string     `json:"reason"` // why they were quarantined
	QuarantinedAt time.Time  `json:"quarantined_at"`
	Picked        string     `json:"picked,omitempty"` // boot_id that goes on under the name
	PickedAt      *time.Time `json:"picked_at,omitempty"`
	PickedBy      string     `json:"picked_by,omitempty"`
	Copies        []Copy     `json:"copies"`
}

// Copy is one of them, as its last HELLO told.
type Copy struct {
	BootID    string    `json:"boot_id"`
	InstallID string    `json:"install_id"`
	Agent     AgentID   `json:"agent"` // under which its journal is merged; empty: it is not
	Version   string    `json:"agent_version"`
	Epoch     uint64    `json:"epoch"`
	HeadSeq   uint64    `json:"head_seq"`
	ChainHead Chain     `json:"chain_head"`
	FirstAt   time.Time `json:"first_at"`
	LastAt    time.Time `json:"last_at"`
}

// The states of Copies.
const (
	CopiesQuarantined = "quarantined" // none is merged until a person picks one
	CopiesPicked      = "picked"      // one goes on, the others are merged beside it
)
