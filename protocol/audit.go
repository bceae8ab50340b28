package protocol

import (
	"encoding/json"
	"strings"
	"time"
)

// AuditEntry is one thing that a person did, or tried to: who, when, what, and what
// it was before and after.
type AuditEntry struct {
	No      uint64          `json:"no"` // 1, 2, 3 … without gaps
	At      time.Time       `json:"at"`
	Who     string          `json:"who"`
	Via     string          `json:"via"`    // ui | api | command_line
	Action  string          `json:"action"` // e.g. exception.discard, reservation.release, account.add
	Object  string          `json:"object"` // what it was done to
	Note    string          `json:"note,omitempty"`
	Before  json.RawMessage `json:"before,omitempty"`
	After   json.RawMessage `json:"after,omitempty"`
	Refused string          `json:"refused,omitempty"` // why it did not happen
}

// Ways by which an action came.
const (
	ViaUI          = "ui"
	ViaAPI         = "api"
	ViaCommandLine = "command_line"
)

// AuditFilter selects entries; empty fields match all. Before is the number of the
// last entry of the page before.
type AuditFilter struct {
	Who    string
	Action string // whole, or the part before the dot
	Object string // begins with
	Before uint64
	Limit  int
}

// Match tells whether an entry is meant.
func (f *AuditFilter) Match(e *AuditEntry) bool {
	area, _, _ := strings.Cut(e.Action, ".")
	return (f.Before == 0 || e.No < f.Before) && (f.Who == "" || f.Who == e.Who) && (f.Action == "" || f.Action == e.Action || f.Action == area) &&
		strings.HasPrefix(e.Object, f.Object)
}
