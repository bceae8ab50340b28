package webhook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	mrand "math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// message is one that is out, or about to be.
type message struct {
	id    string
	kind  string
	body  []byte
	items int
	tries int
	keys  []gateway.Owed
	sums  map[string]uint64 // numbers in it, per key
	state map[string]protocol.StateChange
}

func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	return "msg_" + hex.EncodeToString(b[:])
}

// work serves one subscription: one message at a time.
//
//	idle ──marked──▶ form ──▶ send ──2xx──▶ idle
//	                  ▲        │ failed: wait; the same message again unless a key in it
//	                  └────────┘ changed, then its keys join what waits and a new one is formed
func (s *subscriber) work(ctx context.Context) {
	var m *message
	for ctx.Err() == nil {
		if s.paused() {
			if !wait(ctx, s.bell, time.Hour, true) {
				return
			}
			continue
		}
		if m == nil {
			if m = s.form(); m == nil {
				if s.refill() {
					continue
				}
				if !wait(ctx, s.bell, time.Hour, true) {
					return
				}
				continue
			}
		}
		m.tries++
		status, after, err := s.post(ctx, m.id, m.body)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			s.taken(m)
			m = nil
			continue
		}
		v, pause := s.judge(m, status, after, err)
		switch v {
		case sendAgain:
		case formAnew:
			m = nil
		case putAside:
			s.bury(ctx, m, err)
			m = nil
		case halt:
			s.halt(ctx, m, status)
			m = nil
		}
		if !wait(ctx, s.kick, pause, true) {
			return
		}
	}
}

func (s *subscriber) paused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.Paused != ""
}

// form makes a message of the oldest keys. All of one message are of one type.
// nil: nothing is owed.
func (s *subscriber) form() *message {
	for {
		s.mu.Lock()
		first, ok := s.owed.Oldest()
		if !ok {
			s.mu.Unlock()
			return nil
		}
		kind := first.Key[:1]
		m := &message{id: newID(), keys: s.takeOf(kind), sums: map[string]uint64{}, state: map[string]protocol.StateChange{}}
		for _, o := range m.keys {
			if e, ok := s.states[o.Key]; ok {
				m.state[o.Key] = e
				delete(s.states, o.Key)
			}
		}
		s.flying = m.keys
		s.mu.Unlock()
		s.write(m, kind)
		if m.items > 0 {
			return m
		}
		s.mu.Lock() // nothing of it is news
		s.flying = nil
		s.mu.Unlock()
	}
}

// takeOf takes keys of one kind, the oldest first. Others that were taken go back.
func (s *subscriber) takeOf(kind string) []gateway.Owed {
	list := s.owed.Take(s.rec.BatchMax)
	for i, o := range list {
		if o.Key[:1] != kind {
			rest := append([]gateway.Owed(nil), list[i:]...)
			for k := range rest {
				rest[k].Tries-- // it was not tried
			}
			s.owed.Back(rest)
			return list[:i:i]
		}
	}
	return list
}

// write fills the body with the numbers of now.
func (s *subscriber) write(m *message, kind string) {
	now := s.h.o.Now().UTC()
	e := protocol.CloudEvent{
		SpecVersion: "1.0", ID: m.id, Source: s.h.o.Source, Time: now, DataContentType: "application/json", Position: s.h.reached.Load(),
	}
	var items []any
	for _, o := range m.keys {
		sku, loc := splitKey(o.Key)
		if kind == keyState {
			e.Type = protocol.EventThresholdCrossed
			if c, ok := s.passage(m, o.Key, sku, loc); ok {
				items = append(items, c)
				e.Subject = string(sku)
			}
			continue
		}
		e.Type = protocol.EventAvailabilityChanged
		a, ok := s.h.o.Availability.GetFor(sku, s.rec.Locations, s.rec.Channel)
		if !ok {
			continue
		}
		if len(s.rec.Locations) > 0 {
			sum := numbers(&a)
			s.mu.Lock()
			was, known := s.told[o.Key]
			s.mu.Unlock()
			if known && was == sum && !o.Force {
				continue // it changed elsewhere
			}
			m.sums[o.Key] = sum
		}
		items = append(items, a)
		e.Subject = string(sku)
	}
	if len(items) != 1 {
		e.Subject = ""
	}
	e.Data = struct {
		Items []any `json:"items"`
	}{items}
	m.kind, m.items = e.Type, len(items)
	body, err := json.Marshal(&e)
	if err != nil { // our own structs always marshal
		s.h.o.Log.Error().Err(err).Msg("webhook message not encoded")
		m.items = 0
	}
	m.body = body
}

// passage is what is told of a state: what was heard, with the numbers of now.
func (s *subscriber) passage(m *message, key string, sku protocol.SKU, loc protocol.StoreID) (protocol.StateChange, bool) {
	now, ok := s.h.o.State(sku, loc, s.rec.Channel)
	if !ok {
		return now, false
	}
	if heard, ok := m.state[key]; ok {
		now.Was, now.At = heard.Was, heard.At
		return now, now.State != now.Was
	}
	return now, true
}

// numbers is a sum over what a receiver could act on: not over ages and times.
func numbers(a *protocol.Availability) uint64 {
	h := fnv.New64a()
	b := make([]byte, 0, 64)
	for i := range a.Locations {
		l := &a.Locations[i]
		b = append(b[:0], l.Location...)
		for _, q := range []protocol.Quantity{l.OnHand, l.Reserved, l.Allocated, l.Unavailable, l.SafetyStock, l.InTransit, l.RiskBuffer, l.Available} {
			b = append(strconv.AppendInt(append(b, ' '), int64(q), 36), ' ')
		}
		_, _ = h.Write(b) // a hash takes everything
	}
	return h.Sum64()
}

// post sends a message once. status is 0 where nobody answered.
func (s *subscriber) post(ctx context.Context, id string, body []byte) (status int, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, channel.CallTimeout)
	defer cancel()
	now := s.h.o.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.rec.URL, bytes.NewReader(body))
	if err != nil {
		return 0, 0, fmt.Errorf("call receiver: %w", err)
	}
	req.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	req.Header.Set("User-Agent", "tillwire-webhooks/1")
	req.Header.Set(HeaderID, id)
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(HeaderSignature, Sign(s.secrets(now), id, now, body))
	resp, err := s.h.client.Do(req)
	if err != nil {
		if errors.Is(err, channel.ErrGuarded) {
			return 0, 0, fmt.Errorf("call receiver: %w", channel.ErrGuarded)
		}
		return 0, 0, fmt.Errorf("call receiver: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	reply, _ := channel.Drain(resp.Body) // the status is what counts
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp.StatusCode, 0, nil
	}
	return resp.StatusCode, channel.RetryAfter(resp.Header, now), fmt.Errorf("the receiver answered %d: %s", resp.StatusCode, channel.Excerpt(string(reply)))
}

func (s *subscriber) secrets(now time.Time) [][]byte {
	s.mu.Lock()
	r := s.rec
	s.mu.Unlock()
	out := [][]byte{s.h.o.Secret(r.ID, r.Version)}
	if r.Version > 1 && now.Before(r.OldUntil) {
		out = append(out, s.h.o.Secret(r.ID, r.Version-1))
	}
	return out
}

func (s *subscriber) taken(m *message) {
	now := s.h.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, sum := range m.sums {
		if _, ok := s.told[k]; ok || len(s.told) < toldMax {
			s.told[k] = sum
		}
	}
	s.flying, s.sentAt, s.failed, s.next = nil, now, time.Time{}, time.Time{}
	s.n.sent++
	s.n.items += uint64(m.items)
}

// verdict is what comes of a message that was not taken.
type verdict int

const (
	sendAgain verdict = iota
	formAnew          // something in it changed: no use in the old value
	putAside          // the receiver says that the message is wrong
	halt              // nobody will take it
)

// judge decides, and how long to wait then.
func (s *subscriber) judge(m *message, status int, after time.Duration, err error) (verdict, time.Duration) {
	now := s.h.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n.retries++
	s.errLast = &protocol.ConnectorErr{Message: err.Error(), At: now.UTC()}
	if s.failed.IsZero() {
		s.failed = now
		s.h.o.Log.Warn().Str("subscription", s.rec.ID).Int("status", status).Err(err).Msg("webhook not taken")
	}
	pause := max(after, backoff(m.tries))
	s.next = now.Add(pause)
	switch {
	case status == http.StatusGone || now.Sub(s.failed) > pauseAfter:
		return halt, 0
	case refused(status) && m.tries >= triesRefused:
		return putAside, backoffFirst
	}
	for _, o := range m.keys {
		if s.owed.Has(o.Key) {
			s.giveBack(m)
			return formAnew, pause
		}
	}
	return sendAgain, pause
}

// bury puts a message aside. Until that is durable its keys are in flight, so that a
// crash tells them again.
func (s *subscriber) bury(ctx context.Context, m *message, cause error) {
	d := protocol.DeadLetter{ID: m.id, At: s.h.o.Now().UTC(), Kind: m.kind, Reason: channel.Excerpt(cause.Error()), Attempts: m.tries}
	for _, o := range m.keys {
		d.Keys = append(d.Keys, showKey(o.Key))
	}
	err := s.dead.Add(ctx, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.h.o.Log.Warn().Err(err).Str("subscription", s.rec.ID).Msg("dead letter not kept; it is sent again")
		s.giveBack(m)
		return
	}
	s.flying = nil
}

// halt pauses the subscription. What is owed stays owed; the log holds what comes.
func (s *subscriber) halt(ctx context.Context, m *message, status int) {
	why := "the receiver took nothing for " + pauseAfter.String()
	if status == http.StatusGone {
		why = "the receiver answered 410 gone"
	}
	s.mu.Lock()
	s.giveBack(m)
	s.mu.Unlock()
	if err := s.h.pause(ctx, s, why); err != nil {
		s.h.o.Log.Warn().Err(err).Str("subscription", s.rec.ID).Msg("pause of a webhook not kept")
	}
}

// giveBack puts a message's keys back. The caller holds mu.
func (s *subscriber) giveBack(m *message) {
	s.owed.Back(m.keys)
	for k, e := range m.state {
		if newer, ok := s.states[k]; ok {
			newer.Was = e.Was
			e = newer
		}
		s.states[k] = e
	}
	s.flying = nil
}

// refused tells answers that say that the message is wrong, not the moment.
func refused(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}

// backoff doubles from backoffFirst to backoffMax, half of it by chance, so that
// receivers that fell together do not rise together.
func backoff(tries int) time.Duration {
	d := backoffMax
	if tries < 20 {
		d = min(d, backoffFirst<<(tries-1))
	}
	return d/2 + mrand.N(d)/2 + 1
}
