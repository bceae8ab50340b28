package simulator

import (
	"encoding/json"
	"fmt"
	"time"

	"tillwire/protocol"
)

// document is what a till sends: its own JSON, written from the contract and
// not from the agent's code, so that a mistake in the agent's decoder cannot
// hide in a shared struct.
type document struct {
	Kind             string    `json:"kind,omitempty"` // in POST /v1/events only
	DocumentID       string    `json:"document_id"`
	Register         string    `json:"register,omitempty"`
	OccurredAt       string    `json:"occurred_at"`
	BusinessDate     string    `json:"business_date,omitempty"`
	Traceparent      string    `json:"traceparent,omitempty"`
	Lines            []docLine `json:"lines,omitempty"`
	OriginalDocument string    `json:"original_document_id,omitempty"`
	Source           string    `json:"source,omitempty"`
	TransferID       string    `json:"transfer_id,omitempty"`
	Counterparty     string    `json:"counterparty,omitempty"`
	Direction        string    `json:"direction,omitempty"`
	Scope            string    `json:"scope,omitempty"`
	Session          string    `json:"session,omitempty"`
	Reason           string    `json:"reason,omitempty"`
	Voids            string    `json:"voids,omitempty"`
	OrderID          string    `json:"order_id,omitempty"`
	HoldID           string    `json:"hold_id,omitempty"`

	kind    string    // always set
	at      time.Time // when the goods moved, or the shelf was looked at
	effects []effect  // truth: what the document does to the shelf
}

type docLine struct {
	Line        int               `json:"line"`
	SKU         string            `json:"sku"`
	Quantity    protocol.Quantity `json:"quantity"`
	UOM         string            `json:"uom,omitempty"`
	Disposition string            `json:"disposition,omitempty"`
	CountedAt   string            `json:"counted_at,omitempty"`
}

// effect is one line's truth: a movement, or (Count) the shelf as it was seen.
type effect struct {
	SKU   protocol.SKU
	Delta protocol.Quantity
	Count bool
}

// Kinds of document, as the URL and the bulk format spell them.
const (
	kindSale       = "sale"
	kindReturn     = "return"
	kindVoid       = "void"
	kindCount      = "count"
	kindReceipt    = "receipt"
	kindAdjustment = "adjustment"
	kindTransfer   = "transfer"
)

// path is where a single document of a kind is posted.
func path(kind string) string { return "/v1/" + kind + "s" }

// tillTime writes a moment as tills do, to the microsecond that journals keep.
func tillTime(t time.Time) string { return t.Truncate(time.Microsecond).Format(time.RFC3339Nano) }

// body writes a single document.
func (d *document) body() ([]byte, error) {
	c := *d
	c.Kind = ""
	b, err := json.Marshal(&c)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", d.kind, d.DocumentID, err)
	}
	return b, nil
}

// bulkBody writes documents for POST /v1/events.
func bulkBody(docs []*document) ([]byte, error) {
	out := make([]document, len(docs))
	for i, d := range docs {
		out[i] = *d
		out[i].Kind = d.kind
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode %d documents: %w", len(docs), err)
	}
	return b, nil
}
