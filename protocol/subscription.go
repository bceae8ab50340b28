package protocol

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Types of the events that webhooks carry, as CloudEvents name them.
const (
	EventAvailabilityChanged = "io.tillwire.availability.changed"
	EventThresholdCrossed    = "io.tillwire.availability.threshold"
	EventWebhookTest         = "io.tillwire.webhook.test"
)

// SubscriptionEvents lists the types that can be subscribed to.
var SubscriptionEvents = []string{EventAvailabilityChanged, EventThresholdCrossed}

// States of a subscription.
const (
	SubscriptionActive  = "active"
	SubscriptionFailing = "failing" // its receiver does not take what is sent; it is tried on
	SubscriptionPaused  = "paused"  // failed for too long, or the receiver said 410; POST …/resume goes on
)

// Bounds of a subscription.
const (
	SubscriptionSKUsMax      = 1000
	SubscriptionLocationsMax = 60
	SubscriptionItemsMax     = 100 // in one message
	SubscriptionURLBytesMax  = 2048
	SubscriptionNameBytesMax = 200
)

// SubscriptionRequest is the body of POST /v1/subscriptions.
type SubscriptionRequest struct {
	URL       string    `json:"url"`
	Name      string    `json:"name,omitempty"` // for people
	Events    []string  `json:"events,omitempty"`
	Channel   string    `json:"channel,omitempty"`   // whose availability; "" = with nothing fenced off
	Locations []StoreID `json:"locations,omitempty"` // none: the chain's
	SKUs      []SKU     `json:"skus,omitempty"`      // none: all
	BatchMax  int       `json:"batch_max,omitempty"` // items in one message; 0 = SubscriptionItemsMax
}

// DecodeSubscription reads a request and spells its defaults out.
func DecodeSubscription(b []byte) (*SubscriptionRequest, *Problem) {
	var r SubscriptionRequest
	if p := DecodeStrict(b, &r); p != nil {
		return nil, p
	}
	var wrong []FieldError
	say := func(pointer, format string, args ...any) {
		wrong = append(wrong, FieldError{Pointer: pointer, Message: fmt.Sprintf(format, args...)})
	}
	if r.URL == "" || len(r.URL) > SubscriptionURLBytesMax {
		say("/url", "has %d bytes; an absolute https URL of at most %d", len(r.URL), SubscriptionURLBytesMax)
	}
	if len(r.Name) > SubscriptionNameBytesMax {
		say("/name", "has %d bytes; at most %d", len(r.Name), SubscriptionNameBytesMax)
	}
	for n, e := range r.Events {
		if !slices.Contains(SubscriptionEvents, e) {
			say(fmt.Sprintf("/events/%d", n), "is not one of %s", strings.Join(SubscriptionEvents, ", "))
		}
	}
	if len(r.Events) == 0 {
		r.Events = []string{EventAvailabilityChanged}
	}
	slices.Sort(r.Events)
	r.Events = slices.Compact(r.Events)
	if len(r.SKUs) > SubscriptionSKUsMax {
		say("/skus", "names %d articles; at most %d, none means all", len(r.SKUs), SubscriptionSKUsMax)
	}
	for n, s := range r.SKUs {
		sku, err := NormalizeSKU(string(s))
		if err != nil {
			say(fmt.Sprintf("/skus/%d", n), "%v", err)
			continue
		}
		r.SKUs[n] = sku
	}
	if len(r.Locations) > SubscriptionLocationsMax {
		say("/locations", "names %d locations; at most %d, none means the chain", len(r.Locations), SubscriptionLocationsMax)
	}
	for n, l := range r.Locations {
		if err := CheckName(string(l)); err != nil {
			say(fmt.Sprintf("/locations/%d", n), "%v", err)
		}
	}
	if r.BatchMax == 0 {
		r.BatchMax = SubscriptionItemsMax
	}
	if r.BatchMax < 1 || r.BatchMax > SubscriptionItemsMax {
		say("/batch_max", "is %d; 1 to %d items", r.BatchMax, SubscriptionItemsMax)
	}
	if len(wrong) > 0 {
		p := requestProblem(CodeInvalidField, wrong[0].Pointer+" "+wrong[0].Message, wrong)
		return nil, p
	}
	return &r, nil
}

// Subscription is one as it stands. Secret is told by the answers that make it, and
// never again.
type Subscription struct {
	ID string `json:"id"`
	SubscriptionRequest
	State         string     `json:"state"`
	Reason        string     `json:"reason,omitempty"` // why it does not flow
	CreatedAt     time.Time  `json:"created_at"`
	CreatedBy     string     `json:"created_by"`
	Secret        string     `json:"secret,omitempty"`
	OldSecretEnds *time.Time `json:"old_secret_ends,omitempty"` // until then messages carry the signatures of both

	Pending     int           `json:"pending"` // keys of which the newest value is owed
	LagS        float64       `json:"lag_s"`   // age of the oldest of them
	Position    uint64        `json:"position"`
	Sent        uint64        `json:"sent"` // messages taken by the receiver, since start
	Items       uint64        `json:"items"`
	Coalesced   uint64        `json:"coalesced"` // changes that a newer one replaced before they were sent
	Retries     uint64        `json:"retries"`
	DeadLetters int           `json:"dead_letters"`
	LastSentAt  *time.Time    `json:"last_sent_at"`
	LastError   *ConnectorErr `json:"last_error"`
	NextTryAt   *time.Time    `json:"next_try_at,omitempty"`
}

// SubscriptionTest answers POST /v1/subscriptions/{id}/test.
type SubscriptionTest struct {
	Delivered  bool    `json:"delivered"`
	MessageID  string  `json:"message_id"`
	Status     int     `json:"status,omitempty"` // of the receiver
	Error      string  `json:"error,omitempty"`
	DurationMS float64 `json:"duration_ms"`
}

// CloudEvent is a message's body: CloudEvents 1.0, structured mode.
type CloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"` // webhook-id
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject,omitempty"` // the SKU, where it is one
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Position        uint64    `json:"position"` // of the ledger that the numbers are at least of
	Data            any       `json:"data"`
}

// StateChange is an item of an EventThresholdCrossed.
type StateChange struct {
	SKU       SKU       `json:"sku"`
	Channel   string    `json:"channel,omitempty"`
	Location  StoreID   `json:"location,omitempty"` // left out: the chain
	State     string    `json:"state"`              // in | low | out
	Was       string    `json:"was,omitempty"`      // left out: not known, after a restart or a replay
	Available Quantity  `json:"available"`
	LowAt     Quantity  `json:"low_at"`
	At        time.Time `json:"at"`
}
