package poster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// Connector speaks one ERP's language. Its calls are made by one goroutine, one
// after the other, but other connectors may speak to the same ERP at the same time.
type Connector interface {
	// Post brings a document to the ERP. It must be idempotent by the document's
	// Reference: after a crash or a time-out it is called again with the same
	// document, and two aggregators may race. nil says that the ERP has booked it,
	// once. A *Refusal says what to do; any other error is as a Refusal to retry.
	Post(ctx context.Context, d *posting.Doc) (Receipt, error)
	// ClosedTo is the last day that the ERP will not book, in days since 1970-01-01;
	// 0 where none is closed.
	ClosedTo(ctx context.Context) (int32, error)
}

// Receipt is what the ERP calls a document.
type Receipt struct {
	ID   string
	Note string // what is odd about it, for people
}

// Remedy is what becomes of a document that was refused. There is no fourth.
type Remedy uint8

// The remedies.
const (
	Retry Remedy = iota // it may heal by itself
	Park                // the document waits for a person, others go on
	Fatal               // nothing can be posted until a person mends it
)

// Refusal is why a document is not booked.
type Refusal struct {
	Remedy Remedy
	Code   string // stable, snake_case
	Reason string // for people, without credentials

	Unknown []protocol.SKU // articles that hold it up: they are parked alone. The ERP has heard nothing of the document then.
	Closed  bool           // the period of its day is closed: it is redated or parked, as configured
	Down    bool           // the ERP did not answer: no fault of the document's
	After   time.Duration  // when to try again, where the ERP says so
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Reason }

// refusalOf reads any error as a refusal.
func refusalOf(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &Refusal{Remedy: Retry, Code: "erp_error", Reason: err.Error(), Down: true}
}

// Outbox is the ledger as the sender sees it. Its calls return when what they say
// is durable.
type Outbox interface {
	// CutPostings returns what is to be sent; posting.ErrHeld while nothing is.
	CutPostings(ctx context.Context, erp string, w posting.Window, limit int) ([]posting.Doc, error)
	PostingDone(ctx context.Context, c *posting.Change) error
	SplitPosting(ctx context.Context, key string, skus []protocol.SKU, code, reason string) (posting.Doc, error)
}

// Calendar says which business days are over.
type Calendar struct {
	Zone  *time.Location
	Ends  time.Duration // after midnight: when the business day ends
	Grace time.Duration // after its end: when it is cut
	Daily bool          // only days that are over; else whatever there is
	Every time.Duration // a store is cut no more often
}

// window is what is due at a moment.
func (c *Calendar) window(now time.Time, lines int) posting.Window {
	w := posting.Window{EveryUS: c.Every.Microseconds(), Lines: lines, Through: c.dayOf(now)}
	if c.Daily {
		w.Through = c.dayOf(now.Add(-c.Grace)) - 1
	}
	return w
}

// dayOf is the business day that a moment belongs to.
func (c *Calendar) dayOf(t time.Time) int32 {
	y, m, d := t.Add(-c.Ends).In(c.Zone).Date()
	return int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86_400)
}

// openDay is where a document of a closed day may go: the first open day, if that
// is not in the future.
func (c *Calendar) openDay(closed int32, now time.Time) (int32, error) {
	day := closed + 1
	if today := c.dayOf(now); day > today {
		return 0, fmt.Errorf("periods are closed up to %s, which is not past yet", protocol.DayText(closed))
	}
	return day, nil
}
