package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// Subscriptions are the outbound webhooks. Decisions are recorded under who.
type Subscriptions interface {
	Create(ctx context.Context, r *protocol.SubscriptionRequest, who string) (protocol.Subscription, error)
	List() []protocol.Subscription
	Get(id string) (protocol.Subscription, error)
	Delete(ctx context.Context, id, who string) error
	Test(ctx context.Context, id, who string) (protocol.SubscriptionTest, error)
	Rotate(ctx context.Context, id string, overlap time.Duration, who string) (protocol.Subscription, error)
	Resume(ctx context.Context, id, who string) (protocol.Subscription, error)
	Replay(ctx context.Context, id string, from time.Time, position uint64, who string) (protocol.Subscription, error)
	DeadLetters(id string) ([]protocol.DeadLetter, error)
	DecideDeadLetter(ctx context.Context, id, letter string, retry bool, who string) (protocol.DeadLetter, error)
}

type subscriptionData struct {
	protocol.Subscription
	Ops, Admin  bool
	Bad         bool
	Flow        string // what its curves are asked for by; "": none are kept
	Letters     []protocol.DeadLetter
	LettersMore int
	Who         []protocol.AuditEntry
}

// withoutQuery is an address as pages show it: a token may stand in the rest.
func withoutQuery(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	if u.User = nil; u.RawQuery != "" {
		u.RawQuery = "…"
	}
	return strings.Replace(u.String(), "%E2%80%A6", "…", 1)
}

func (w *Web) subscriptionPage(rw http.ResponseWriter, r *http.Request) error {
	s, err := w.opts.Subscriptions.Get(r.PathValue("id"))
	if err != nil {
		return w.decided("subscription", err)
	}
	role := person(r).Role
	s.Secret, s.URL = "", withoutQuery(s.URL)
	d := &subscriptionData{Subscription: s, Ops: role >= Ops, Admin: role >= Admin, Bad: s.State != protocol.SubscriptionActive, Flow: w.flowOf(protocol.FlowSubscription + s.ID)}
	letters, err := w.opts.Subscriptions.DeadLetters(s.ID)
	if err != nil {
		return w.decided("dead letters", err)
	}
	d.Letters = first(letters, lettersShown)
	d.LettersMore = len(letters) - len(d.Letters)
	if d.Ops && w.opts.Audit != nil {
		d.Who = w.opts.Audit(protocol.AuditFilter{Action: "subscription", Object: s.ID, Limit: historyShown})
	}
	title := s.Name
	if title == "" {
		title = s.ID
	}
	return w.show(rw, r, "subscription", title, d)
}

// Shown is what the page calls a subscription.
func (d *subscriptionData) Shown() string {
	if d.Name != "" {
		return d.Name
	}
	return d.ID
}

// fields reads a form, whose values are texts.
func formFields(r *http.Request) (map[string]string, error) {
	in := map[string]string{}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, badRequest("The body must be JSON: names and texts.")
	}
	for k, v := range in {
		in[k] = strings.TrimSpace(v)
	}
	return in, nil
}

// parts reads a field that lists names, apart by commas or spaces.
func parts(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == ';' || r == '\n' })
}

func subscriptionForm(in map[string]string) (*protocol.SubscriptionRequest, error) {
	req := protocol.SubscriptionRequest{URL: in["url"], Name: in["name"], Channel: in["channel"]}
	for _, e := range protocol.SubscriptionEvents {
		if in["event:"+e] != "" {
			req.Events = append(req.Events, e)
		}
	}
	for _, s := range parts(in["locations"]) {
		req.Locations = append(req.Locations, protocol.StoreID(s))
	}
	for _, s := range parts(in["skus"]) {
		req.SKUs = append(req.SKUs, protocol.SKU(s))
	}
	b, err := json.Marshal(&req)
	if err != nil {
		return nil, fmt.Errorf("encode subscription: %w", err)
	}
	out, p := protocol.DecodeSubscription(b)
	if p != nil {
		return nil, &pageError{http.StatusUnprocessableEntity, p.Code, strings.TrimPrefix(p.Detail, "/") + "."}
	}
	return out, nil
}

// shown answers with a secret that is shown once.
func shown(rw http.ResponseWriter, r *http.Request, say, secret, note string) error {
	return writeJSON(rw, r, map[string]any{"ok": true, "say": say, "show": secret, "note": note})
}

func (w *Web) subscribe(rw http.ResponseWriter, r *http.Request) error {
	in, err := formFields(r)
	if err != nil {
		return err
	}
	req, err := subscriptionForm(in)
	if err != nil {
		return err
	}
	s, err := w.opts.Subscriptions.Create(context.WithoutCancel(r.Context()), req, who(r))
	if err != nil {
		return w.decided("subscribe", err)
	}
	return shown(rw, r, "Subscribed. Its secret is shown below, once.", s.Secret, "give it to the receiver, who checks each message with it")
}

func (w *Web) testSubscription(rw http.ResponseWriter, r *http.Request) error {
	if _, err := noted(r); err != nil {
		return err
	}
	t, err := w.opts.Subscriptions.Test(context.WithoutCancel(r.Context()), r.PathValue("id"), who(r))
	if err != nil {
		return w.decided("test", err)
	}
	if !t.Delivered {
		return &pageError{http.StatusBadGateway, "not_delivered", "Not delivered: " + t.Error}
	}
	return done(rw, r, fmt.Sprintf("Delivered: the receiver answered %d after %.0f ms.", t.Status, t.DurationMS))
}

func (w *Web) rotateSubscription(rw http.ResponseWriter, r *http.Request) error {
	in, err := formFields(r)
	if err != nil {
		return err
	}
	hours, err := strconv.ParseFloat(in["hours"], 64)
	if err != nil || hours < 0 || hours > 168 {
		return badRequest("Say for how many hours the old secret signs too, 0 to 168.")
	}
	overlap := max(time.Second, time.Duration(hours*float64(time.Hour)))
	s, err := w.opts.Subscriptions.Rotate(context.WithoutCancel(r.Context()), r.PathValue("id"), overlap, who(r))
	if err != nil {
		return w.decided("rotate", err)
	}
	return shown(rw, r, "A new secret signs from now on.", s.Secret, "shown once")
}

func (w *Web) resumeSubscription(rw http.ResponseWriter, r *http.Request) error {
	if _, err := noted(r); err != nil {
		return err
	}
	if _, err := w.opts.Subscriptions.Resume(context.WithoutCancel(r.Context()), r.PathValue("id"), who(r)); err != nil {
		return w.decided("resume", err)
	}
	return done(rw, r, "It goes on: the newest value of all that changed meanwhile is sent.")
}

func (w *Web) replaySubscription(rw http.ResponseWriter, r *http.Request) error {
	in, err := formFields(r)
	if err != nil {
		return err
	}
	from, err := time.Parse("2006-01-02T15:04", in["from"])
	if err != nil {
		return badRequest("Say from when on, in UTC.")
	}
	if _, err := w.opts.Subscriptions.Replay(context.WithoutCancel(r.Context()), r.PathValue("id"), from, 0, who(r)); err != nil {
		return w.decided("replay", err)
	}
	return done(rw, r, "What changed since then is sent again, each with its value of now.")
}

func (w *Web) unsubscribe(rw http.ResponseWriter, r *http.Request) error {
	if _, err := noted(r); err != nil {
		return err
	}
	if err := w.opts.Subscriptions.Delete(context.WithoutCancel(r.Context()), r.PathValue("id"), who(r)); err != nil {
		return w.decided("unsubscribe", err)
	}
	return writeJSON(rw, r, map[string]any{"ok": true, "say": "Unsubscribed.", "to": "/channels"})
}

func (w *Web) decideDeadLetter(rw http.ResponseWriter, r *http.Request) error {
	retry, err := letterWhat(r)
	if err != nil {
		return err
	}
	if _, err = w.opts.Subscriptions.DecideDeadLetter(context.WithoutCancel(r.Context()), r.PathValue("id"), r.PathValue("letter"), retry, who(r)); err != nil {
		return w.decided("dead letter", err)
	}
	if retry {
		return done(rw, r, "It is sent again.")
	}
	return done(rw, r, letterSaid(false))
}
