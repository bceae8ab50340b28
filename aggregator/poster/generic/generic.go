// Package generic posts to any ERP that a small service of the customer's speaks
// for, over HTTP and JSON. The contract stands in its README and, as OpenAPI, in
// contract.json.
//
// Promises: a document is sent again and again under one key until an answer says
// what became of it; every answer that the contract names has one meaning. It stops
// at the receiver's own promise: one key, one booking.
package generic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tillwire/aggregator/poster"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// Bounds of a conversation.
const (
	answerBytesMax = 1 << 20
	callTimeout    = 30 * time.Second
	pollsMax       = 30 // of a document that was staged, within one attempt
	pollFirst      = 200 * time.Millisecond
	pollMost       = 5 * time.Second
	afterMost      = time.Hour
	unknownMax     = posting.LinesMax
)

// Options say who is asked, and how.
type Options struct {
	URL    string // of the service: …/postings and …/period stand below it
	Token  string // sent as a bearer token; "": none
	Lookup bool   // ask for the key before it is sent: the ERP only inserts
	Stores map[protocol.StoreID]string
	HTTP   *http.Client // nil: one of its own
}

// Connector posts to one service.
type Connector struct{ o Options }

var _ poster.Connector = (*Connector)(nil)

// New makes a connector.
func New(o Options) *Connector {
	if o.HTTP == nil {
		o.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	o.URL = strings.TrimRight(o.URL, "/")
	return &Connector{o}
}

// document is what is sent.
type document struct {
	ID        string           `json:"id"`
	Reference string           `json:"reference"`
	Store     protocol.StoreID `json:"store"`
	Warehouse string           `json:"warehouse"`
	Class     string           `json:"class"`
	Reversal  bool             `json:"reversal"`
	Direction string           `json:"direction"` // in | out
	Day       string           `json:"business_day"`
	PostDay   string           `json:"post_day"`
	Lines     []line           `json:"lines"`
}

type line struct {
	Line     int               `json:"line"`
	SKU      protocol.SKU      `json:"sku"`
	Quantity protocol.Quantity `json:"quantity"` // above zero, at most 3 decimals
}

// answer is what a service says of a document.
type answer struct {
	ID       string         `json:"id"`
	State    string         `json:"state"` // posted (or nothing) | pending | failed
	Code     string         `json:"code"`
	Reason   string         `json:"reason"`
	Unknown  []protocol.SKU `json:"unknown"`
	ClosedTo string         `json:"closed_to"`

	status   int
	location string
	after    time.Duration
}

// Post sends a document until it is known what became of it.
func (c *Connector) Post(ctx context.Context, d *posting.Doc) (poster.Receipt, error) {
	if c.o.Lookup {
		a, err := c.do(ctx, http.MethodGet, c.o.URL+"/postings/"+d.Key, nil, "")
		if err != nil {
			return poster.Receipt{}, err
		}
		if a.status != http.StatusNotFound {
			return c.read(ctx, d, a)
		}
	}
	body := document{
		ID: d.Key, Reference: d.Reference(), Store: d.Store, Warehouse: c.warehouse(d.Store), Class: d.Class.String(), Reversal: d.Reversal(),
		Direction: "out", Day: protocol.DayText(d.Day), PostDay: protocol.DayText(d.PostDay),
	}
	if d.Inward() {
		body.Direction = "in"
	}
	for i, l := range d.Lines {
		body.Lines = append(body.Lines, line{i + 1, l.SKU, max(l.Qty, -l.Qty)})
	}
	b, err := json.Marshal(&body)
	if err != nil {
		return poster.Receipt{}, fmt.Errorf("encode posting %s: %w", d.Key, err)
	}
	a, err := c.do(ctx, http.MethodPost, c.o.URL+"/postings", b, d.Key)
	if err != nil {
		return poster.Receipt{}, err
	}
	return c.read(ctx, d, a)
}

func (c *Connector) warehouse(s protocol.StoreID) string {
	if w := c.o.Stores[s]; w != "" {
		return w
	}
	return string(s)
}

// read gives an answer its meaning. What was staged is asked after until it is
// posted or has failed: an ERP that takes a document first may refuse it later.
func (c *Connector) read(ctx context.Context, d *posting.Doc, a *answer) (poster.Receipt, error) {
	wait := pollFirst
	for range pollsMax {
		switch {
		case a.status == http.StatusAccepted || a.status < 300 && a.State == "pending":
		case a.status < 300 && a.State == "failed":
			return poster.Receipt{}, c.refusal(a, poster.Park)
		case a.status < 300:
			return receipt(d, a), nil
		case a.location != "" && (a.status == http.StatusBadRequest || a.status == http.StatusConflict):
			return receipt(d, a), nil // a duplicate, which means that it is there
		case a.status == http.StatusConflict && a.ID != "":
			return receipt(d, a), nil
		default:
			return poster.Receipt{}, c.refusal(a, remedyOf(a.status))
		}
		select {
		case <-ctx.Done():
			return poster.Receipt{}, ctx.Err()
		case <-time.After(max(wait, min(a.after, pollMost))):
		}
		wait = min(2*wait, pollMost)
		at := a.location
		if at == "" {
			at = c.o.URL + "/postings/" + d.Key
		}
		next, err := c.do(ctx, http.MethodGet, at, nil, "")
		if err != nil {
			return poster.Receipt{}, err
		}
		if next.location == "" && next.status == http.StatusAccepted {
			next.location = at
		}
		a = next
	}
	return poster.Receipt{}, &poster.Refusal{Remedy: poster.Retry, Code: "erp_pending", Reason: "the ERP has staged it and does not say what became of it"}
}

func receipt(d *posting.Doc, a *answer) poster.Receipt {
	id := a.ID
	if id == "" {
		id = a.location
	}
	if id == "" {
		id = d.Key
	}
	return poster.Receipt{ID: id}
}

// remedyOf is what a status says is to be done where the body says nothing.
func remedyOf(status int) poster.Remedy {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return poster.Fatal
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests || status >= 500:
		return poster.Retry
	}
	return poster.Park
}

func (c *Connector) refusal(a *answer, remedy poster.Remedy) *poster.Refusal {
	r := &poster.Refusal{Remedy: remedy, Code: a.Code, Reason: a.Reason, After: a.after, Down: remedy == poster.Retry, Closed: a.Code == "period_closed"}
	if r.Code == "" {
		r.Code = "erp_http_" + strconv.Itoa(a.status)
	}
	if r.Reason == "" {
		r.Reason = "the service answers HTTP " + strconv.Itoa(a.status)
	}
	if a.Code == "product_unknown" && len(a.Unknown) <= unknownMax {
		r.Unknown = a.Unknown
	}
	return r
}

// ClosedTo is what the service says of its periods; a service without periods
// answers 404.
func (c *Connector) ClosedTo(ctx context.Context) (int32, error) {
	a, err := c.do(ctx, http.MethodGet, c.o.URL+"/period", nil, "")
	switch {
	case err != nil:
		return 0, err
	case a.status == http.StatusNotFound || a.status == http.StatusNoContent || a.status == http.StatusOK && a.ClosedTo == "":
		return 0, nil
	case a.status != http.StatusOK:
		return 0, c.refusal(a, remedyOf(a.status))
	}
	day, ok := protocol.ParseDay(a.ClosedTo)
	if !ok {
		return 0, &poster.Refusal{Remedy: poster.Fatal, Code: "erp_answer", Reason: fmt.Sprintf("closed_to %.40q is not YYYY-MM-DD", a.ClosedTo)}
	}
	return day, nil
}

func (c *Connector) do(ctx context.Context, method, at string, body []byte, key string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	at, err := c.within(at)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return nil, &poster.Refusal{Remedy: poster.Fatal, Code: "erp_url", Reason: err.Error()}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
	}
	if c.o.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.o.Token)
	}
	resp, err := c.o.HTTP.Do(req)
	if err != nil {
		return nil, &poster.Refusal{Remedy: poster.Retry, Code: "erp_unreachable", Reason: err.Error(), Down: true}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err != nil {
		return nil, &poster.Refusal{Remedy: poster.Retry, Code: "erp_answer", Reason: "the answer is cut: " + err.Error(), Down: true}
	}
	a := &answer{}
	if json.Unmarshal(b, a) != nil { // an answer may be empty, or somebody's HTML
		a = &answer{}
	}
	a.status, a.location = resp.StatusCode, resp.Header.Get("Location")
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		a.after = min(time.Duration(s)*time.Second, afterMost)
	}
	return a, nil
}

// within keeps calls, which carry the token, at the service that was configured.
func (c *Connector) within(at string) (string, error) {
	base, err := url.Parse(c.o.URL)
	if err != nil {
		return "", &poster.Refusal{Remedy: poster.Fatal, Code: "erp_url", Reason: err.Error()}
	}
	u, err := base.Parse(at)
	if err == nil && (u.Host != base.Host || u.Scheme != base.Scheme) {
		err = errors.New("it is on another host than the service")
	}
	if err != nil {
		return "", &poster.Refusal{Remedy: poster.Park, Code: "erp_answer", Reason: fmt.Sprintf("Location %.200q cannot be followed: %v", at, err)}
	}
	return u.String(), nil
}
