package aggregator

import (
	"context"
	"fmt"
	"time"

	"tillwire/aggregator/channel/webhook"
	"tillwire/aggregator/release"
	"tillwire/protocol"
)

// What people decide about outer systems, releases and articles, recorded as the
// desk's own decisions are.

// subscriptions are the hub's.
type subscriptions struct {
	*webhook.Hub
	d desk
}

func (s subscriptions) state(id string) any {
	x, err := s.Get(id)
	if err != nil {
		return nil
	}
	return stateOfSubscription(x)
}

// stateOfSubscription leaves the secret out, and of the address what a token may
// stand in.
func stateOfSubscription(x protocol.Subscription) any {
	return struct {
		State   string   `json:"state"`
		Name    string   `json:"name,omitempty"`
		URL     string   `json:"url"`
		Events  []string `json:"events"`
		Channel string   `json:"channel,omitempty"`
	}{x.State, x.Name, withoutQuery(x.URL), x.Events, x.Channel}
}

// Create subscribes a receiver.
func (s subscriptions) Create(ctx context.Context, r *protocol.SubscriptionRequest, who string) (protocol.Subscription, error) {
	x, err := s.Hub.Create(ctx, r, who)
	object := x.ID
	if err != nil {
		object = withoutQuery(r.URL)
	}
	s.d.record(ctx, who, "subscription.create", object, "", nil, stateOfSubscription(x), err)
	return x, err
}

// Delete ends a subscription.
func (s subscriptions) Delete(ctx context.Context, id, who string) error {
	before := s.state(id)
	err := s.Hub.Delete(ctx, id)
	s.d.record(ctx, who, "subscription.delete", id, "", before, nil, err)
	return err
}

// Test sends a receiver one message.
func (s subscriptions) Test(ctx context.Context, id, who string) (protocol.SubscriptionTest, error) {
	out, err := s.Hub.Test(ctx, id)
	s.d.record(ctx, who, "subscription.test", id, "", nil, map[string]bool{"delivered": out.Delivered}, err)
	return out, err
}

// Rotate makes a new secret; the trail has until when the old one counts.
func (s subscriptions) Rotate(ctx context.Context, id string, overlap time.Duration, who string) (protocol.Subscription, error) {
	x, err := s.Hub.Rotate(ctx, id, overlap)
	s.d.record(ctx, who, "subscription.rotate", id, "", nil, map[string]*time.Time{"old_secret_ends": x.OldSecretEnds}, err)
	return x, err
}

// Resume has a paused subscription go on.
func (s subscriptions) Resume(ctx context.Context, id, who string) (protocol.Subscription, error) {
	before := s.state(id)
	x, err := s.Hub.Resume(ctx, id)
	s.d.record(ctx, who, "subscription.resume", id, "", before, stateOfSubscription(x), err)
	return x, err
}

// Replay sends again what changed since a moment.
func (s subscriptions) Replay(ctx context.Context, id string, from time.Time, position uint64, who string) (protocol.Subscription, error) {
	x, err := s.Hub.Replay(ctx, id, from, position)
	since := fmt.Sprintf("position %d", position)
	if !from.IsZero() {
		since = from.UTC().Format(time.RFC3339)
	}
	s.d.record(ctx, who, "subscription.replay", id, "", nil, map[string]string{"from": since}, err)
	return x, err
}

// DecideDeadLetter sends a message again, or forgets it.
func (s subscriptions) DecideDeadLetter(ctx context.Context, id, letter string, retry bool, who string) (protocol.DeadLetter, error) {
	x, err := s.Hub.DecideDeadLetter(ctx, id, letter, retry)
	s.d.record(ctx, who, "subscription."+letterAction(retry), id, letter+": "+x.Reason, nil, nil, err)
	return x, err
}

func letterAction(retry bool) string {
	if retry {
		return "letter_retry"
	}
	return "letter_discard"
}

// DecideLetter has a dead letter take effect, or forgets it.
func (c connectors) DecideLetter(ctx context.Context, name, letter string, retry bool, who string) (protocol.DeadLetter, error) {
	x, err := c.partners.DecideLetter(ctx, name, letter, retry)
	c.desk.record(ctx, who, "connector."+letterAction(retry), name, letter+": "+x.Reason, nil, nil, err)
	return x, err
}

// releases are the rollouts.
type releases struct {
	*release.Rollouts
	d desk
}

// Set begins a rollout, or changes the one that is under way.
func (r releases) Set(ctx context.Context, next protocol.Rollout, who string) (protocol.Releases, error) {
	var before any
	if v, err := r.View(); err == nil && v.Rollout != nil {
		before = stateOfRollout(v.Rollout)
	}
	v, err := r.Rollouts.Set(ctx, next, who)
	r.d.record(ctx, who, "release.rollout", next.Version, "", before, stateOfRollout(&next), err)
	return v, err
}

func stateOfRollout(r *protocol.Rollout) any {
	return struct {
		Version string             `json:"version"`
		Percent int                `json:"percent"`
		Stores  []protocol.StoreID `json:"stores,omitempty"`
		Regions []string           `json:"regions,omitempty"`
		Paused  string             `json:"paused,omitempty"`
	}{r.Version, r.Percent, r.Stores, r.Regions, r.Paused}
}

// PutItems takes versions of articles. One by itself is a person's decision and
// recorded with what it was; of a list it is recorded how many.
func (d desk) PutItems(ctx context.Context, items []*protocol.Item, who string) ([]protocol.Item, []*protocol.Problem, error) {
	before := make([]uint64, len(items))
	var was any
	for i, it := range items {
		if list := d.Master().Item(it.SKU); len(list) > 0 {
			before[i], was = list[0].Version, stateOfItem(&list[0])
		}
	}
	stored, refused, err := d.Ingest.PutItems(ctx, items, who)
	if err != nil {
		d.record(ctx, who, "item.put", fmt.Sprintf("%d articles", len(items)), "", nil, nil, err)
		return stored, refused, err
	}
	changed, wrong, last := 0, 0, -1
	for i := range items {
		switch {
		case refused[i] != nil:
			wrong, last = wrong+1, i
		case stored[i].Version != before[i]:
			changed, last = changed+1, i
		}
	}
	switch {
	case last < 0: // all is as it was
	case len(items) == 1 && wrong == 1:
		d.record(ctx, who, "item.put", string(items[0].SKU), "", was, nil, refused[0])
	case len(items) == 1:
		d.record(ctx, who, "item.put", string(items[0].SKU), "", was, stateOfItem(&stored[0]), nil)
	default:
		d.record(ctx, who, "item.put", fmt.Sprintf("%d articles", len(items)), "", nil, map[string]int{"changed": changed, "refused": wrong}, nil)
	}
	return stored, refused, nil
}

func stateOfItem(it *protocol.Item) any {
	return struct {
		Name     string                  `json:"name,omitempty"`
		Category string                  `json:"category,omitempty"`
		BaseUnit string                  `json:"base_unit,omitempty"`
		Units    []protocol.UnitOfItem   `json:"units,omitempty"`
		Kit      []protocol.KitComponent `json:"kit,omitempty"`
	}{it.Name, it.Category, it.BaseUnit, it.Units, it.Kit}
}
