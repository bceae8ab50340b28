package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"tillwire/protocol"
)

// play sends every document to its store's agent: one goroutine per store, in
// the order in which they arrive.
func (p *player) play(ctx context.Context) error {
	by := map[protocol.StoreID][]*document{}
	first := time.Time{}
	for _, d := range p.reel.Docs {
		by[d.store] = append(by[d.store], d.doc)
		if first.IsZero() || d.doc.at.Before(first) {
			first = d.doc.at
		}
	}
	raws := map[protocol.StoreID]rawFile{}
	for _, f := range p.reel.Raws {
		raws[f.store] = f
	}
	began := time.Now()
	errs := make([]error, len(p.fleet.Tills))
	var wg sync.WaitGroup
	for i, t := range p.fleet.Tills {
		if f, ok := raws[t.store]; ok {
			wg.Go(func() { errs[i] = p.playPOSLog(ctx, t, f) })
			continue
		}
		s := &storePlayer{player: p, till: t, rng: rand.New(rand.NewPCG(p.Seed, uint64(i)+100)), began: began, first: first, seqs: map[*document]uint64{}}
		wg.Go(func() { errs[i] = s.run(ctx, s.plan(by[t.store])) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

type storePlayer struct {
	*player
	till  *till
	rng   *rand.Rand
	began time.Time
	first time.Time
	again float64              // share of documents that are sent again as soon as they are acknowledged
	seqs  map[*document]uint64 // of what was acknowledged, where copies come by themselves
}

// plan is the store's documents as they will arrive. Where arrivals are mixed up,
// half of the duplicates arrive by themselves, before or behind the others.
func (s *storePlayer) plan(docs []*document) []arrival {
	copies := 0.0
	if s.again = s.Duplicates; s.late != nil || s.Order != orderArrival {
		copies, s.again = s.Duplicates/2, s.Duplicates/2
	}
	var t arrivals
	out := schedule(docs, s.late, s.Order, copies, s.rng, &t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived.add(&t)
	return out
}

// run sends what is due: one document by itself, or, where more are due, as
// many as a till hands over after an outage of its own.
func (s *storePlayer) run(ctx context.Context, as []arrival) error {
	for len(as) > 0 {
		due := min(len(as), bulkDocsMax)
		if s.Speed > 0 && s.Order == orderArrival {
			if !s.await(ctx, as[0].at) {
				return ctx.Err()
			}
			due = 1
			for due < min(len(as), bulkDocsMax) && !s.moment(as[due].at).After(time.Now()) {
				due++
			}
		}
		// Lines of a document are bounded, and so is a body of many.
		for lines, k := 0, 0; k < due; k++ {
			if lines += len(as[k].doc.Lines); lines > linesMax && k > 0 {
				due = k
			}
		}
		docs := make([]*document, due)
		for k, a := range as[:due] {
			docs[k] = a.doc
		}
		if err := s.tell(ctx, docs); err != nil {
			return fmt.Errorf("store %s: %w", s.till.store, err)
		}
		as = as[due:]
	}
	return nil
}

// moment is when a document of the file is due.
func (s *storePlayer) moment(at time.Time) time.Time {
	return s.began.Add(time.Duration(float64(at.Sub(s.first)) / s.Speed))
}

func (s *storePlayer) await(ctx context.Context, at time.Time) bool {
	d := time.Until(s.moment(at))
	return d <= 0 || pause(ctx, d)
}

// tell posts documents and records what was acknowledged; a share is sent
// again, half of those at the same time.
func (s *storePlayer) tell(ctx context.Context, docs []*document) error {
	if len(docs) == 1 {
		return s.tellOne(ctx, docs[0])
	}
	acks, err := s.till.postMany(ctx, docs)
	if err != nil {
		return err
	}
	for i, d := range docs {
		fresh, err := s.acknowledged(d, acks[i])
		if err != nil {
			return err
		}
		if fresh && s.rng.Float64() < s.again {
			if err := s.repeat(ctx, d, acks[i].Seq); err != nil {
				return err
			}
		}
	}
	return nil
}

// acknowledged notes what an agent answered: a document's first arrival has a seq
// of its own, a copy must be told the same one.
func (s *storePlayer) acknowledged(d *document, a ack) (fresh bool, err error) {
	seq, came := s.seqs[d]
	if !came {
		s.seqs[d] = a.Seq
		s.oracle.record(s.till.store, d, a.Seq)
		return true, nil
	}
	s.oracle.recordRepeat(s.till.store)
	if a.Seq != seq || !a.Duplicate {
		return false, fmt.Errorf("%s arrived again and got seq %d, duplicate %v; its first seq was %d", d.DocumentID, a.Seq, a.Duplicate, seq)
	}
	return false, nil
}

func (s *storePlayer) tellOne(ctx context.Context, d *document) error {
	var other ack
	var otherErr error
	var wg sync.WaitGroup
	_, came := s.seqs[d]
	twice := !came && s.rng.Float64() < s.again
	if twice {
		wg.Go(func() { other, otherErr = s.till.post(ctx, d) })
	}
	a, err := s.till.post(ctx, d)
	wg.Wait()
	if err = errors.Join(err, otherErr); err != nil {
		return err
	}
	if _, err := s.acknowledged(d, a); err != nil {
		return err
	}
	if twice {
		s.oracle.recordRepeat(s.till.store)
		if a.Seq != other.Seq || a.Duplicate == other.Duplicate {
			return fmt.Errorf("%s sent twice at once got seq %d (duplicate %v) and %d (duplicate %v)",
				d.DocumentID, a.Seq, a.Duplicate, other.Seq, other.Duplicate)
		}
	}
	return nil
}

// repeat sends an acknowledged document once more, or twice at once.
func (s *storePlayer) repeat(ctx context.Context, d *document, seq uint64) error {
	n := 1 + s.rng.IntN(2)
	acks, errs := make([]ack, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { acks[i], errs[i] = s.till.post(ctx, d) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, a := range acks {
		s.oracle.recordRepeat(s.till.store)
		if a.Seq != seq || !a.Duplicate {
			return fmt.Errorf("%s sent again got seq %d, duplicate %v; its first seq was %d", d.DocumentID, a.Seq, a.Duplicate, seq)
		}
	}
	return nil
}

// postMany sends documents in one POST /v1/events and insists until each has
// its seq.
func (t *till) postMany(ctx context.Context, docs []*document) ([]ack, error) {
	acks := make([]ack, len(docs))
	open := make([]int, len(docs))
	for i := range open {
		open[i] = i
	}
	for try := 1; len(open) > 0; try++ {
		part := make([]*document, len(open))
		for i, k := range open {
			part[i] = docs[k]
		}
		results, err := t.postBulk(ctx, part)
		if err != nil {
			return nil, err
		}
		var still []int
		for i, r := range results {
			switch {
			case r.Seq > 0:
				acks[open[i]] = ack{Seq: r.Seq, Duplicate: r.Duplicate}
			case try < tillRetriesMax && (r.status() == 503 || r.status() == 507):
				still = append(still, open[i])
			default:
				return nil, fmt.Errorf("document %s: %w", docs[open[i]].DocumentID, &refusal{Status: r.status(), Code: r.code(), Detail: string(r.Problem)})
			}
		}
		if open = still; len(open) > 0 && !pause(ctx, tillBackoffMax/10) {
			return nil, ctx.Err()
		}
	}
	return acks, nil
}

// bulkResult is one item of the answer of POST /v1/events.
type bulkResult struct {
	Status    int             `json:"status"`
	Seq       uint64          `json:"seq"`
	Duplicate bool            `json:"duplicate"`
	Problem   json.RawMessage `json:"problem"`
}

func (r *bulkResult) status() int { return r.Status }

func (r *bulkResult) code() string {
	var p protocol.Problem
	if json.Unmarshal(r.Problem, &p) != nil {
		return "no_problem_document"
	}
	return p.Code
}

func (t *till) postBulk(ctx context.Context, docs []*document) ([]bulkResult, error) {
	body, err := bulkBody(docs)
	if err != nil {
		return nil, err
	}
	b, err := t.insist(ctx, "/v1/events", "application/json", body)
	if err != nil {
		return nil, err
	}
	var got struct {
		Results []bulkResult `json:"results"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return nil, fmt.Errorf("read answer of /v1/events: %w", err)
	}
	if len(got.Results) != len(docs) {
		return nil, fmt.Errorf("read answer of /v1/events: %d results for %d documents", len(got.Results), len(docs))
	}
	return got.Results, nil
}

// playPOSLog hands the whole file to the store's agent, twice where duplicates
// are wanted.
func (p *player) playPOSLog(ctx context.Context, t *till, f rawFile) error {
	b, err := t.insist(ctx, "/v1/poslog", "application/xml", f.text)
	if err != nil {
		return err
	}
	var got struct {
		Results []bulkResult `json:"results"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return fmt.Errorf("read answer of /v1/poslog: %w", err)
	}
	for _, r := range got.Results {
		if r.Seq == 0 {
			return fmt.Errorf("a transaction of %s was refused: %s", f.name, r.Problem)
		}
		p.oracle.recordSeq(t.store, "poslog", r.Seq)
	}
	if p.Duplicates > 0 {
		if _, err := t.insist(ctx, "/v1/poslog", "application/xml", f.text); err != nil {
			return fmt.Errorf("send the POSLog again: %w", err)
		}
		for range got.Results {
			p.oracle.recordRepeat(t.store)
		}
	}
	return nil
}
