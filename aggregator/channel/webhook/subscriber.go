package webhook

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// record is what is kept of a subscription.
type record struct {
	protocol.SubscriptionRequest
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	Version   int       `json:"version"`             // of its secret
	OldUntil  time.Time `json:"old_until,omitzero"`  // the secret before signs too
	Began     uint64    `json:"began"`               // position at which it was made
	Paused    string    `json:"paused,omitempty"`    // why
	PausedAt  time.Time `json:"paused_at,omitempty"` // since when
}

// subscriber is a subscription at work.
type subscriber struct {
	h      *Hub
	skus   map[protocol.SKU]struct{}
	stop   context.CancelFunc // guarded by Hub.run, as is served
	served bool
	bell   chan struct{} // something is owed
	kick   chan struct{} // somebody wants it tried now
	dead   *channel.DeadLetters

	mu      sync.Mutex // guards what follows
	rec     record
	owed    *gateway.Pending
	states  map[string]protocol.StateChange // newest passage per key of owed, where one was heard
	flying  []gateway.Owed                  // of the message that is out
	low     uint64                          // all up to here was taken
	sweep   *sweep                          // nil: what is owed stands in owed
	kept    uint64
	told    map[string]uint64 // of keys with locations: the numbers told last
	failed  time.Time         // since when nothing is taken
	next    time.Time         // when it is tried again
	errLast *protocol.ConnectorErr
	sentAt  time.Time
	n       struct{ sent, items, retries uint64 }
}

func (h *Hub) subscriber(r record) (*subscriber, error) {
	s := &subscriber{
		h: h, rec: r, bell: make(chan struct{}, 1), kick: make(chan struct{}, 1), owed: gateway.NewPending(h.owedMax), states: map[string]protocol.StateChange{},
		low: r.Began, told: map[string]uint64{}, stop: func() {},
	}
	if len(r.SKUs) > 0 {
		s.skus = make(map[protocol.SKU]struct{}, len(r.SKUs))
		for _, k := range r.SKUs {
			s.skus[k] = struct{}{}
		}
	}
	var err error
	s.dead, err = channel.OpenDeadLetters(h.o.Facts, factDead+r.ID)
	return s, err
}

func (s *subscriber) wants(event string) bool { return slices.Contains(s.rec.Events, event) }

// A key is the event's letter, the SKU and, of a state at one place, the location.
const (
	keyChanged = "c"
	keyState   = "t"
)

func stateKey(sku protocol.SKU, loc protocol.StoreID) string {
	if loc == "" {
		return keyState + string(sku)
	}
	return keyState + string(sku) + "\x00" + string(loc)
}

// showKey is a key for people: SKU, or SKU @ location.
func showKey(key string) string {
	sku, loc := splitKey(key)
	if loc == "" {
		return string(sku)
	}
	return string(sku) + " @ " + string(loc)
}

// readKey is showKey's way back.
func readKey(kind, shown string) string {
	if at := strings.LastIndex(shown, " @ "); kind == keyState && at > 0 {
		return stateKey(protocol.SKU(shown[:at]), protocol.StoreID(shown[at+3:]))
	}
	return kind + shown
}

func splitKey(key string) (sku protocol.SKU, loc protocol.StoreID) {
	a, b, _ := strings.Cut(key[1:], "\x00")
	return protocol.SKU(a), protocol.StoreID(b)
}

// changed marks articles whose numbers changed.
func (s *subscriber) changed(skus []protocol.SKU, us int64, after uint64, force bool) {
	if !s.wants(protocol.EventAvailabilityChanged) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sku := range skus {
		if _, ok := s.skus[sku]; ok || s.skus == nil {
			s.note(keyChanged+string(sku), us, after, force)
		}
	}
	s.ring()
}

// note marks one key. Where there is no room the log keeps it. The caller holds mu.
func (s *subscriber) note(key string, us int64, after uint64, force bool) {
	if !s.owed.Mark(key, us, after, force) {
		s.all(us, after)
	}
}

// sweep tells of every article, in order of name: it takes the place of keys that
// nobody could remember. Nothing is kept but how far it is.
type sweep struct {
	next  protocol.SKU // those behind it are to come
	after uint64       // position behind which something changed
	us    int64
	again bool // something was forgotten since it began
}

// all begins a sweep, or has the present one followed by another. The caller holds mu.
func (s *subscriber) all(us int64, after uint64) {
	if s.sweep == nil {
		s.sweep = &sweep{after: after, us: us}
		return
	}
	s.sweep.again = true
	s.sweep.after = min(s.sweep.after, after)
}

// refill takes the next articles of a sweep. false: there is none, or it is over.
func (s *subscriber) refill() bool {
	s.mu.Lock()
	w := s.sweep
	s.mu.Unlock()
	if w == nil {
		return false
	}
	list := s.h.o.Everything(w.next, batchLook)
	s.mu.Lock()
	if len(list) == 0 {
		if s.sweep = nil; w.again {
			s.sweep = &sweep{after: w.after, us: w.us}
		}
		s.mu.Unlock()
		return w.again
	}
	w.next = list[len(list)-1]
	s.mu.Unlock()
	s.again(list, w.us, w.after, true)
	return true
}

func (s *subscriber) ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// lowest is the position up to which all was taken.
func (s *subscriber) lowest() uint64 {
	reached := s.h.reached.Load()
	if s.wants(protocol.EventThresholdCrossed) { // the follower of states is behind
		reached = s.h.settled.Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if reached < s.low { // not begun yet
		return s.low
	}
	low := reached
	if s.sweep != nil {
		low = min(low, s.sweep.after)
	}
	if o, ok := s.owed.Oldest(); ok {
		low = min(low, o.After)
	}
	for _, o := range s.flying {
		low = min(low, o.After)
	}
	s.low = low
	return low
}

// resume finds what changed while this process, or the last one, did not listen.
func (s *subscriber) resume(ctx context.Context, head uint64) {
	s.mu.Lock()
	from := s.low
	s.mu.Unlock()
	if from < head {
		s.scan(ctx, from, false)
	}
}

// scan marks every article that the log behind a position is about.
func (s *subscriber) scan(ctx context.Context, from uint64, force bool) {
	us := s.h.o.Now().UnixMicro()
	err := s.h.o.Touched(ctx, from, func(pos uint64, mergedUS int64, skus []protocol.SKU, all bool) error {
		if all {
			return errAll
		}
		s.again(skus, min(us, mergedUS), pos-1, force)
		return ctx.Err()
	})
	if err != nil && ctx.Err() == nil {
		if !errors.Is(err, errAll) {
			s.h.o.Log.Error().Err(err).Str("subscription", s.rec.ID).Msg("log not read; every article is told")
		}
		s.mu.Lock()
		s.all(us, from)
		s.mu.Unlock()
	}
	s.ring()
}

var errAll = errors.New("every article may have changed")

// again marks articles of which it is not known what was told.
func (s *subscriber) again(skus []protocol.SKU, us int64, after uint64, force bool) {
	s.changed(skus, us, after, force)
	if !s.wants(protocol.EventThresholdCrossed) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sku := range skus {
		if _, ok := s.skus[sku]; !ok && s.skus != nil {
			continue
		}
		s.note(stateKey(sku, ""), us, after, force)
		for _, loc := range s.rec.Locations {
			s.note(stateKey(sku, loc), us, after, force)
		}
	}
}

// followStates hears passages between in, low and out that are behind a position.
// When it begins to listen, or listened too slowly, what was merged since the last
// position up to which it surely heard all is looked through instead.
func (s *subscriber) followStates(ctx context.Context, heard uint64) {
	for ctx.Err() == nil {
		err := s.h.o.Thresholds(ctx, s.rec.Channel, s.rec.Locations, func(reset bool, events []protocol.StateChange) error {
			if reset && s.h.o.Availability.AppliedPosition() > heard {
				s.scan(ctx, heard, false)
			}
			heard = max(heard, s.h.settled.Load())
			s.passed(events)
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		s.h.o.Log.Warn().Err(err).Str("subscription", s.rec.ID).Msg("thresholds not followed; tried again")
		if !wait(ctx, s.bell, backoffMax/10, false) {
			return
		}
	}
}

// passed marks passages: of several of one key the first's was and the last's state
// are told, and nothing where they are the same.
func (s *subscriber) passed(events []protocol.StateChange) {
	us, after := s.h.o.Now().UnixMicro(), s.h.settled.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if _, ok := s.skus[e.SKU]; !ok && s.skus != nil {
			continue
		}
		key := stateKey(e.SKU, e.Location)
		if old, ok := s.states[key]; ok {
			e.Was = old.Was
			if e.State == e.Was {
				delete(s.states, key)
				s.owed.Drop(key)
				continue
			}
		} else if s.owed.Has(key) {
			e.Was = "" // what was told before is not known
		}
		s.note(key, us, after, false)
		if s.owed.Has(key) {
			s.states[key] = e
		}
	}
	s.ring()
}

// wait sleeps until d has passed, the bell rings (where it counts), or ctx ends.
func wait(ctx context.Context, bell <-chan struct{}, d time.Duration, wakes bool) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	if !wakes {
		bell = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-bell:
	}
	return ctx.Err() == nil
}
