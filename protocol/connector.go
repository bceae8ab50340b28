package protocol

import "time"

// Directions of a connector.
const (
	ConnectorIn   = "in"
	ConnectorOut  = "out"
	ConnectorBoth = "both"
)

// States of a connector.
const (
	ConnectorOK       = "ok"
	ConnectorStarting = "starting"
	ConnectorFailing  = "failing" // it retries by itself
	ConnectorStopped  = "stopped" // it waits for a person: Reason says for what
)

// Connector is one outer system as GET /v1/connectors shows it.
type Connector struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Direction string `json:"direction"`
	State     string `json:"state"`
	Reason    string `json:"reason,omitempty"`

	LagS    float64 `json:"lag_s"`   // age of the oldest thing that waits; 0: nothing does
	Pending int     `json:"pending"` // things that wait
	In      uint64  `json:"in"`      // documents taken of it, since start
	Out     uint64  `json:"out"`     // items that it accepted of us, since start

	InPerS float64 `json:"in_per_s"` // documents taken, over the last minute
	DelayS float64 `json:"delay_s"`  // how old the newest document's moment was when it came
	Parked uint64  `json:"parked"`   // documents that wait as exceptions, since start

	Duplicates uint64 `json:"duplicates"`
	Echoes     uint64 `json:"echoes"`    // our own writes, heard back and passed over
	Coalesced  uint64 `json:"coalesced"` // changes that a newer one replaced before they were sent
	Retries    uint64 `json:"retries"`
	Throttled  uint64 `json:"throttled"` // calls that it refused for their rate
	Refused    uint64 `json:"refused"`   // items that it will not take as they are

	Rates        []ConnectorRate `json:"rates,omitempty"`
	SLA          *ConnectorSLA   `json:"sla,omitempty"`
	Drift        []SchemaDrift   `json:"drift,omitempty"`
	DeadLetters  int             `json:"dead_letters"`
	Divergences  int             `json:"divergences"`
	LastDocument *ConnectorDoc   `json:"last_document"`
	LastError    *ConnectorErr   `json:"last_error"`
}

// ConnectorRate is what may be called how often.
type ConnectorRate struct {
	Account   string  `json:"account,omitempty"`
	Operation string  `json:"operation"`
	PerS      float64 `json:"per_s"`
	Burst     int     `json:"burst"`
	Learnt    bool    `json:"learnt"` // the partner said so
	Left      float64 `json:"left"`   // calls that may be made now
}

// ConnectorSLA is the age of a stock change when the partner accepted it, over the
// newest of them.
type ConnectorSLA struct {
	Items   int     `json:"items"`
	TargetS float64 `json:"target_s"`
	Within  float64 `json:"within"` // share of the items
	P50S    float64 `json:"p50_s"`
	P90S    float64 `json:"p90_s"`
	P99S    float64 `json:"p99_s"`
	MaxS    float64 `json:"max_s"`
}

// SchemaDrift is a field that the partner's contract, as we know it, does not have.
type SchemaDrift struct {
	Where   string    `json:"where"` // operation or topic
	Field   string    `json:"field"` // JSON pointer, * for any index
	Count   uint64    `json:"count"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// ConnectorDoc is the newest document that went through.
type ConnectorDoc struct {
	ID   string    `json:"id"`
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
}

// ConnectorErr is the newest thing that went wrong.
type ConnectorErr struct {
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

// DeadLetter is a document or message that cannot take effect as it is.
type DeadLetter struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"` // topic, or type of the message
	Reason   string    `json:"reason"`
	Attempts int       `json:"attempts,omitempty"`
	Keys     []string  `json:"keys,omitempty"`     // what it was about: SKUs, or SKU@location
	Document string    `json:"document,omitempty"` // as it came, without what tells of persons
}

// Divergence is a difference between what a channel shows and what it should.
type Divergence struct {
	SKU      SKU       `json:"sku"`
	Location StoreID   `json:"location"`
	Field    string    `json:"field"` // allocated | on_hand
	Expected Quantity  `json:"expected"`
	Actual   Quantity  `json:"actual"`
	Cause    string    `json:"cause"` // phantom_unit | missing_unit | unknown_allocation | unknown_hold
	Words    string    `json:"words"`
	Since    time.Time `json:"since"`
	SeenAt   time.Time `json:"seen_at"`

	CorrectedAt *time.Time `json:"corrected_at"` // null: it is still there
}

// WebhookReceipt answers POST /v1/webhooks/{connector}.
type WebhookReceipt struct {
	Status string `json:"status"` // accepted | duplicate | stale | ignored | parked
	ID     string `json:"id,omitempty"`
	Detail string `json:"detail,omitempty"`
}
