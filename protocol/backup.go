package protocol

import "time"

// BackupStatus answers GET /v1/backups.
type BackupStatus struct {
	CoveredBy     string      `json:"safe_covered_by"` // none: what is merged counts as safe · backup: what a verified copy holds
	To            string      `json:"to,omitempty"`
	EveryS        float64     `json:"every_s,omitempty"`
	Keep          int         `json:"keep,omitempty"`
	StartedAt     time.Time   `json:"started_at"`
	Last          *BackupCopy `json:"last"` // that counted; null: none yet
	LastAttemptAt *time.Time  `json:"last_attempt_at"`
	LastError     string      `json:"last_error,omitempty"` // of the last attempt, where it failed
	NextAt        *time.Time  `json:"next_at"`
	Warning       string      `json:"warning,omitempty"`
	Overdue       bool        `json:"overdue"` // the newest copy is older than twice the period
	Generation    uint64      `json:"generation"`
}

// BackupCopy is one copy of the ledger.
type BackupCopy struct {
	ID          string    `json:"id"`
	At          time.Time `json:"at"`   // the moment that it is of
	Head        uint64    `json:"head"` // position of the newest entry
	Generation  uint64    `json:"generation"`
	StateHash   string    `json:"state_hash"`
	Bytes       int64     `json:"bytes"` // of its files, those included that it shares with others
	Agents      int       `json:"agents"`
	DurationS   float64   `json:"duration_s"`
	CarriedAway bool      `json:"carried_away"` // by the configured command
	RehearsedAt time.Time `json:"rehearsed_at,omitzero"`
}

// BackupRequest is the body of POST /v1/backups.
type BackupRequest struct {
	To    string `json:"to,omitempty"`    // "" = the configured folder; a copy elsewhere moves no mark
	Begin bool   `json:"begin,omitempty"` // take the folder though it is not the one used before
}
