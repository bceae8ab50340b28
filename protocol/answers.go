package protocol

import "time"

// The JSON answers of both HTTP ports. Times are RFC 3339; see the OpenAPI
// documents for prose.

// WriteResult answers one journaled document.
type WriteResult struct {
	EventID     EventID   `json:"event_id"`
	Seq         uint64    `json:"seq"`
	JournaledAt time.Time `json:"journaled_at"`
	Duplicate   bool      `json:"duplicate"`
	Warnings    []string  `json:"warnings,omitempty"`
}

// Quantities of one (SKU, location), or of a chain total.
type Quantities struct {
	OnHand      Quantity `json:"on_hand"`
	Reserved    Quantity `json:"reserved"`
	Allocated   Quantity `json:"allocated"`
	SafetyStock Quantity `json:"safety_stock"`
	InTransit   Quantity `json:"in_transit"`
	Unavailable Quantity `json:"unavailable"`
}

// Availability answers GET /v1/availability/{sku}.
type Availability struct {
	SKU       SKU                    `json:"sku"`
	AsOf      time.Time              `json:"as_of"`
	Totals    AvailabilityTotals     `json:"totals"`
	Locations []AvailabilityLocation `json:"locations"`

	Channel    string         `json:"channel,omitempty"`    // whose view it is; left out: nothing is fenced off
	Kit        bool           `json:"kit,omitempty"`        // has no stock: what its components make
	Components []KitComponent `json:"components,omitempty"` // of a kit
}

// AvailabilityTotals add up what the locations show.
type AvailabilityTotals struct {
	Quantities
	Available  Quantity `json:"available"`
	RiskBuffer Quantity `json:"risk_buffer,omitzero"`
	Fenced     Quantity `json:"fenced,omitzero"`
	Incoming   Quantity `json:"incoming,omitzero"`
}

// AvailabilityLocation is one location's share.
type AvailabilityLocation struct {
	Location StoreID `json:"location"`
	Type     string  `json:"type"` // store | dc
	Quantities
	RiskBuffer  Quantity  `json:"risk_buffer"`
	Available   Quantity  `json:"available"`
	AsOf        time.Time `json:"as_of"`
	LagS        float64   `json:"lag_s"`
	Provisional bool      `json:"provisional"`

	Fenced        Quantity      `json:"fenced,omitzero"`         // kept for other channels than the one asked for
	Incoming      Quantity      `json:"incoming,omitzero"`       // ordered or advised
	Dark          bool          `json:"dark,omitempty"`          // silent for longer than its policy bears
	UnavailableBy UnavailableBy `json:"unavailable_by,omitzero"` // unavailable, by disposition
	ServiceLevel  float64       `json:"service_level,omitempty"` // of the risk buffer; left out: it is off
}

// Explanation answers …/explain: on_hand = anchor + Σ effect of the lines.
type Explanation struct {
	SKU       SKU           `json:"sku"`
	Location  StoreID       `json:"location"`
	Anchor    *ExplainLine  `json:"anchor"`             // null: never counted; starts at zero
	Lines     []ExplainLine `json:"lines"`              // newest first
	At        *time.Time    `json:"at,omitempty"`       // business time asked for: what happened later is left out
	KnownAt   *time.Time    `json:"known_at,omitempty"` // what was merged later is left out
	Truncated uint64        `json:"truncated,omitempty"`
	Rest      Quantity      `json:"rest"` // Σ effect of the lines not shown

	UnavailableBy   UnavailableBy   `json:"unavailable_by"`
	RestUnavailable UnavailableBy   `json:"rest_unavailable,omitzero"` // of the lines not shown
	Incoming        Quantity        `json:"incoming"`
	Flows           []ExplainFlow   `json:"flows,omitempty"`
	Holds           []ExplainHold   `json:"holds,omitempty"`
	Buffers         []ExplainBuffer `json:"buffers,omitempty"`
	OnTheWay        []ExplainDigest `json:"on_the_way,omitempty"` // part of on_hand and unavailable, beside anchor and lines
	Quantities
	RiskBuffer  Quantity  `json:"risk_buffer"`
	Available   Quantity  `json:"available"`
	Variance    *Variance `json:"variance,omitempty"` // of the anchor, as known now
	AsOf        time.Time `json:"as_of"`
	LagS        float64   `json:"lag_s"`
	Provisional bool      `json:"provisional"`
	Sum         string    `json:"sum"` // the arithmetic in words, e.g. "12 counted − 3 sold + 1 returned = 10"
}

// ExplainLine is one movement, or an anchor.
type ExplainLine struct {
	Position    uint64    `json:"position"` // in the ledger's log
	Kind        Kind      `json:"kind"`
	EventID     EventID   `json:"event_id"`
	DocumentID  string    `json:"document_id"`
	Origin      Origin    `json:"origin"`
	Epoch       uint64    `json:"epoch"`
	Seq         uint64    `json:"seq"`
	Register    string    `json:"register,omitempty"`
	OccurredAt  time.Time `json:"occurred_at"`
	RecordedAt  time.Time `json:"recorded_at"`
	MergedAt    time.Time `json:"merged_at"`
	Quantity    Quantity  `json:"quantity"` // as the document says
	Effect      Quantity  `json:"effect"`   // on on_hand
	InTransit   Quantity  `json:"in_transit,omitempty"`
	Unavailable Quantity  `json:"unavailable,omitempty"`
	InsideCut   bool      `json:"inside_cut,omitempty"` // was off the shelf when counted: changes variance only
	Flags       []string  `json:"flags,omitempty"`      // by_event_time, by_clock, between_zone_cuts, derived_quantity, …
	Item        uint64    `json:"item_version,omitempty"`
	Incoming    Quantity  `json:"incoming,omitempty"`

	UnavailableBy UnavailableBy `json:"unavailable_by,omitzero"`
	Flow          string        `json:"flow,omitempty"` // the transfer or advice that it moves
}

// Variance of a count against the book at its cut.
type Variance struct {
	Counted     Quantity `json:"counted"`
	Book        Quantity `json:"book"`
	LateSales   int      `json:"late_movements"` // arrived after the count, but belong before it
	LateUnits   Quantity `json:"late_units"`     // Σ of their effect
	Unexplained Quantity `json:"unexplained"`
	Sum         string   `json:"sum"` // in words, e.g. "2 late movements (−3), 1 unexplained"
}

// Presence of a store or agent: four different phone calls for store IT.
type Presence string

// The presences, worst last.
const (
	PresenceOnline     Presence = "online"
	PresencePOSSilent  Presence = "pos_silent"
	PresenceDraining   Presence = "draining"
	PresenceRebuilding Presence = "rebuilding"
	PresenceStuck      Presence = "stuck"
	PresenceOffline    Presence = "offline"
)

// Presences lists them, worst last.
func Presences() []Presence {
	return []Presence{PresenceOnline, PresencePOSSilent, PresenceDraining, PresenceRebuilding, PresenceStuck, PresenceOffline}
}

// Incident is a condition that a person must look at.
type Incident struct {
	ID      string    `json:"id"`   // stable: {code}/{store}/{agent}
	Code    string    `json:"code"` // the heading in OPERATIONS.md
	Store   StoreID   `json:"store"`
	Agent   AgentID   `json:"agent,omitempty"`
	Since   time.Time `json:"since"`
	Summary string    `json:"summary"` // in words, with numbers
	Remedy  string    `json:"remedy"`
}

// AgentStatus answers GET /v1/stores/{store}/agents/{agent}.
type AgentStatus struct {
	Store           StoreID           `json:"store"`
	Agent           AgentID           `json:"agent"`
	Presence        Presence          `json:"presence"`
	Reason          string            `json:"reason"` // the presence in words
	Connected       bool              `json:"connected"`
	LagS            float64           `json:"lag_s"`
	BacklogEvents   uint64            `json:"backlog_events"`
	BacklogBytes    uint64            `json:"backlog_bytes"`
	OldestUnackedAt *time.Time        `json:"oldest_unacked_at"`
	DrainETAS       *float64          `json:"drain_eta_s"`
	DrainPerS       float64           `json:"drain_per_s"`
	Epoch           uint64            `json:"epoch"`
	Lease           uint64            `json:"lease"`
	MergedSeq       uint64            `json:"merged_seq"`
	HeadSeq         uint64            `json:"head_seq"`
	SafeSeq         uint64            `json:"safe_seq"`
	SafeCoveredBy   string            `json:"safe_covered_by"` // none: what is merged counts as safe · backup
	TailSeq         uint64            `json:"tail_seq"`
	ClockOffsetMS   int64             `json:"clock_offset_ms"`
	ClockErrorMS    int64             `json:"clock_error_ms"`
	LastHeartbeatAt *time.Time        `json:"last_heartbeat_at"`
	LastPOSWriteAt  *time.Time        `json:"last_pos_write_at"`
	LastMergedAt    *time.Time        `json:"last_merged_at"`
	Registers       []RegisterSeen    `json:"registers"`
	DiskFreeBytes   uint64            `json:"disk_free_bytes"`
	JournalBytes    uint64            `json:"journal_bytes"`
	FsyncP99US      int64             `json:"fsync_p99_us"`
	AgentVersion    string            `json:"agent_version"`
	Update          *UpdateState      `json:"update,omitempty"` // where the agent has something to tell of its program
	LastError       string            `json:"last_error"`
	UptimeS         int64             `json:"uptime_s"`
	Counters        map[string]uint64 `json:"counters"`
	Incidents       []Incident        `json:"incidents"`
}

// StoreStatus answers GET /v1/stores/{store}; the list has it without agents.
type StoreStatus struct {
	Store           StoreID       `json:"store"`
	Name            string        `json:"name"`
	Region          string        `json:"region"`
	Type            string        `json:"type"`
	Presence        Presence      `json:"presence"`
	Reason          string        `json:"reason"`
	LagS            float64       `json:"lag_s"`
	BacklogEvents   uint64        `json:"backlog_events"`
	BacklogBytes    uint64        `json:"backlog_bytes"`
	OldestUnackedAt *time.Time    `json:"oldest_unacked_at"`
	DrainETAS       *float64      `json:"drain_eta_s"`
	MergedSeq       uint64        `json:"merged_seq"`
	HeadSeq         uint64        `json:"head_seq"`
	SafeSeq         uint64        `json:"safe_seq"`
	SafeCoveredBy   string        `json:"safe_covered_by"`
	ClockOffsetMS   int64         `json:"clock_offset_ms"`
	MergedEvents    uint64        `json:"merged_events"`
	OwnEvents       uint64        `json:"own_events"` // of them, those that agents wrote of themselves: clock readings, answers to holds
	LastPOSWriteAt  *time.Time    `json:"last_pos_write_at"`
	Incidents       []Incident    `json:"incidents"`
	Agents          []AgentStatus `json:"agents,omitempty"`
	Phone           string        `json:"-"` // for the pages of central ops alone
}

// FleetTotals is the chain in one line.
type FleetTotals struct {
	Stores        int       `json:"stores"`
	ByPresence    [6]int    `json:"-"`
	Current       int       `json:"current"` // lag under a minute
	BacklogEvents uint64    `json:"backlog_events"`
	MergedEvents  uint64    `json:"merged_events"`
	EventsPerS    float64   `json:"events_per_s"`
	WorstStore    StoreID   `json:"worst_store"`
	WorstLagS     float64   `json:"worst_lag_s"`
	Exceptions    int       `json:"exceptions"`
	At            time.Time `json:"at"`
}

// Exception is a dead letter: one event that could not take effect whole.
type Exception struct {
	ID         string    `json:"id"`
	State      string    `json:"state"`  // open | retried | discarded
	Code       string    `json:"code"`   // cause, groups the list
	Reason     string    `json:"reason"` // in words
	Origin     Origin    `json:"origin"`
	Epoch      uint64    `json:"epoch"`
	Seq        uint64    `json:"seq"`
	EventID    EventID   `json:"event_id"`
	Kind       Kind      `json:"kind,omitempty"`
	DocumentID string    `json:"document_id,omitempty"`
	At         time.Time `json:"at"`
	Document   any       `json:"document,omitempty"` // decoded, where it could be
	Raw        []byte    `json:"raw,omitempty"`      // the record's bytes; with Media those of the document as it came
	RawCut     bool      `json:"raw_cut,omitempty"`  // Raw is only the beginning
	Media      string    `json:"media,omitempty"`    // of what a feed sent and could not be made an event: how Raw is read again
	About      string    `json:"about,omitempty"`    // what several documents would say alike: one exception stands for them
	Counted    bool      `json:"counted,omitempty"`  // it took effect all the same; somebody should look
	Note       string    `json:"note,omitempty"`     // why it was discarded
	DecidedAt  time.Time `json:"decided_at,omitzero"`

	Original []byte         `json:"original,omitempty"` // the record as it came, where a person corrected it
	Attempts int            `json:"attempts,omitempty"` // by the source's policy
	RetryAt  time.Time      `json:"retry_at,omitzero"`  // the next one
	History  []ExceptionAct `json:"history,omitempty"`  // what was done to it, oldest first
}

// FeedResult answers one event of a feed.
type FeedResult struct {
	DocumentID  string       `json:"document_id"`
	Status      string       `json:"status"` // accepted | duplicate | parked | refused | no_movement
	EventID     EventID      `json:"event_id"`
	ExceptionID string       `json:"exception_id,omitempty"`
	Code        string       `json:"code,omitempty"`
	Errors      []FieldError `json:"errors,omitempty"`
}
