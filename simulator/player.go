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
// the file's order unless shuffled.
func (p *player) play(ctx context.Context) error {
	if p.tape.Format == formatNCR {
		return p.playPOSLog(ctx)
	}
	by := map[protocol.StoreID][]*document{}
	first := time.Time{}
	for _, d := range p.tape.Docs {
		by[d.store] = append(by[d.store], d.doc)
		if first.IsZero() || d.doc.at.Before(first) {
			first = d.doc.at
		}
	}
	began := time.Now()
	errs := make([]error, len(p.fleet.Tills))
	var wg sync.WaitGroup
	for i, t := range p.fleet.Tills {
		docs := by[t.store]
		rng := rand.New(rand.NewPCG(p.Seed, uint64(i)+100))
		if p.Shuffle {
			rng.Shuffle(len(docs), func(a, b int) { docs[a], docs[b] = docs[b], docs[a] })
		}
		s := &storePlayer{player: p, till: t, rng: rng, began: began, first: first}
		wg.Go(func() { errs[i] = s.run(ctx, docs) })
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
}

// run sends what is due: one document by itself, or, where more are due, as
// many as a till hands over after an outage of its own.
func (s *storePlayer) run(ctx context.Context, docs []*document) error {
	for len(docs) > 0 {
		due := min(len(docs), bulkDocsMax)
		if s.Speed > 0 && !s.Shuffle {
			if !s.await(ctx, docs[0].at) {
				return ctx.Err()
			}
			due = 1
			for due < min(len(docs), bulkDocsMax) && !s.moment(docs[due].at).After(time.Now()) {
				due++
			}
		}
		// Lines of a document are bounded, and so is a body of many.
		for lines, k := 0, 0; k < due; k++ {
			if lines += len(docs[k].Lines); lines > linesMax && k > 0 {
				due = k
			}
		}
		if err := s.tell(ctx, docs[:due]); err != nil {
			return fmt.Errorf("store %s: %w", s.till.store, err)
		}
		docs = docs[due:]
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
		s.oracle.record(s.till.store, d, acks[i].Seq)
		if s.rng.Float64() < s.Duplicates {
			if err := s.again(ctx, d, acks[i].Seq); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *storePlayer) tellOne(ctx context.Context, d *document) error {
	var other ack
	var otherErr error
	var wg sync.WaitGroup
	twice := s.rng.Float64() < s.Duplicates
	if twice {
		wg.Go(func() { other, otherErr = s.till.post(ctx, d) })
	}
	a, err := s.till.post(ctx, d)
	wg.Wait()
	if err = errors.Join(err, otherErr); err != nil {
		return err
	}
	s.oracle.record(s.till.store, d, a.Seq)
	if twice {
		s.oracle.recordRepeat(s.till.store)
		if a.Seq != other.Seq || a.Duplicate == other.Duplicate {
			return fmt.Errorf("%s sent twice at once got seq %d (duplicate %v) and %d (duplicate %v)",
				d.DocumentID, a.Seq, a.Duplicate, other.Seq, other.Duplicate)
		}
	}
	return nil
}

// again sends an acknowledged document once more, or twice at once.
func (s *storePlayer) again(ctx context.Context, d *document, seq uint64) error {
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
func (p *player) playPOSLog(ctx context.Context) error {
	t := p.fleet.Tills[0]
	if len(p.fleet.Tills) != 1 {
		return fmt.Errorf("the POSLog names %d stores; send each store its own file", len(p.fleet.Tills))
	}
	b, err := t.insist(ctx, "/v1/poslog", "application/xml", p.tape.Raw)
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
			return fmt.Errorf("a transaction of the POSLog was refused: %s", r.Problem)
		}
		p.oracle.recordSeq(t.store, "poslog", r.Seq)
	}
	if p.Duplicates > 0 {
		if _, err := t.insist(ctx, "/v1/poslog", "application/xml", p.tape.Raw); err != nil {
			return fmt.Errorf("send the POSLog again: %w", err)
		}
		for range got.Results {
			p.oracle.recordRepeat(t.store)
		}
	}
	return nil
}
