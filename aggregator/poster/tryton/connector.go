package tryton

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tillwire/aggregator/poster"
	"tillwire/protocol"
)

// Options say where Tryton is and what is what there.
type Options struct {
	URL      string // http://host:port/DATABASE/
	User     string
	Password string
	Stores   map[protocol.StoreID]Store
	Customer string // code of the party that walk-in customers are booked as
	Supplier string // … that receipts are booked from
	Transit  string // code of the location of goods between stores; "": transfers are parked
	Now      func() time.Time
	HTTP     *http.Client // nil: one of its own
}

// Connector posts to one Tryton database. One goroutine uses it; others, in other
// processes too, may post to the same database.
type Connector struct {
	*client
	o       Options
	ground  *ground
	catalog catalog
}

var _ poster.Connector = (*Connector)(nil)

// New makes a connector. It says nothing to Tryton before it is asked.
func New(o Options) *Connector {
	if o.HTTP == nil {
		o.HTTP = &http.Client{}
	}
	return &Connector{o: o, client: &client{url: o.URL, user: o.User, password: o.Password, http: o.HTTP}}
}

// ClosedTo is the date of the newest closed stock period.
func (c *Connector) ClosedTo(ctx context.Context) (int32, error) {
	if err := c.prepare(ctx); err != nil {
		return 0, err
	}
	var found []struct {
		Date rawDate `json:"date"`
	}
	err := c.call(ctx, &found, "model.stock.period.search_read", []any{[]any{"state", "=", "closed"}, []any{"company", "=", c.ground.company}}, 0, 1,
		[]any{[]string{"date", "DESC"}}, []string{"date"})
	if err != nil || len(found) == 0 {
		return 0, told(err)
	}
	return int32(found[0].Date), nil
}

type rawDate int32

// UnmarshalJSON reads Tryton's date.
func (d *rawDate) UnmarshalJSON(b []byte) error { *d = rawDate(dayOf(b)); return nil }

// told turns Tryton's own errors into what is to be done about them.
func told(err error) error {
	var f *fault
	if !errors.As(err, &f) {
		return err
	}
	switch f.kind {
	case faultUser, faultWarning:
		return &poster.Refusal{Remedy: poster.Park, Code: "erp_refused", Reason: f.Error()}
	case "LoginException":
		return fatal("login_refused", "Tryton does not accept the user or its password")
	}
	return &poster.Refusal{Remedy: poster.Retry, Code: "erp_error", Reason: fmt.Sprintf("Tryton failed: %s", f.Error())}
}
