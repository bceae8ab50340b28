package reserve

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"tillwire/protocol"
)

// Record is a reservation as it is journaled: whole, after a change.
type Record struct {
	ID         string           `json:"id"`
	Hash       uint64           `json:"hash"` // of the request: the same body again is answered, another refused
	Channel    string           `json:"channel"`
	Order      string           `json:"order,omitempty"`
	Mode       string           `json:"mode"`
	Fulfilment string           `json:"fulfilment"`
	Group      string           `json:"group,omitempty"`
	Sourcing   string           `json:"sourcing,omitempty"`
	CreatedUS  int64            `json:"created"`
	UpdatedUS  int64            `json:"updated"`
	ExpiresUS  int64            `json:"expires,omitempty"`   // while a line is held, and only then
	Elsewhere  protocol.StoreID `json:"elsewhere,omitempty"` // collected there, where nothing was held
	Lines      []Line           `json:"lines"`
}

// Line is one requested article at one location.
type Line struct {
	Request    int32                     `json:"req"`                // index of the request's line
	Risk       bool                      `json:"risk,omitempty"`     // stock no longer covers it
	Replaced   bool                      `json:"replaced,omitempty"` // sourced again: other lines stand for it
	SKU        protocol.SKU              `json:"sku"`
	Quantity   protocol.Quantity         `json:"qty"` // 0: nothing was ever held
	Location   protocol.StoreID          `json:"loc,omitempty"`
	State      protocol.ReservationState `json:"state"`
	Parts      []protocol.KitComponent   `json:"parts,omitempty"`
	Short      protocol.Quantity         `json:"short,omitempty"`
	Reason     string                    `json:"reason,omitempty"`
	RejectedUS int64                     `json:"rejected,omitempty"` // when its store rejected it
}

// Change is one journaled step of the book.
type Change struct {
	Why    string `json:"why"` // reserve, confirm, extend, release, fulfil, split, delivered, at_risk, resourced, safe
	Record Record `json:"record"`
}

var errRecord = errors.New("no reservation that this book could have written")

// UnmarshalJSON reads a change back and refuses what no book has written: a
// journal may be damaged, and what is applied is believed.
func (c *Change) UnmarshalJSON(j []byte) error {
	type plain Change
	var p plain
	if err := json.Unmarshal(j, &p); err != nil {
		return fmt.Errorf("decode change: %w", err)
	}
	if err := p.Record.check(); err != nil {
		return fmt.Errorf("decode change: %w", err)
	}
	*c = Change(p)
	return nil
}

// check refuses a record that would break what the book promises.
func (r *Record) check() error {
	if r.ID == "" || len(r.ID) > protocol.ReservationIDBytes || len(r.Lines) == 0 || len(r.Lines) > linesMax {
		return fmt.Errorf("%w: id %.40q with %d lines", errRecord, r.ID, len(r.Lines))
	}
	if r.reserving() != (r.ExpiresUS > 0) || r.CreatedUS < 0 || r.UpdatedUS < r.CreatedUS {
		return fmt.Errorf("%w: %.40q: times do not fit its state", errRecord, r.ID)
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		known := slices.Contains(states[:], l.State)
		held := l.live() && (l.Quantity <= 0 || l.Location == "" || l.SKU == "" || l.Replaced)
		if !known || held || l.Quantity < 0 || l.Quantity > protocol.QuantityMax || l.Short < 0 || l.Short > protocol.QuantityMax || l.Request < 0 {
			return fmt.Errorf("%w: %.40q line %d", errRecord, r.ID, i)
		}
		for _, p := range l.Parts {
			if p.Quantity <= 0 || p.Quantity > protocol.QuantityMax || p.SKU == "" {
				return fmt.Errorf("%w: %.40q line %d part %.40q", errRecord, r.ID, i, p.SKU)
			}
		}
	}
	return nil
}

// reserves and allocates tell what a line takes from its position.
func (l *Line) reserves() bool { return l.State == protocol.ReservationHeld }

func (l *Line) allocates() bool {
	switch l.State { //nolint:exhaustive // the others are over or only reserved
	case protocol.ReservationConfirmed, protocol.ReservationPending, protocol.ReservationAccepted, protocol.ReservationPicked:
		return true
	}
	return false
}

func (l *Line) live() bool { return l.reserves() || l.allocates() }

// over tells whether a line held stock once and ended without its goods leaving.
func (l *Line) over() bool {
	switch l.State { //nolint:exhaustive // the others live, or their goods left
	case protocol.ReservationExpired, protocol.ReservationReleased, protocol.ReservationRejected:
		return l.Quantity > 0 && !l.Replaced
	}
	return false
}

func (l *Line) gone() bool {
	return l.State == protocol.ReservationCollected || l.State == protocol.ReservationShipped
}

// each calls fn with every position that the line takes from, and how much.
func (l *Line) each(fn func(Key, protocol.Quantity)) {
	if len(l.Parts) == 0 {
		fn(Key{l.Location, l.SKU}, l.Quantity)
		return
	}
	for _, p := range l.Parts {
		fn(Key{l.Location, p.SKU}, times(l.Quantity, p.Quantity))
	}
}

// of is how much a line takes from a position.
func (l *Line) of(k Key) (q protocol.Quantity) {
	if l.Location != k.Location {
		return 0
	}
	l.each(func(x Key, n protocol.Quantity) {
		if x == k {
			q += n
		}
	})
	return q
}

// times multiplies a number of kits by a part's quantity, both in thousandths.
func times(kits, part protocol.Quantity) protocol.Quantity {
	whole, rest := kits/1000, kits%1000
	return whole*part + (rest*part+999)/1000 // a broken kit takes whole thousandths
}

func (r *Record) live() bool {
	return slices.ContainsFunc(r.Lines, func(l Line) bool { return l.live() })
}

func (r *Record) reserving() bool {
	return slices.ContainsFunc(r.Lines, func(l Line) bool { return l.reserves() })
}

// copy is the reservation with lines of its own, to be changed at us.
func (r *Record) copy(us int64) Record {
	c := *r
	c.UpdatedUS = max(us, r.UpdatedUS)
	c.Lines = slices.Clone(r.Lines)
	return c
}

// change is a step to be journaled. Reasons are for people: where they would make
// it larger than a journal's record, they go first.
func change(why string, r Record) *Change {
	if r.exceeds(recordBytesMax) {
		for i := range r.Lines {
			r.Lines[i].Reason = ""
		}
	}
	return &Change{why, r}
}

// exceeds tells whether the journaled form takes more than so many bytes. It is
// written out only where a guess that is never too low does not settle it.
func (r *Record) exceeds(bytes int) bool {
	const aLine, aPart, escaped = 200, 48, 6 // escaped: "<" is \u003c
	guess := 300 + escaped*(len(r.ID)+len(r.Channel)+len(r.Order)+len(r.Group)+len(r.Elsewhere))
	for i := range r.Lines {
		l := &r.Lines[i]
		guess += aLine + escaped*(len(l.SKU)+len(l.Location)+len(l.Reason))
		for _, p := range l.Parts {
			guess += aPart + escaped*len(p.SKU)
		}
	}
	if guess <= bytes {
		return false
	}
	j, err := json.Marshal(r)
	return err != nil || len(j) > bytes
}
