package protocol

import "time"

// ChainStore is the location of the aggregator's own journals: reservations,
// policies, items, decisions. No agent and no feed may claim it.
const ChainStore StoreID = "CHAIN"

// Origins of the aggregator's own journals.
var (
	ReservationsOrigin = Origin{ChainStore, FeedAgentPrefix + "reservations"}
	ItemsOrigin        = Origin{ChainStore, FeedAgentPrefix + "items"}
	PoliciesOrigin     = Origin{ChainStore, FeedAgentPrefix + "policies"}
	DecisionsOrigin    = Origin{ChainStore, FeedAgentPrefix + "decisions"}
	PostingsOrigin     = Origin{ChainStore, FeedAgentPrefix + "postings"}
)

// ReservationState of a reservation, and of each of its lines.
//
//	held ─confirm─▶ confirmed ─sent─▶ pending ─accept─▶ accepted ─picked─▶ picked ─┬─▶ collected | shipped
//	  │ttl            │release            │reject → sourced again, or rejected     │
//	  ▼               ▼                   ▼                                        │
//	expired        released            rejected                a collecting sale ──┘ from any live state
type ReservationState string

// The states. Held counts as reserved; confirmed to picked count as allocated.
const (
	ReservationHeld      ReservationState = "held"
	ReservationConfirmed ReservationState = "confirmed"
	ReservationPending   ReservationState = "pending"  // a task is with the store, not yet answered
	ReservationAccepted  ReservationState = "accepted" // the store took the task
	ReservationPicked    ReservationState = "picked"
	ReservationCollected ReservationState = "collected"
	ReservationShipped   ReservationState = "shipped"
	ReservationReleased  ReservationState = "released"
	ReservationExpired   ReservationState = "expired"
	ReservationRejected  ReservationState = "rejected" // the store could not, and nobody else can
)

// Reservation modes and fulfilments.
const (
	ModeAllOrNothing     = "all_or_nothing"
	ModePartial          = "partial"
	FulfilmentPickup     = "pickup"
	FulfilmentShip       = "ship_from_store"
	FulfilmentDelivery   = "delivery" // by the location's own system (a DC): no store task
	SourcingNearest      = "nearest"  // groups first named first, then most stock
	SourcingMostStock    = "most_stock"
	SourcingFreshest     = "freshest"
	SourcingLeastSplits  = "least_splits"
	ReservationIDBytes   = 120 // reservation_id: hold ids and document ids are made of it
	ReservationLinesMax  = 200
	ReservationTTLMaxS   = 7 * 86400
	ReservationTTLUsualS = 900
)

// ReservationRequest is the body of POST /v1/reservations.
type ReservationRequest struct {
	ReservationID string                   `json:"reservation_id"`
	Channel       string                   `json:"channel"`
	TTLS          int64                    `json:"ttl_s,omitempty"` // 0 = ReservationTTLUsualS
	Mode          string                   `json:"mode,omitempty"`  // "" = all_or_nothing
	Fulfilment    string                   `json:"fulfilment,omitempty"`
	OrderID       string                   `json:"order_id,omitempty"`
	Sourcing      string                   `json:"sourcing,omitempty"` // for lines without location; "" = policy's, else most_stock
	Group         string                   `json:"group,omitempty"`    // sourcing looks in this group only
	Traceparent   string                   `json:"traceparent,omitempty"`
	Lines         []ReservationRequestLine `json:"lines"`
}

// ReservationRequestLine asks for one article; without location it is sourced.
type ReservationRequestLine struct {
	SKU      SKU      `json:"sku"`
	Quantity Quantity `json:"quantity"`
	Location StoreID  `json:"location,omitempty"`
}

// Reservation answers every call about one.
type Reservation struct {
	ReservationID string            `json:"reservation_id"`
	Channel       string            `json:"channel"`
	OrderID       string            `json:"order_id,omitempty"`
	Mode          string            `json:"mode"`
	Fulfilment    string            `json:"fulfilment"`
	State         ReservationState  `json:"state"`
	CreatedAt     time.Time         `json:"created_at"`
	UpdatedAt     time.Time         `json:"updated_at"`
	ExpiresAt     *time.Time        `json:"expires_at"` // null once confirmed or over
	AtRisk        bool              `json:"at_risk,omitempty"`
	Lines         []ReservationLine `json:"lines"`
	Token         string            `json:"token,omitempty"` // read-your-writes: pass as ?after= to availability
}

// ReservationLine is what is held of one requested line at one location. A kit's
// line carries its components.
type ReservationLine struct {
	SKU        SKU              `json:"sku"`
	Quantity   Quantity         `json:"quantity"`
	Location   StoreID          `json:"location"`
	State      ReservationState `json:"state"`
	Components []KitComponent   `json:"components,omitempty"` // a kit: what is really held per kit
	Shortfall  Quantity         `json:"shortfall,omitempty"`  // partial: what could not be held
	Reason     string           `json:"reason,omitempty"`     // why rejected or sourced again
}

// KitComponent is one part of a bill of materials.
type KitComponent struct {
	SKU      SKU      `json:"sku"`
	Quantity Quantity `json:"quantity"` // per kit, in the component's base unit
}

// Shortfall tells, in a 409 insufficient_stock, what one line lacked.
type Shortfall struct {
	Line      int      `json:"line"` // index into the request's lines
	SKU       SKU      `json:"sku"`
	Location  StoreID  `json:"location,omitempty"`
	Requested Quantity `json:"requested"`
	Available Quantity `json:"available"`
}

// HoldTask is work for a store: pick these goods and hold or ship them. Its id
// is the reservation's.
type HoldTask struct {
	HoldID     string           `json:"hold_id"`
	State      ReservationState `json:"state"` // as the aggregator knows it
	Fulfilment string           `json:"fulfilment"`
	Channel    string           `json:"channel"`
	OrderID    string           `json:"order_id,omitempty"`
	CreatedUS  int64            `json:"created_us"`
	Lines      []HoldLine       `json:"lines"`
}

// HoldLine is one article of a task; kits are already their components.
type HoldLine struct {
	SKU      SKU      `json:"sku"`
	Quantity Quantity `json:"quantity"`
}

// Holds is the desired state of a store's tasks (topic dn/holds), whole each
// time: Rev grows with every change, Part of Parts pages it. The agent stores it,
// and says the Rev it has in its heartbeats; the aggregator repeats until it does.
type Holds struct {
	V     int        `json:"v"`
	Gen   uint64     `json:"generation,omitempty"` // cloud generation that says so; where it rose, tasks may be missing
	Rev   uint64     `json:"rev"`
	Part  int        `json:"part"`  // from 0
	Parts int        `json:"parts"` // at least 1
	Tasks []HoldTask `json:"tasks"`
	Held  []HoldLine `json:"held"` // reserved or allocated here per SKU, tasks or not: for local availability
}

// Actions by which a store answers a task. As documents their ids are
// {hold_id}:{action}, so that an answer counts once whoever gives it.
const (
	HoldAccept    = "accept"
	HoldReject    = "reject"
	HoldPicked    = "picked"
	HoldCollected = "collected"

	// HoldRecalled is no answer: the store tells of a task that a restored aggregator
	// no longer knows. The event's body is the HoldTask, in the state that the store
	// knows; its document id is {hold_id}:r{generation}.
	HoldRecalled = "recalled"
)

// HoldDocumentID is the document id of an answer.
func HoldDocumentID(holdID, action string) string { return holdID + ":" + action }
