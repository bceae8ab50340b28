package protocol

import "time"

// TraceQuery is an id, and what is known of the document beside it.
type TraceQuery struct {
	ID    string // event id, document id, trace id of a traceparent, order, hold or transfer
	Store StoreID
	Kind  Kind
}

// Trace answers GET /v1/traces/{id}: the way of every document that an id speaks of.
type Trace struct {
	ID        string           `json:"id"`
	Documents []TracedDocument `json:"documents"`
	Searched  *TraceSearch     `json:"searched,omitempty"` // null where the id itself said where to look
}

// TraceSearch says how far back an id was looked for.
type TraceSearch struct {
	Entries int        `json:"entries"` // of the log, newest first to last
	FromAt  *time.Time `json:"from_at"` // when the oldest of them was merged
	Whole   bool       `json:"whole"`   // nothing older exists, and nothing was left out
}

// TracedDocument is one document's way, hop by hop.
type TracedDocument struct {
	EventID     EventID     `json:"event_id"`
	Kind        Kind        `json:"kind"`
	Store       StoreID     `json:"store"`
	DocumentID  string      `json:"document_id"`
	Traceparent string      `json:"traceparent,omitempty"`
	State       string      `json:"state"` // merged | parked | retried | discarded
	Hops        []Hop       `json:"hops"`
	Lines       []TraceLine `json:"lines"`
}

// Hop is one place that a document passed.
type Hop struct {
	Hop     string         `json:"hop"` // occurred, journaled, merged, parked, decided, and what comes behind the ledger
	At      time.Time      `json:"at"`
	Clock   string         `json:"clock"`              // whose: register, agent, aggregator, or another system's name
	By      string         `json:"by,omitempty"`       // register, store/agent, person or system
	Detail  string         `json:"detail,omitempty"`   // in words
	AfterMS *int64         `json:"after_ms,omitempty"` // since the hop before; by two clocks where they differ
	Ref     map[string]any `json:"ref,omitempty"`      // what to look up next: position, exception, posting
}

// TraceLine is a line, with the call that explains what it did.
type TraceLine struct {
	Line     int      `json:"line"`
	SKU      SKU      `json:"sku"`
	Quantity Quantity `json:"quantity"`
	Explain  string   `json:"explain"`
}
