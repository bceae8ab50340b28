package webhook

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"tillwire/aggregator/channel"
	"tillwire/protocol"
)

// Create makes a subscription: it hears what changes from now on. The answer alone
// tells its secret.
func (h *Hub) Create(ctx context.Context, r *protocol.SubscriptionRequest, who string) (protocol.Subscription, error) {
	if p := h.checkURL(r.URL); p != nil {
		return protocol.Subscription{}, p
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // crypto/rand does not fail
	rec := record{
		SubscriptionRequest: *r, ID: "sub-" + hex.EncodeToString(id[:]), CreatedAt: h.o.Now().UTC(), CreatedBy: who, Version: 1,
		Began: h.o.Availability.AppliedPosition(),
	}
	s, err := h.subscriber(rec)
	if err != nil {
		return protocol.Subscription{}, err
	}
	err = h.change(ctx, func() (func(), error) {
		if len(h.subs) >= subscriptionsMax {
			return nil, protocol.NewProblem(http.StatusConflict, "too_many_subscriptions", "There are too many subscriptions",
				fmt.Sprintf("%d are served", subscriptionsMax), "delete what nobody needs, or let one receiver pass on to others")
		}
		h.subs[rec.ID] = s
		return func() { delete(h.subs, rec.ID) }, nil
	})
	if err != nil {
		return protocol.Subscription{}, err
	}
	h.run.Lock()
	h.serve(s, rec.Began)
	h.run.Unlock()
	select {
	case h.came <- struct{}{}:
	default:
	}
	out := s.view()
	out.Secret = EncodeSecret(h.o.Secret(rec.ID, rec.Version))
	return out, nil
}

// checkURL refuses what the guard would refuse at each call, where that is known
// already.
func (h *Hub) checkURL(s string) *protocol.Problem {
	wrong := func(format string, args ...any) *protocol.Problem {
		msg := fmt.Sprintf(format, args...)
		p := protocol.NewProblem(http.StatusUnprocessableEntity, "invalid_field", "A field is not acceptable", "/url "+msg, "name a public https address of the receiver")
		p.Errors = []protocol.FieldError{{Pointer: "/url", Message: msg}}
		return p
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return wrong("is not an absolute URL without user and fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !h.o.AllowHTTP) {
		return wrong("has the scheme %q; https is needed, or webhooks.allow_http in the configuration", u.Scheme)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := h.o.Guard.Check(ip); err != nil {
			return wrong("%v", err)
		}
	}
	return nil
}

// List tells all subscriptions, the oldest first.
func (h *Hub) List() []protocol.Subscription {
	out := []protocol.Subscription{}
	for _, s := range h.list() {
		out = append(out, s.view())
	}
	return out
}

// Get tells one.
func (h *Hub) Get(id string) (protocol.Subscription, error) {
	s, err := h.find(id)
	if err != nil {
		return protocol.Subscription{}, err
	}
	return s.view(), nil
}

func (h *Hub) find(id string) (*subscriber, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.subs[id]; s != nil {
		return s, nil
	}
	return nil, protocol.NewProblem(http.StatusNotFound, "unknown_subscription", "No such subscription", id, "GET /v1/subscriptions lists them")
}

// view is a subscription as it stands, without its secret.
func (s *subscriber) view() protocol.Subscription {
	position := s.lowest()
	now := s.h.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	v := protocol.Subscription{
		ID: s.rec.ID, SubscriptionRequest: s.rec.SubscriptionRequest, State: protocol.SubscriptionActive, CreatedAt: s.rec.CreatedAt, CreatedBy: s.rec.CreatedBy,
		Pending: s.owed.Len() + len(s.flying), Position: position, Sent: s.n.sent, Items: s.n.items, Coalesced: s.owed.Coalesced, Retries: s.n.retries,
		DeadLetters: s.dead.Len(), LastError: s.errLast,
	}
	oldest, ok := s.owed.Oldest()
	for _, o := range s.flying {
		if !ok || o.Since < oldest.Since {
			oldest, ok = o, true
		}
	}
	if ok {
		v.LagS = max(0, now.Sub(time.UnixMicro(oldest.Since)).Seconds())
	}
	if !s.sentAt.IsZero() {
		at := s.sentAt.UTC()
		v.LastSentAt = &at
	}
	if s.rec.Version > 1 && now.Before(s.rec.OldUntil) {
		at := s.rec.OldUntil.UTC()
		v.OldSecretEnds = &at
	}
	switch {
	case s.rec.Paused != "":
		v.State, v.Reason = protocol.SubscriptionPaused, s.rec.Paused
	case !s.failed.IsZero():
		v.State, v.Reason = protocol.SubscriptionFailing, s.errLast.Message
		at := s.next.UTC()
		v.NextTryAt = &at
	}
	return v
}

// Delete ends a subscription.
func (h *Hub) Delete(ctx context.Context, id string) error {
	s, err := h.find(id)
	if err != nil {
		return err
	}
	err = h.change(ctx, func() (func(), error) {
		delete(h.subs, id)
		return func() { h.subs[id] = s }, nil
	})
	if err != nil {
		return err
	}
	h.run.Lock()
	s.stop()
	h.run.Unlock()
	return s.dead.Clear(ctx)
}

// update changes one subscription's record and keeps it.
func (h *Hub) update(ctx context.Context, s *subscriber, edit func(r *record)) error {
	return h.change(ctx, func() (func(), error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		was := s.rec
		edit(&s.rec)
		return func() { s.mu.Lock(); s.rec = was; s.mu.Unlock() }, nil
	})
}

// Rotate makes a new secret, which the answer alone tells; the one before signs
// beside it for a while.
func (h *Hub) Rotate(ctx context.Context, id string, overlap time.Duration) (protocol.Subscription, error) {
	s, err := h.find(id)
	if err != nil {
		return protocol.Subscription{}, err
	}
	if overlap == 0 {
		overlap = overlapUsual
	}
	until := h.o.Now().Add(min(overlap, overlapMax)).UTC()
	version := 0
	if err := h.update(ctx, s, func(r *record) { r.Version++; r.OldUntil = until; version = r.Version }); err != nil {
		return protocol.Subscription{}, err
	}
	v := s.view()
	v.Secret = EncodeSecret(h.o.Secret(id, version))
	return v, nil
}

func (h *Hub) pause(ctx context.Context, s *subscriber, why string) error {
	h.o.Log.Error().Str("subscription", s.rec.ID).Str("reason", why).Msg("webhook paused")
	return h.update(ctx, s, func(r *record) { r.Paused, r.PausedAt = why, h.o.Now().UTC() })
}

// Resume lets a paused subscription go on where it was, and has one that waits try
// at once.
func (h *Hub) Resume(ctx context.Context, id string) (protocol.Subscription, error) {
	s, err := h.find(id)
	if err != nil {
		return protocol.Subscription{}, err
	}
	if err := h.update(ctx, s, func(r *record) { r.Paused, r.PausedAt = "", time.Time{} }); err != nil {
		return protocol.Subscription{}, err
	}
	s.mu.Lock()
	s.failed, s.next = time.Time{}, time.Time{}
	s.mu.Unlock()
	s.ring()
	select {
	case s.kick <- struct{}{}:
	default:
	}
	return s.view(), nil
}

// Replay tells again, with the numbers of now, every article that changed since a
// moment, or behind a position.
func (h *Hub) Replay(ctx context.Context, id string, from time.Time, position uint64) (protocol.Subscription, error) {
	s, err := h.find(id)
	if err != nil {
		return protocol.Subscription{}, err
	}
	if !from.IsZero() {
		if position, err = h.o.PositionAt(from); err != nil {
			return protocol.Subscription{}, err
		}
	}
	if head := h.o.Availability.AppliedPosition(); position > head {
		return protocol.Subscription{}, protocol.NewProblem(http.StatusUnprocessableEntity, "invalid_field", "A field is not acceptable",
			fmt.Sprintf("/position is %d, the ledger ends at %d", position, head), "replay from a position or a time that has been")
	}
	h.run.Lock()
	defer h.run.Unlock()
	if h.ctx == nil {
		return protocol.Subscription{}, errStopped
	}
	running := h.ctx
	h.wg.Go(func() { s.scan(running, position, true) })
	return s.view(), nil
}

var errStopped = errors.New("webhooks are not served")

// Test sends a message of type EventWebhookTest at once, whatever else waits.
func (h *Hub) Test(ctx context.Context, id string) (protocol.SubscriptionTest, error) {
	s, err := h.find(id)
	if err != nil {
		return protocol.SubscriptionTest{}, err
	}
	out := protocol.SubscriptionTest{MessageID: newID()}
	began := h.o.Now()
	body, err := json.Marshal(&protocol.CloudEvent{
		SpecVersion: "1.0", ID: out.MessageID, Source: h.o.Source, Type: protocol.EventWebhookTest, Time: began.UTC(), DataContentType: "application/json",
		Position: h.reached.Load(), Data: map[string]any{"subscription": id},
	})
	if err != nil {
		return out, err
	}
	status, _, err := s.post(ctx, out.MessageID, body)
	out.Status, out.Delivered, out.DurationMS = status, err == nil, float64(h.o.Now().Sub(began).Microseconds())/1000
	if err != nil {
		out.Error = err.Error()
	}
	return out, nil
}

// DeadLetters lists the messages of a subscription that its receiver called wrong.
func (h *Hub) DeadLetters(id string) ([]protocol.DeadLetter, error) {
	s, err := h.find(id)
	if err != nil {
		return nil, err
	}
	return s.dead.List(), nil
}

// DecideDeadLetter sends what a dead letter was about again, with the numbers of
// now, or forgets it.
func (h *Hub) DecideDeadLetter(ctx context.Context, id, letter string, retry bool) (protocol.DeadLetter, error) {
	s, err := h.find(id)
	if err != nil {
		return protocol.DeadLetter{}, err
	}
	d, ok := s.dead.Get(letter)
	if !ok {
		return d, channel.NoSuchLetter(letter)
	}
	if retry { // marked before it is forgotten: a crash between the two keeps the letter
		s.owe(&d)
	}
	_, _, err = s.dead.Remove(ctx, letter)
	return d, err
}

// owe marks what a dead letter was about.
func (s *subscriber) owe(d *protocol.DeadLetter) {
	us, after := s.h.o.Now().UnixMicro(), s.h.reached.Load()
	kind := keyChanged
	if d.Kind == protocol.EventThresholdCrossed {
		kind = keyState
	}
	s.mu.Lock()
	for _, k := range d.Keys {
		s.note(readKey(kind, k), us, after, true)
	}
	s.mu.Unlock()
	s.ring()
}
