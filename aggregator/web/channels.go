package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"tillwire/protocol"
)

// Connectors are the outer systems. Decisions are recorded under who.
type Connectors interface {
	Connectors() []protocol.Connector
	LettersOf(connector string) ([]protocol.DeadLetter, error)
	DecideLetter(ctx context.Context, connector, letter string, retry bool, who string) (protocol.DeadLetter, error)
	Divergences(connector string) ([]protocol.Divergence, error)
	ReplayFeed(ctx context.Context, name string, from time.Time, who string) (files int, err error)
}

type channelsData struct {
	*listing
	List    []connectorRow
	Hooks   []hookRow
	Sources []sourceRow
	Total   int // of all three
	Trouble int // of them
	State   string
	Events  []string // that can be subscribed to
}

// connectorRow is a connector with what a person should know of it first.
type connectorRow struct {
	protocol.Connector
	Bad   bool
	Words string // what is wrong; "": nothing is
	Past  sparks
}

type hookRow struct {
	protocol.Subscription
	Bad  bool
	Past sparks
}

// sourceRow is a system that posts events or statements to us.
type sourceRow struct {
	protocol.Tile
	LagS float64
	Bad  bool
}

// connectorWords says what is wrong, the worst first; "": nothing is.
func connectorWords(c *protocol.Connector) (words string, bad bool) {
	switch {
	case c.State == protocol.ConnectorStopped || c.State == protocol.ConnectorFailing:
		return c.Reason, true
	case c.DeadLetters > 0:
		return plural(c.DeadLetters, "document", "documents") + " could not take effect", true
	case c.Divergences > 0:
		return "shows otherwise than it should at " + plural(c.Divergences, "position", "positions"), true
	case c.SLA != nil && c.SLA.Items > 0 && c.LagS > 2*c.SLA.TargetS:
		return fmt.Sprintf("a change has waited %s, twice what was promised", ago(int64(c.LagS))), true
	case c.Parked > 0:
		return plural(int(c.Parked), "document", "documents") + " wait as exceptions", false
	case len(c.Drift) > 0:
		return plural(len(c.Drift), "field", "fields") + " came that its contract, as we know it, does not have", false
	case c.State == protocol.ConnectorStarting:
		return "it has not spoken yet", false
	}
	return "", false
}

func makeConnectorRow(c *protocol.Connector) connectorRow {
	x := connectorRow{Connector: *c}
	x.Words, x.Bad = connectorWords(c)
	return x
}

func worstFirst[T any](list []T, bad func(*T) bool, lag func(*T) float64) {
	slices.SortStableFunc(list, func(a, b T) int {
		if x, y := bad(&a), bad(&b); x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Compare(lag(&b), lag(&a))
	})
}

func (w *Web) channelsData(r *http.Request) *channelsData {
	d := &channelsData{listing: w.listing(r, "/channels"), Events: protocol.SubscriptionEvents}
	for _, c := range w.opts.Connectors.Connectors() {
		d.List = append(d.List, makeConnectorRow(&c))
	}
	for _, s := range w.opts.Subscriptions.List() {
		s.URL = withoutQuery(s.URL)
		d.Hooks = append(d.Hooks, hookRow{Subscription: s, Bad: s.State != protocol.SubscriptionActive || s.DeadLetters > 0})
	}
	v := w.view()
	for i := range v.Tiles {
		if t := &v.Tiles[i]; t.Source {
			d.Sources = append(d.Sources, sourceRow{*t, float64(v.AtUS-t.WatermarkUS) / 1e6, len(t.Codes) > 0})
		}
	}
	worstFirst(d.List, func(c *connectorRow) bool { return c.Bad }, func(c *connectorRow) float64 { return c.LagS })
	worstFirst(d.Hooks, func(c *hookRow) bool { return c.Bad }, func(c *hookRow) float64 { return c.LagS })
	worstFirst(d.Sources, func(c *sourceRow) bool { return c.Bad }, func(c *sourceRow) float64 { return c.LagS })
	d.Total = len(d.List) + len(d.Hooks) + len(d.Sources)
	fine := func() (n int) {
		for i := range d.List {
			n += map[bool]int{false: 1}[d.List[i].Bad]
		}
		for i := range d.Hooks {
			n += map[bool]int{false: 1}[d.Hooks[i].Bad]
		}
		for i := range d.Sources {
			n += map[bool]int{false: 1}[d.Sources[i].Bad]
		}
		return n
	}
	d.Trouble = d.Total - fine()
	if d.State = d.tabs("state", option{Text: "All", N: d.Total, Counted: true}, option{Value: "trouble", Text: "In trouble", N: d.Trouble, Counted: true, Bad: true}); d.State == "trouble" {
		d.List = slices.DeleteFunc(d.List, func(c connectorRow) bool { return !c.Bad })
		d.Hooks = slices.DeleteFunc(d.Hooks, func(c hookRow) bool { return !c.Bad })
		d.Sources = slices.DeleteFunc(d.Sources, func(c sourceRow) bool { return !c.Bad })
	}
	return d
}

func (w *Web) channelsPage(rw http.ResponseWriter, r *http.Request) error {
	d := w.channelsData(r)
	for i := range first(d.List, curvesShown) {
		d.List[i].Past = w.flowSparks(protocol.FlowConnector + d.List[i].Name)
	}
	for i := range first(d.Hooks, curvesShown) {
		d.Hooks[i].Past = w.flowSparks(protocol.FlowSubscription + d.Hooks[i].ID)
	}
	return w.show(rw, r, "channels", "Feeds and channels", d)
}

func (w *Web) channelsCSV(rw http.ResponseWriter, r *http.Request) error {
	d := w.channelsData(r)
	head := []string{"name", "kind", "direction", "state", "reason", "lag_s", "pending", "in", "out", "retries", "throttled", "refused", "dead_letters", "divergences", "drifted_fields", "last_document_at"}
	return w.csv(rw, "channels", head, func(put func(...string)) {
		u, n := func(v uint64) string { return strconv.FormatUint(v, 10) }, strconv.Itoa
		s := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
		for i := range d.List {
			c, last := &d.List[i], ""
			if c.LastDocument != nil {
				last = stamp(&c.LastDocument.At)
			}
			put(c.Name, c.Kind, c.Direction, c.State, c.Reason, s(c.LagS), n(c.Pending), u(c.In), u(c.Out), u(c.Retries), u(c.Throttled), u(c.Refused), n(c.DeadLetters), n(c.Divergences), n(len(c.Drift)), last)
		}
		for i := range d.Hooks {
			h := &d.Hooks[i]
			put(cmp.Or(h.Name, h.ID), "webhook", protocol.ConnectorOut, h.State, h.Reason, s(h.LagS), n(h.Pending), "0", u(h.Items), u(h.Retries), "0", "0", n(h.DeadLetters), "0", "0", stamp(h.LastSentAt))
		}
		for i := range d.Sources {
			t := &d.Sources[i]
			put(string(t.Store), "feed", protocol.ConnectorIn, string(t.Presence), "", s(t.LagS), u(t.Backlog), "", "", "", "", "", "", "", "", stampIf(time.UnixMicro(t.WatermarkUS)))
		}
	})
}

// connectorData is one connector, with what of it waits for a person.
type connectorData struct {
	connectorRow
	Flow        string // what its curves are asked for by; "": none are kept
	Ops         bool
	Budget      []budget
	Fields      []protocol.SchemaDrift
	Letters     []protocol.DeadLetter
	LettersMore int
	Apart       []protocol.Divergence
	ApartMore   int
	Who         []protocol.AuditEntry
}

// budget is a rate with how much of its burst is left, in percent.
type budget struct {
	protocol.ConnectorRate
	Percent int
}

func (w *Web) connectorPage(rw http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	all := w.opts.Connectors.Connectors()
	i := slices.IndexFunc(all, func(c protocol.Connector) bool { return c.Name == name })
	if i < 0 {
		return notFound("There is no such connector: aggregator.toml names them under [channels].")
	}
	d := &connectorData{connectorRow: makeConnectorRow(&all[i]), Ops: person(r).Role >= Ops}
	d.Flow = w.flowOf(protocol.FlowConnector + name)
	for _, x := range d.Rates {
		d.Budget = append(d.Budget, budget{x, min(100, max(0, int(100*x.Left/float64(max(1, x.Burst)))))})
	}
	d.Fields = first(d.Drift, driftFieldsShown)
	letters, err := w.opts.Connectors.LettersOf(name)
	if err != nil && !unknown(err) {
		return w.decided("letters", err)
	}
	d.Letters = first(letters, lettersShown)
	d.LettersMore = len(letters) - len(d.Letters)
	apart, err := w.opts.Connectors.Divergences(name)
	if err != nil && !unknown(err) {
		return w.decided("divergences", err)
	}
	d.Apart = first(apart, divergencesShown)
	d.ApartMore = len(apart) - len(d.Apart)
	if d.Ops && w.opts.Audit != nil {
		d.Who = w.opts.Audit(protocol.AuditFilter{Action: "connector", Object: name, Limit: historyShown})
	}
	return w.show(rw, r, "connector", name, d)
}

// unknown tells that a connector keeps no such list: one that only comes in has its
// documents parked as exceptions.
func unknown(err error) bool {
	var p *protocol.Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}

func first[T any](list []T, n int) []T { return list[:min(len(list), n)] }

// lettersData are dead letters as a page shows them.
type lettersData struct {
	At          string // address that they are decided at, behind /ui
	Ops         bool
	LettersMore int
	Letters     []protocol.DeadLetter
}

func makeLetters(at string, ops bool, more int, list []protocol.DeadLetter) lettersData {
	return lettersData{at, ops, more, list}
}

// letterWhat reads which button of a dead letter was pressed.
func letterWhat(r *http.Request) (retry bool, err error) {
	if _, err := noted(r); err != nil {
		return false, err
	}
	switch r.PathValue("what") {
	case "retry":
		return true, nil
	case "discard":
		return false, nil
	}
	return false, badRequest("A dead letter can be retried or discarded.")
}

// replayFeed has a watched folder read its files again.
func (w *Web) replayFeed(rw http.ResponseWriter, r *http.Request) error {
	in, err := formFields(r)
	if err != nil {
		return err
	}
	from, err := time.Parse("2006-01-02T15:04", in["from"])
	if err != nil {
		return badRequest("Say from when on, in UTC.")
	}
	n, err := w.opts.Connectors.ReplayFeed(context.WithoutCancel(r.Context()), r.PathValue("name"), from, who(r))
	if err != nil {
		return w.decided("replay", err)
	}
	return done(rw, r, plural(n, "file is", "files are")+" read again. Nothing counts twice.")
}

func letterSaid(retry bool) string {
	if retry {
		return "It took effect."
	}
	return "It is forgotten."
}

func (w *Web) decideLetter(rw http.ResponseWriter, r *http.Request) error {
	retry, err := letterWhat(r)
	if err != nil {
		return err
	}
	if _, err = w.opts.Connectors.DecideLetter(context.WithoutCancel(r.Context()), r.PathValue("name"), r.PathValue("letter"), retry, who(r)); err != nil {
		return w.decided("dead letter", err)
	}
	return done(rw, r, letterSaid(retry))
}
