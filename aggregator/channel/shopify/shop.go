package shopify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// Headers of a call.
const (
	headerSignature = "X-Shopify-Hmac-Sha256"
	headerTopic     = "X-Shopify-Topic"
	headerID        = "X-Shopify-Webhook-Id"
	headerTriggered = "X-Shopify-Triggered-At"
	headerShop      = "X-Shopify-Shop-Domain"
)

// Config is one shop.
type Config struct {
	Name     string
	Domain   string // x.myshopify.com; "": any that signs
	Secrets  []string
	Channel  string
	Default  protocol.StoreID            // location of lines that name none; "": sourced by policy
	Places   map[string]protocol.StoreID // by Shopify's location id
	StaleAge time.Duration               // of a call that is passed over; 0: 49 h, what Shopify retries for and an hour
}

// Options are what the shop works with.
type Options struct {
	Now   func() time.Time
	Log   zerolog.Logger
	Facts channel.Facts
	Desk  *channel.Desk
}

// Shop takes one shop's calls.
type Shop struct {
	c       Config
	o       Options
	letters *channel.DeadLetters
	notes   channel.Notes

	mu    sync.Mutex // guards what follows
	seen  map[string]bool
	order []string // of seen
	drift gateway.Drift
	n     struct{ in, duplicates, stale, refused uint64 }
}

const (
	staleUsual = 49 * time.Hour
	seenMax    = 4096
)

// New makes it.
func New(c Config, o Options) (*Shop, error) {
	if len(c.Secrets) == 0 {
		return nil, fmt.Errorf("shopify %s: no secret; copy the app's, from the shop's settings", c.Name)
	}
	if c.StaleAge == 0 {
		c.StaleAge = staleUsual
	}
	s := &Shop{c: c, o: o, seen: map[string]bool{}}
	var err error
	s.letters, err = channel.OpenDeadLetters(o.Facts, "channel/letters/"+c.Name)
	return s, err
}

// Run waits: the shop calls.
func (s *Shop) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Status tells how it stands.
func (s *Shop) Status() protocol.Connector {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := protocol.Connector{
		Name: s.c.Name, Kind: "shopify", Direction: protocol.ConnectorIn, In: s.n.in, Duplicates: s.n.duplicates + s.n.stale, Refused: s.n.refused,
		Drift: s.drift.List(), DeadLetters: s.letters.Len(),
	}
	s.notes.Fill(&c)
	return c
}

// Letters are the calls that could not take effect.
func (s *Shop) Letters() *channel.DeadLetters { return s.letters }

// Divergences are not known: the shop's stock is not read.
func (s *Shop) Divergences() []protocol.Divergence { return nil }

// verify tells whether a call was signed by the shop.
func (s *Shop) verify(h http.Header, body []byte) error {
	sig, err := base64.StdEncoding.DecodeString(h.Get(headerSignature))
	if err != nil || len(sig) == 0 {
		return errors.New(headerSignature + " is missing or no base64")
	}
	for _, secret := range s.c.Secrets {
		m := hmac.New(sha256.New, []byte(secret))
		m.Write(body)
		if hmac.Equal(sig, m.Sum(nil)) {
			if d := h.Get(headerShop); s.c.Domain != "" && d != s.c.Domain {
				return fmt.Errorf("the call is of %q, not of %s", d, s.c.Domain)
			}
			return nil
		}
	}
	return errors.New("no secret of ours made " + headerSignature)
}

// Deliver takes a call. What is answered with 200 is durable, or of no interest.
func (s *Shop) Deliver(ctx context.Context, h http.Header, body []byte) (protocol.WebhookReceipt, error) {
	if err := s.verify(h, body); err != nil {
		s.mu.Lock()
		s.n.refused++
		s.mu.Unlock()
		return protocol.WebhookReceipt{}, channel.Unsigned(err)
	}
	topic, id := h.Get(headerTopic), h.Get(headerID)
	if s.heard(id) {
		return protocol.WebhookReceipt{Status: "duplicate", ID: id}, nil
	}
	if at, err := time.Parse(time.RFC3339, h.Get(headerTriggered)); err == nil {
		if age := s.o.Now().Sub(at); age > s.c.StaleAge {
			s.mu.Lock()
			s.n.stale++
			s.mu.Unlock()
			return protocol.WebhookReceipt{Status: "stale", ID: id, Detail: fmt.Sprintf("it was triggered %s ago", age.Round(time.Second))}, nil
		}
	}
	r, err := s.take(ctx, topic, id, body)
	if err != nil {
		s.forget(id)
		s.notes.Failed(err, s.o.Now())
	}
	return r, err
}

// heard tells a call that came before. The list lives in memory: what comes again
// after a restart finds its parcels done.
func (s *Shop) heard(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" {
		return false
	}
	if s.seen[id] {
		s.n.duplicates++
		return true
	}
	if len(s.order) >= seenMax {
		delete(s.seen, s.order[0])
		s.order = s.order[1:]
	}
	s.seen[id] = true
	s.order = append(s.order, id)
	return false
}

// forget lets a call that failed come again.
func (s *Shop) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, id)
}

// take reads a call and has it take effect.
func (s *Shop) take(ctx context.Context, topic, id string, body []byte) (protocol.WebhookReceipt, error) {
	now := s.o.Now().UTC()
	t, ok := topics[topic]
	if !ok {
		return protocol.WebhookReceipt{Status: "ignored", ID: id, Detail: fmt.Sprintf("topic %q", topic)}, nil
	}
	unknown, missing, err := t.shape.Judge(body)
	if err != nil {
		return s.park(ctx, topic, id, body, "it is no JSON: "+err.Error())
	}
	s.mu.Lock()
	fresh := s.drift.Note(topic, unknown, now)
	s.n.in++
	s.mu.Unlock()
	if len(fresh) > 0 {
		s.o.Log.Warn().Str("connector", s.c.Name).Str("topic", topic).Strs("fields", fresh).Msg("webhook has fields that are not known")
	}
	if len(missing) > 0 {
		return s.park(ctx, topic, id, body, fmt.Sprintf("it lacks %v", missing))
	}
	order, err := t.read(&s.c, body)
	if err != nil {
		return s.park(ctx, topic, id, body, err.Error())
	}
	if order == nil {
		return protocol.WebhookReceipt{Status: "ignored", ID: id, Detail: "it changes nothing that is held"}, nil
	}
	out, err := s.o.Desk.Take(ctx, order)
	switch {
	case errors.Is(err, channel.ErrUnknownOrder):
		return s.park(ctx, topic, id, body, "order "+order.ID+" has not come yet; this is tried again when it does")
	case err != nil:
		return protocol.WebhookReceipt{}, err
	}
	if len(out.Problems) > 0 {
		if err := s.letters.Add(ctx, s.letter(topic, "order-"+order.ID, body, fmt.Sprintf("order %s: %v", order.ID, out.Problems))); err != nil {
			return protocol.WebhookReceipt{}, err
		}
	}
	s.notes.Went(order.ID, topic, now)
	if len(order.Lines) > 0 {
		s.waited(ctx, order.ID)
	}
	status := "accepted"
	if !out.News {
		status = "duplicate"
		s.mu.Lock()
		s.n.duplicates++
		s.mu.Unlock()
	}
	return protocol.WebhookReceipt{Status: status, ID: id}, nil
}

// waited lets parcels take effect that came before their order.
func (s *Shop) waited(ctx context.Context, order string) {
	for _, d := range s.letters.List() {
		if len(d.Keys) != 1 || d.Keys[0] != order || d.ID == "order-"+order {
			continue
		}
		if err := s.Retry(ctx, &d); err == nil {
			if _, _, err := s.letters.Remove(ctx, d.ID); err != nil {
				s.o.Log.Warn().Err(err).Str("connector", s.c.Name).Msg("dead letter not removed; what it says counted")
			}
		}
	}
}

// park keeps a call that cannot take effect.
func (s *Shop) park(ctx context.Context, topic, id string, body []byte, reason string) (protocol.WebhookReceipt, error) {
	d := s.letter(topic, id, body, reason)
	if err := s.letters.Add(ctx, d); err != nil {
		return protocol.WebhookReceipt{}, err
	}
	s.o.Log.Warn().Str("connector", s.c.Name).Str("topic", topic).Str("letter", d.ID).Msg("webhook parked")
	return protocol.WebhookReceipt{Status: "parked", ID: d.ID, Detail: d.Reason}, nil
}

func (s *Shop) letter(topic, id string, body []byte, reason string) protocol.DeadLetter {
	if id == "" {
		sum := sha256.Sum256(body)
		id = fmt.Sprintf("%x", sum[:8])
	}
	d := protocol.DeadLetter{ID: id, At: s.o.Now().UTC(), Kind: topic, Reason: reason, Attempts: 1, Document: string(withoutPersons(body))}
	if o := orderOf(topic, body); o != "" {
		d.Keys = []string{o}
	}
	return d
}

// Retry has a parked call take effect.
func (s *Shop) Retry(ctx context.Context, d *protocol.DeadLetter) error {
	t, ok := topics[d.Kind]
	if !ok {
		return fmt.Errorf("topic %q is not known", d.Kind)
	}
	if _, missing, err := t.shape.Judge([]byte(d.Document)); err != nil || len(missing) > 0 {
		return errors.Join(err, fmt.Errorf("it lacks %v", missing))
	}
	order, err := t.read(&s.c, []byte(d.Document))
	if err != nil || order == nil {
		return err
	}
	out, err := s.o.Desk.Take(ctx, order)
	if err == nil && len(out.Problems) > 0 {
		err = fmt.Errorf("order %s: %v", order.ID, out.Problems)
	}
	return err
}

// withoutPersons drops what tells of a person: it is not needed to hold stock.
func withoutPersons(body []byte) []byte {
	var m map[string]any
	if json.Unmarshal(body, &m) != nil {
		return nil
	}
	for _, k := range []string{
		"customer", "billing_address", "shipping_address", "email", "contact_email", "phone", "note", "note_attributes", "client_details", "browser_ip",
		"destination", "payment_details", "tracking_number", "tracking_numbers", "tracking_url", "tracking_urls", "receipt", "order_status_url", "token", "cart_token", "checkout_token", "landing_site", "referring_site",
	} {
		delete(m, k)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	return b
}
