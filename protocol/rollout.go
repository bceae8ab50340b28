package protocol

import "time"

// Rollout says which agents are to run a version (PUT /v1/releases/rollout).
type Rollout struct {
	Version string    `json:"version"`
	Percent int       `json:"percent"`          // of the agents in scope; raising it only adds some
	Stores  []StoreID `json:"stores,omitempty"` // with regions: none of both means all
	Regions []string  `json:"regions,omitempty"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Paused  string    `json:"paused,omitempty"` // why nobody further is asked; set by a person or by failures
}

// RolloutProgress counts the agents of a rollout.
type RolloutProgress struct {
	InScope int `json:"in_scope"`
	Chosen  int `json:"chosen"` // by the percentage
	Running int `json:"running"`
	Asked   int `json:"asked"` // and neither running it nor failed
	Failed  int `json:"failed"`
	Waiting int `json:"waiting"` // chosen, not asked yet
}

// Releases answers GET /v1/releases.
type Releases struct {
	Released *Released       `json:"released"` // null: nothing is
	Rollout  *Rollout        `json:"rollout"`  // null: there is none
	Progress RolloutProgress `json:"progress"`
}

// Released is the published release.
type Released struct {
	Version   string    `json:"version"`
	Sequence  uint64    `json:"sequence"`
	ExpiresAt time.Time `json:"expires_at"`
	Platforms []string  `json:"platforms"` // os/arch
}
