package aggregator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tillwire/aggregator/fleet"
	"tillwire/aggregator/ingest"
	"tillwire/aggregator/poster"
	"tillwire/aggregator/poster/generic"
	"tillwire/aggregator/poster/tryton"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// erp is one ERP, wired: its sender, and what else is read from it, by turns.
type erp struct {
	cfg    ERPConfig
	sender *poster.Sender
	reader reader // nil: nothing is read
}

// reader is an ERP that tells its articles and its stock.
type reader interface {
	Master(ctx context.Context, kits bool) (*tryton.Master, error)
	Stock(ctx context.Context, store protocol.StoreID) (map[protocol.SKU]protocol.Quantity, error)
	Locations(ctx context.Context) ([]string, error)
	Found(ctx context.Context, since time.Time) ([]posting.Found, error)
	Drop(ctx context.Context, f *posting.Found) error
}

// masterBatch is how many articles are put at once.
const masterBatch = 500

// readAgain is how long after a failure an ERP is read again.
const readAgain = time.Minute

func (a *Aggregator) openPostings() error {
	for i := range a.cfg.ERPs {
		c := &a.cfg.ERPs[i]
		secret, err := c.secret()
		if err != nil {
			return err
		}
		e := &erp{cfg: *c}
		o := poster.Options{
			ERP: c.Name, Outbox: a.ingest, Calendar: c.calendar(), Lines: c.Lines, Redate: c.Closed == "redate", Rate: c.Rate, Now: a.deps.Now, Log: a.deps.Log,
			Down: func(string, bool) { a.postingIncidents() },
		}
		switch c.Kind {
		case ERPTryton:
			stores := map[protocol.StoreID]tryton.Store{}
			for _, s := range c.Stores {
				stores[protocol.StoreID(s.Store)] = tryton.Store{Warehouse: s.Warehouse, Unsellable: s.Unsellable}
			}
			options := tryton.Options{URL: c.URL, User: c.User, Password: secret, Stores: stores, Customer: c.Customer, Supplier: c.Supplier, Transit: c.Transit, Now: a.deps.Now}
			t := tryton.New(options)
			o.Connector, e.reader = t, t
		default:
			stores := map[protocol.StoreID]string{}
			for _, s := range c.Stores {
				stores[protocol.StoreID(s.Store)] = s.Warehouse
			}
			o.Connector = generic.New(generic.Options{URL: c.URL, Token: secret, Lookup: c.Lookup, Stores: stores})
		}
		read, watch := a.readERP(e), a.watchERP(e)
		o.Between = func(ctx context.Context) { watch(ctx); read(ctx) }
		e.sender = poster.NewSender(o)
		a.erps = append(a.erps, e)
	}
	return nil
}

// openAgain is how long postings wait for a full queue before they ask anew.
const openAgain = 200 * time.Millisecond

// runPostings opens the configured stores in the ledger, then works the queues.
func (a *Aggregator) runPostings(ctx context.Context) error {
	want, opening := map[protocol.StoreID]string{}, map[string]bool{}
	for _, e := range a.erps {
		opening[e.cfg.Name] = e.cfg.Opening
		for _, s := range e.cfg.Stores {
			want[protocol.StoreID(s.Store)] = e.cfg.Name
		}
	}
	err := a.ingest.OpenPostings(ctx, want, opening)
	for errors.Is(err, ingest.ErrBusy) && ctx.Err() == nil { // a chain comes back while we start
		select {
		case <-ctx.Done():
		case <-time.After(openAgain):
		}
		err = a.ingest.OpenPostings(ctx, want, opening)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("open postings: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range a.erps {
		g.Go(func() error { return e.sender.Run(ctx) })
	}
	return g.Wait()
}

// postingIncidents words what stands in the way of all ERPs.
func (a *Aggregator) postingIncidents() {
	var down, refuses string
	for _, e := range a.erps {
		s := e.sender.Stats()
		switch {
		case s.Down == "":
		case s.Fatal:
			refuses += fmt.Sprintf("%s takes nothing: %s. ", e.cfg.Name, s.Down)
		default:
			down += fmt.Sprintf("%s does not answer: %s. ", e.cfg.Name, s.Down)
		}
	}
	if down != "" {
		down += "Postings wait; nothing is lost."
	}
	a.fleet.Chain(fleet.CodeERPDown, down)
	a.fleet.Chain(fleet.CodeERPRefuses, refuses)
}

// watchERP looks after what stands in the way of an ERP's postings: what is parked,
// and, since a restore, what the ERP has and this ledger lost. That is read back again
// and again, for positions that stores have not sent yet cannot take it.
func (a *Aggregator) watchERP(e *erp) func(context.Context) {
	var look, adopt time.Time
	return func(ctx context.Context) {
		now := a.deps.Now()
		if now.Before(look) {
			return
		}
		look = now.Add(lookEvery)
		all, err := a.ingest.PostingStandings(ctx, a.erpNames())
		if err != nil {
			return // the writer is busy, or has ended
		}
		a.wordPostings(all)
		for i := range all {
			if x := &all[i]; x.ERP == e.cfg.Name && x.Held && e.reader != nil && !now.Before(adopt) {
				adopt = now.Add(adoptEvery)
				a.adoptPostings(ctx, e, x)
			}
		}
	}
}

// wordPostings raises and closes what a person must decide of postings.
func (a *Aggregator) wordPostings(all []posting.Standing) {
	held, parked, waiting := "", "", 0
	for i := range all {
		waiting += all[i].Parked
		if all[i].Held {
			held = "The ledger was restored: nothing is posted to ERPs until it is known what they have already."
		}
		if n := all[i].Parked; n > 0 {
			parked += fmt.Sprintf("%d of %s. ", n, all[i].ERP)
		}
	}
	if parked != "" {
		parked = "Postings are parked: " + strings.TrimSpace(parked)
	}
	a.parked.Store(int64(waiting))
	a.fleet.Chain(fleet.CodePostingsHeld, held)
	a.fleet.Chain(fleet.CodePostingsParked, parked)
}

func (a *Aggregator) erpNames() []string {
	names := make([]string, len(a.erps))
	for i, e := range a.erps {
		names[i] = e.cfg.Name
	}
	return names
}

// adoptPostings reads an ERP's documents back, from a day before the newest that the
// restored ledger knows. What the ERP has only begun, and this ledger has lost, is
// cancelled: its movements will go out in another document.
func (a *Aggregator) adoptPostings(ctx context.Context, e *erp, x *posting.Standing) {
	since := time.Time{}
	if x.NewestUS != 0 {
		since = time.UnixMicro(x.NewestUS).Add(-24 * time.Hour)
	}
	found, err := e.reader.Found(ctx, since)
	n := 0
	var strange []posting.Found
	if err == nil {
		n, strange, err = a.ingest.AdoptPostings(ctx, e.cfg.Name, found)
	}
	for i := range strange {
		if err == nil {
			err = e.reader.Drop(ctx, &strange[i])
		}
	}
	if err != nil {
		a.deps.Log.Warn().Str("erp", e.cfg.Name).Err(err).Msg("documents of the erp not read back")
	} else if n > 0 {
		a.deps.Log.Info().Str("erp", e.cfg.Name).Int("documents", n).Msg("documents that the ledger had lost read back from the erp")
	}
}

// lookEvery is how often the queues are looked at for incidents.
const lookEvery = 5 * time.Second

// adoptEvery is how often an ERP is asked for documents that a restore lost.
const adoptEvery = 10 * time.Second

// readERP reads articles and stock between postings, when they are due: nothing is
// posted meanwhile, so that a statement and what is owed are of one moment.
func (a *Aggregator) readERP(e *erp) func(context.Context) {
	var master time.Time
	statements := map[protocol.StoreID]time.Time{} // when each is due
	return func(ctx context.Context) {
		if e.reader == nil {
			return
		}
		now := a.deps.Now()
		if every := time.Duration(e.cfg.Master); every > 0 && !now.Before(master) {
			master = now.Add(every)
			if err := a.readMaster(ctx, e); err != nil {
				master = now.Add(min(every, readAgain))
				a.deps.Log.Warn().Str("erp", e.cfg.Name).Err(err).Msg("articles not read")
			}
		}
		if e.cfg.Statement > 0 {
			a.readStock(ctx, e, statements, now)
		}
	}
}

// readMaster takes the ERP's articles into the item master. One that is refused, or
// cannot be used, is told in the log; the others are taken.
func (a *Aggregator) readMaster(ctx context.Context, e *erp) error {
	m, err := e.reader.Master(ctx, e.cfg.Kits)
	if err != nil {
		return err
	}
	wrong := len(m.Wrong)
	for _, w := range m.Wrong {
		a.deps.Log.Warn().Str("erp", e.cfg.Name).Str("article", w.Article).Str("reason", w.Reason).Msg("article of the erp left out")
	}
	for rest := m.Items; len(rest) > 0; {
		n := min(masterBatch, len(rest))
		_, refused, err := a.ingest.PutItems(ctx, rest[:n], "erp "+e.cfg.Name)
		if err != nil {
			return err
		}
		for i, p := range refused {
			if p != nil {
				wrong++
				a.deps.Log.Warn().Str("erp", e.cfg.Name).Str("sku", string(rest[i].SKU)).Str("reason", p.Error()).Msg("article of the erp refused")
			}
		}
		rest = rest[n:]
	}
	a.reads.took(e.cfg.Name, len(m.Items), wrong)
	return nil
}

// readStock takes the ERP's stock of each store whose turn it is as its statement. A
// store of which the ERP may have a document more than we know waits until that is
// clear.
func (a *Aggregator) readStock(ctx context.Context, e *erp, due map[protocol.StoreID]time.Time, now time.Time) {
	var errs []error
	for _, s := range e.cfg.Stores {
		store := protocol.StoreID(s.Store)
		if now.Before(due[store]) || !e.sender.Sure(store) {
			continue
		}
		stock, err := e.reader.Stock(ctx, store)
		if err == nil {
			_, err = a.ingest.StateERP(ctx, e.cfg.Name, store, "statement-"+now.UTC().Format("20060102T150405Z"), stock)
		}
		if ctx.Err() != nil {
			return
		}
		every := time.Duration(e.cfg.Statement)
		if due[store] = now.Add(every); err != nil {
			due[store] = now.Add(min(every, readAgain))
			errs = append(errs, fmt.Errorf("store %s: %w", store, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		a.deps.Log.Warn().Str("erp", e.cfg.Name).Err(err).Msg("stock not read")
	}
}

// reads counts what was read of ERPs.
type reads struct {
	mu    sync.Mutex // guards all below
	items map[string]int
	wrong map[string]int
}

func (r *reads) took(name string, items, wrong int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.items == nil {
		r.items, r.wrong = map[string]int{}, map[string]int{}
	}
	r.items[name], r.wrong[name] = items, wrong
}

func (r *reads) of(name string) (items, wrong int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.items[name], r.wrong[name]
}

// standings are the ERPs' queues with what their senders know.
func (a *Aggregator) standings(ctx context.Context) ([]protocol.PostingStanding, error) {
	list, err := a.ingest.PostingStandings(ctx, a.erpNames())
	if err != nil {
		return nil, err
	}
	now, out := a.deps.Now(), make([]protocol.PostingStanding, 0, len(list))
	for i, s := range list {
		x := a.erps[i].sender.Stats()
		p := protocol.PostingStanding{
			ERP: s.ERP, Kind: a.erps[i].cfg.Kind, Stores: s.Stores, Due: s.Due, Parked: s.Parked, Posted: s.Posted, Discarded: s.Discarded,
			LinesPosted: s.Lines, Waiting: s.Waiting, Up: x.Down == "", LastError: x.Down,
		}
		if s.OldestUS != 0 {
			p.OldestDueAt = time.UnixMicro(s.OldestUS).UTC()
			p.LagS = max(now.Sub(p.OldestDueAt).Seconds(), 0)
		}
		if s.LastUS != 0 {
			p.LastPosted = time.UnixMicro(s.LastUS).UTC()
		}
		p.Items, p.ItemsWrong = a.reads.of(s.ERP)
		p.Held, p.Adopted = s.Held, s.Adopted
		out = append(out, p)
	}
	return out, nil
}

// postings is what the API and the UI ask. What people decide is recorded.
type postings struct {
	a *Aggregator
	d desk
}

// Postings lists documents with what the senders know of their attempts.
func (p postings) Postings(ctx context.Context, f posting.Filter) ([]protocol.Posting, error) {
	list, err := p.a.ingest.Postings(ctx, f)
	for i := range list {
		p.a.tries(&list[i])
	}
	return list, err
}

// Posting is one with its lines and sources.
func (p postings) Posting(ctx context.Context, id string) (protocol.Posting, error) {
	x, err := p.a.ingest.Posting(ctx, id)
	p.a.tries(&x)
	return x, err
}

func (a *Aggregator) tries(x *protocol.Posting) {
	for _, e := range a.erps {
		if e.cfg.Name == x.ERP && x.State == protocol.PostingDue {
			n, at := e.sender.Tried(x.ID)
			x.Attempts, x.NextAt = n, at
		}
	}
}

// PostingsOf, RetryPosting and DiscardPosting are the ledger's.
func (p postings) PostingsOf(ctx context.Context, id protocol.EventID) ([]protocol.Posting, error) {
	return p.a.ingest.PostingsOf(ctx, id)
}

// RetryPosting makes a parked document due again.
func (p postings) RetryPosting(ctx context.Context, id, who string) (protocol.Posting, error) {
	before := p.state(ctx, id)
	x, err := p.a.ingest.RetryPosting(ctx, id, who)
	p.d.record(ctx, who, "posting.retry", id, "", before, stateOfPosting(x), err)
	return x, err
}

// DiscardPosting settles one without its ERP.
func (p postings) DiscardPosting(ctx context.Context, id, who, note string) (protocol.Posting, error) {
	before := p.state(ctx, id)
	x, err := p.a.ingest.DiscardPosting(ctx, id, who, note)
	p.d.record(ctx, who, "posting.discard", id, note, before, stateOfPosting(x), err)
	return x, err
}

// ResumePostings has posting go on after a restore.
func (p postings) ResumePostings(ctx context.Context, who, note string) error {
	err := p.a.ingest.ResumePostings(ctx, who, note)
	p.d.record(ctx, who, "posting.resume", strings.Join(p.a.erpNames(), ", "), note, nil, nil, err)
	return err
}

// state is what the trail tells of a document.
func (p postings) state(ctx context.Context, id string) any {
	x, err := p.a.ingest.Posting(ctx, id)
	if err != nil {
		return nil
	}
	return stateOfPosting(x)
}

func stateOfPosting(x protocol.Posting) any {
	return struct {
		State  protocol.PostingState `json:"state"`
		Code   string                `json:"code,omitempty"`
		Reason string                `json:"reason,omitempty"`
	}{x.State, x.Code, x.Reason}
}

// Standings sums the queues up.
func (p postings) Standings(ctx context.Context) ([]protocol.PostingStanding, error) {
	return p.a.standings(ctx)
}

// putPostings writes the ERPs' queues. Nothing where no ERP is configured.
func (a *Aggregator) putPostings(ctx context.Context, x *exposition) {
	if len(a.erps) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, scrapeWait)
	defer cancel()
	list, err := a.standings(ctx)
	if err != nil {
		a.deps.Log.Warn().Err(err).Msg("postings not counted")
		return
	}
	for _, m := range []struct {
		name, kind, help string
		of               func(*protocol.PostingStanding, *poster.Stats) any
	}{
		{"posting_due", "gauge", "ERP documents that wait to be sent.", func(p *protocol.PostingStanding, _ *poster.Stats) any { return p.Due }},
		{"posting_parked", "gauge", "ERP documents that wait for a person.", func(p *protocol.PostingStanding, _ *poster.Stats) any { return p.Parked }},
		{"posting_rows_waiting", "gauge", "Netted rows whose window is open.", func(p *protocol.PostingStanding, _ *poster.Stats) any { return p.Waiting }},
		{"posting_lag_seconds", "gauge", "Age of the oldest document that is due.", func(p *protocol.PostingStanding, _ *poster.Stats) any { return p.LagS }},
		{"posting_up", "gauge", "1 while the ERP answers.", func(p *protocol.PostingStanding, _ *poster.Stats) any { return map[bool]int{true: 1}[p.Up] }},
		{"posting_posted_total", "counter", "ERP documents posted.", func(p *protocol.PostingStanding, _ *poster.Stats) any { return p.Posted }},
		{"posting_lines_total", "counter", "Lines of them.", func(p *protocol.PostingStanding, _ *poster.Stats) any { return p.LinesPosted }},
		{"posting_discarded_total", "counter", "ERP documents settled without the ERP.", func(p *protocol.PostingStanding, _ *poster.Stats) any { return p.Discarded }},
		{"posting_retries_total", "counter", "Attempts that failed and were repeated.", func(_ *protocol.PostingStanding, s *poster.Stats) any { return s.Retries }},
		{"posting_redated_total", "counter", "ERP documents moved out of a closed period.", func(_ *protocol.PostingStanding, s *poster.Stats) any { return s.Redated }},
		{"posting_items_wrong", "gauge", "Articles of the ERP left out when they were last read.", func(p *protocol.PostingStanding, _ *poster.Stats) any { return p.ItemsWrong }},
	} {
		x.family(m.name, m.kind, m.help)
		for i := range list {
			s := a.erps[i].sender.Stats()
			x.of(m.name, "erp", list[i].ERP, m.of(&list[i], &s))
		}
	}
}

// scrapeWait is how long a scrape waits for the writer.
const scrapeWait = 2 * time.Second
