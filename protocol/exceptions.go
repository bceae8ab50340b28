package protocol

import (
	"encoding/json"
	"time"
)

// ExceptionAct is one thing that was done to an exception.
type ExceptionAct struct {
	At      time.Time     `json:"at"`
	Who     string        `json:"who"`    // a person, or policy
	Action  string        `json:"action"` // retry | edit | discard
	Note    string        `json:"note,omitempty"`
	State   string        `json:"state"`             // afterwards
	Code    string        `json:"code,omitempty"`    // it stays open: the cause afterwards
	Changes []FieldChange `json:"changes,omitempty"` // edit: what became another
}

// Actions on exceptions.
const (
	ExceptionRetry   = "retry"
	ExceptionEdit    = "edit"
	ExceptionDiscard = "discard"
)

// FieldChange is one value of a document that a person corrected.
type FieldChange struct {
	Pointer string          `json:"pointer"`
	Was     json.RawMessage `json:"was,omitempty"` // none: it was not there
	Now     json.RawMessage `json:"now,omitempty"` // none: it is gone
}

// ExceptionCause is what is open of one cause.
type ExceptionCause struct {
	Code    string         `json:"code"`
	Open    int            `json:"open"`
	Oldest  time.Time      `json:"oldest"`
	Newest  time.Time      `json:"newest"`
	Sources map[string]int `json:"sources"`
	Stores  int            `json:"stores"`  // how many are concerned
	Counted bool           `json:"counted"` // documents of this cause took effect all the same
	Actions []string       `json:"actions"` // what can be done to them: retry, edit, discard
}

// ExceptionBulk is what one step of deciding many came to.
type ExceptionBulk struct {
	Action   string          `json:"action"`
	Preview  bool            `json:"preview"`             // nothing was done
	Matched  int             `json:"matched"`             // in this step; of a preview in all
	More     bool            `json:"more"`                // preview: at least so many match. Else: call again with next
	Done     int             `json:"done"`                // are decided now
	Open     int             `json:"open"`                // stay open: their reasons are told anew
	Refused  []ExceptionNote `json:"refused,omitempty"`   // cannot be decided so
	Next     string          `json:"next,omitempty"`      // as after
	Examples []Exception     `json:"examples,omitempty"`  // preview: the first ones
	Causes   map[string]int  `json:"causes,omitempty"`    // preview
	ByStore  map[string]int  `json:"by_store,omitempty"`  // preview
	BySource map[string]int  `json:"by_source,omitempty"` // preview
}

// ExceptionNote says why one exception stays as it is.
type ExceptionNote struct {
	ID      string `json:"id"`
	Message string `json:"message"`
}

// SourceStanding is how what a source parks is dealt with, and how it stands.
type SourceStanding struct {
	Source       string   `json:"source"`
	Retry        []string `json:"retry"` // causes that are tried again by themselves
	FirstS       int64    `json:"first_s,omitempty"`
	MostS        int64    `json:"most_s,omitempty"`
	Attempts     int      `json:"attempts,omitempty"`
	StopPerHour  int      `json:"stop_per_hour,omitempty"` // 0: it is never stopped
	ParkedInHour int      `json:"parked_in_hour"`
	Open         int      `json:"open"`
	OpenMore     bool     `json:"open_more,omitempty"` // at least so many
	Paused       *Pause   `json:"paused,omitempty"`
}

// Pause says why nothing is taken of a source.
type Pause struct {
	Since  time.Time `json:"since"`
	By     string    `json:"by"` // policy, or a person
	Reason string    `json:"reason"`
}
