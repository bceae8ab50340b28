package poster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// Options are what a sender works with.
type Options struct {
	ERP       string
	Outbox    Outbox
	Connector Connector
	Calendar  Calendar
	Lines     int     // of a document
	Redate    bool    // documents of closed periods go to the first open day; else they are parked
	Rate      float64 // lines per second at most; 0: as fast as the ERP answers
	Now       func() time.Time
	Log       zerolog.Logger
	// Down is told when the ERP stops to answer or to accept, and why, and "" when
	// it does again.
	Down func(why string, fatal bool)
	// Between is called between documents, while nothing is being posted: what else
	// there is to ask the ERP is asked there. nil: nothing.
	Between func(ctx context.Context)
}

// Sender brings one ERP's documents to it, one after the other, in the order in
// which they were made; a document that must wait holds up those of its own store
// only.
type Sender struct {
	o        Options
	lines    *rate.Limiter
	closed   int32 // last closed day, as asked at closedAt
	closedAt time.Time

	posted, retries, parked, redated, split atomic.Uint64

	mu    sync.Mutex // guards all below
	down  string     // why the ERP takes nothing; "" while it does
	fatal bool
	delay time.Duration  // after a failure of the ERP as a whole
	tries map[string]try // documents that were refused and may heal
	// Documents of which the ERP may have more than the book knows: sent without an
	// answer that ends them, or due when this process began or postings went on after
	// a restore, and perhaps sent before that.
	doubt  map[string]protocol.StoreID
	looked bool // all of the latter are in doubt, or were
}

// try is how often a document was refused, and when it is tried again.
type try struct {
	N  int
	At time.Time
}

// NewSender makes a sender; Run works it.
func NewSender(o Options) *Sender {
	s := &Sender{o: o, lines: rate.NewLimiter(rate.Inf, posting.LinesMax), tries: map[string]try{}, doubt: map[string]protocol.StoreID{}}
	if o.Rate > 0 {
		s.lines = rate.NewLimiter(rate.Limit(o.Rate), posting.LinesMax)
	}
	return s
}

// Run sends what is due until ctx ends.
func (s *Sender) Run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if s.o.Between != nil {
			s.o.Between(ctx)
		}
		wait := tick
		docs, err := s.o.Outbox.CutPostings(ctx, s.o.ERP, s.o.Calendar.window(s.o.Now(), s.o.Lines), batchDocs)
		switch {
		case errors.Is(err, posting.ErrHeld): // what is due then may have been sent before the restore
			s.unsure()
			err = nil
		case err == nil:
			s.look(docs)
			wait, err = s.round(ctx, docs)
		}
		if err != nil && ctx.Err() == nil { // the ledger is busy, or has failed, which ends the process elsewhere
			s.o.Log.Warn().Str("erp", s.o.ERP).Err(err).Msg("postings wait for the ledger")
		}
		t.Reset(wait)
	}
}

// look puts in doubt what an earlier process or a restore left due, and forgets doubts about
// documents that are due no longer.
func (s *Sender) look(docs []posting.Doc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.looked {
		for i := range docs {
			s.doubt[docs[i].Key] = docs[i].Store
		}
	}
	if len(docs) >= batchDocs { // there may be more
		return
	}
	s.looked = true
	maps.DeleteFunc(s.doubt, func(key string, _ protocol.StoreID) bool {
		return !slices.ContainsFunc(docs, func(d posting.Doc) bool { return d.Key == key })
	})
}

// unsure puts in doubt what will be due.
func (s *Sender) unsure() {
	s.mu.Lock()
	s.looked = false
	s.mu.Unlock()
}

// Sure tells whether the book knows all that the ERP has of a store's documents.
// While it does not, the ERP's stock cannot be compared with ours: a document whose
// answer was lost would be told twice, once by the ERP and once as still due.
func (s *Sender) Sure(store protocol.StoreID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.looked {
		return false
	}
	for _, of := range s.doubt {
		if of == store {
			return false
		}
	}
	return true
}

// round sends documents once. It returns how long to wait: not at all while there
// is work, longer and longer while the ERP is down.
func (s *Sender) round(ctx context.Context, docs []posting.Doc) (time.Duration, error) {
	held, sent := map[protocol.StoreID]bool{}, false
	for i := range docs {
		d := &docs[i]
		if _, next := s.Tried(d.Key); held[d.Store] || s.o.Now().Before(next) {
			held[d.Store] = true
			continue
		}
		if err := s.lines.WaitN(ctx, min(max(len(d.Lines), 1), posting.LinesMax)); err != nil {
			return tick, err
		}
		s.mu.Lock()
		s.doubt[d.Key] = d.Store
		s.mu.Unlock()
		r, err := s.send(ctx, d)
		if err != nil || ctx.Err() != nil {
			return tick, err
		}
		switch {
		case r == nil:
			sent = true
			s.up(d.Key)
		case r.Down || r.Remedy == Fatal:
			return s.back(r), nil
		default:
			s.again(d, r)
			held[d.Store] = true
		}
	}
	if sent && len(docs) >= batchDocs {
		return 0, nil
	}
	return tick, nil
}

// send brings one document to an end, and journals it. nil: it is posted or parked.
//
// A crash before the ERP has it: nothing happened. A crash, or a lost answer, after
// it has: the document is still due, and the connector finds it by its reference.
func (s *Sender) send(ctx context.Context, d *posting.Doc) (*Refusal, error) {
	for asked := false; ; {
		if r, err := s.date(ctx, d); r != nil || err != nil || d.State != protocol.PostingDue {
			return r, err
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		receipt, err := s.o.Connector.Post(call, d)
		cancel()
		if err == nil {
			s.posted.Add(1)
			return nil, s.done(ctx, posting.Posted(d.Key, receipt.ID, receipt.Note, 0))
		}
		if ctx.Err() != nil {
			return nil, ctx.Err() // it stays due
		}
		r := refusalOf(err)
		s.o.Log.Debug().Str("erp", s.o.ERP).Str("store", string(d.Store)).Str("posting", d.Key).Str("code", r.Code).Err(err).Msg("posting refused")
		switch {
		case len(r.Unknown) > 0:
			s.split.Add(1)
			if *d, err = s.o.Outbox.SplitPosting(ctx, d.Key, r.Unknown, r.Code, r.Reason); err != nil || d.State != protocol.PostingDue {
				return nil, err
			}
			continue // what is left of it
		case r.Closed && !asked:
			asked, s.closedAt = true, time.Time{} // somebody closed it just now: see which days are open
			continue
		case r.Closed || r.Remedy == Park:
			s.parked.Add(1)
			return nil, s.done(ctx, posting.Parked(d.Key, r.Code, r.Reason, 0))
		}
		return r, nil
	}
}

// date sees to it that a document's day is one that the ERP books.
func (s *Sender) date(ctx context.Context, d *posting.Doc) (*Refusal, error) {
	now := s.o.Now()
	if s.closedAt.IsZero() || now.Sub(s.closedAt) > closedEvery {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		closed, err := s.o.Connector.ClosedTo(call)
		if err != nil {
			return refusalOf(err), nil
		}
		s.closed, s.closedAt = closed, now
	}
	if d.PostDay > s.closed {
		return nil, nil //nolint:nilnil // neither refused nor failed
	}
	why := fmt.Sprintf("the ERP's periods are closed up to %s, the movements are of %s", protocol.DayText(s.closed), protocol.DayText(d.Day))
	day, err := s.o.Calendar.openDay(s.closed, now)
	if !s.o.Redate || err != nil {
		s.parked.Add(1)
		d.State = protocol.PostingParked
		return nil, s.done(ctx, posting.Parked(d.Key, "period_closed", why, 0))
	}
	s.redated.Add(1)
	d.PostDay = day
	return nil, s.done(ctx, posting.Redated(d.Key, day, 0))
}

// done journals what became of a document. The ledger may be busy for a moment.
func (s *Sender) done(ctx context.Context, c *posting.Change) error {
	for n := 0; ; n++ {
		err := s.o.Outbox.PostingDone(ctx, c)
		if err == nil || ctx.Err() != nil || n >= resultAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(backoffFirst / 10):
		}
	}
}

// again puts a document off. The ERP answers, so it is the document's own matter:
// after attemptsMax times a person must look.
func (s *Sender) again(d *posting.Doc, r *Refusal) {
	s.retries.Add(1)
	s.mu.Lock()
	x := s.tries[d.Key]
	x.N++
	x.At = s.o.Now().Add(max(r.After, min(backoffFirst<<min(x.N-1, 16), backoffMost)))
	if s.tries[d.Key] = x; x.N >= attemptsMax {
		delete(s.tries, d.Key)
	}
	s.mu.Unlock()
	if x.N < attemptsMax {
		return
	}
	s.parked.Add(1)
	reason := fmt.Sprintf("refused %d times, at last: %s", x.N, r.Reason)
	if err := s.done(context.Background(), posting.Parked(d.Key, r.Code, reason, 0)); err != nil {
		s.o.Log.Warn().Str("erp", s.o.ERP).Str("posting", d.Key).Err(err).Msg("posting not parked")
	}
}

// back puts all off: the ERP does not answer, or will take nothing from us.
func (s *Sender) back(r *Refusal) time.Duration {
	s.retries.Add(1)
	s.mu.Lock()
	s.delay = min(max(2*s.delay, backoffFirst), backoffMost)
	if r.Remedy == Fatal {
		s.delay = max(s.delay, backoffMost/10)
	}
	delay, was := max(s.delay, r.After), s.down
	s.down, s.fatal = posting.Clip(r.Code+": "+r.Reason, errorBytes), r.Remedy == Fatal
	s.mu.Unlock()
	if was == "" {
		s.o.Log.Warn().Str("erp", s.o.ERP).Str("code", r.Code).Str("reason", r.Reason).Msg("erp takes no postings; they wait")
	}
	s.o.Down(posting.Clip(r.Code+": "+r.Reason, errorBytes), r.Remedy == Fatal)
	return delay
}

// up notes that a document came to an end, and so that the ERP answers.
func (s *Sender) up(key string) {
	s.mu.Lock()
	delete(s.tries, key)
	delete(s.doubt, key)
	was := s.down
	s.down, s.fatal, s.delay = "", false, 0
	s.mu.Unlock()
	if was != "" {
		s.o.Log.Info().Str("erp", s.o.ERP).Msg("erp takes postings again")
		s.o.Down("", false)
	}
}

// Stats are what a sender did since it was made, and how the ERP is.
type Stats struct {
	Posted, Retries, Parked, Redated, Split uint64
	Down                                    string // why, "" while it answers
	Fatal                                   bool
}

// Stats returns them.
func (s *Sender) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Posted: s.posted.Load(), Retries: s.retries.Load(), Parked: s.parked.Load(), Redated: s.redated.Load(), Split: s.split.Load(),
		Down: s.down, Fatal: s.fatal,
	}
}

// Tried tells how often a document was refused since it was due, and when it is
// tried again.
func (s *Sender) Tried(key string) (n int, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.tries[key]
	return x.N, x.At
}
