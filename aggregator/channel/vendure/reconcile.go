package vendure

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"tillwire/protocol"
)

// suspect is a difference that was seen once: orders may be on their way. What is the
// same at a second look, after all orders were read, is a divergence.
type suspect struct{ expected, actual, held, allocated int64 }

// reconcile reads the stock of articles, none named: of all, and compares. A difference
// that stays is told, and set right.
func (s *Shop) reconcile(ctx context.Context, names []string) error {
	first, err := s.compare(ctx, names)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if names == nil {
		s.echoes = 0
	}
	now := s.o.Now().UTC()
	for key, d := range s.diverged {
		if _, still := first[key]; !still && names == nil && d.CorrectedAt == nil {
			d.CorrectedAt = &now
		}
	}
	s.mu.Unlock()
	var skus []string
	for key := range first {
		sku, _ := splitKey(key)
		skus = append(skus, s.nameOf(sku))
	}
	slices.Sort(skus)
	for part := range slices.Chunk(slices.Compact(skus), variantsPage) {
		if !sleep(ctx, secondLook) {
			return nil
		}
		if err := s.readOrders(ctx, true); err != nil {
			return err
		}
		second, err := s.compare(ctx, part)
		if err != nil {
			return err
		}
		s.mu.Lock()
		for key, x := range second {
			if first[key] == x {
				s.diverges(key, x)
			}
		}
		s.mu.Unlock()
	}
	return nil
}

// nameOf is an article as the shop spells it.
func (s *Shop) nameOf(sku protocol.SKU) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.names[sku], string(sku))
}

// compare reads stock, none named: all, and tells what is not as it should be.
func (s *Shop) compare(ctx context.Context, skus []string) (map[string]suspect, error) {
	levels, err := s.levels(ctx, skus)
	if err != nil {
		return nil, err
	}
	seen := map[string]suspect{}
	for i := range levels {
		l := &levels[i]
		s.mu.Lock()
		fresh := s.variants[l.sku] == ""
		s.variants[l.sku] = l.id
		s.mu.Unlock()
		if fresh { // an article that the shop began to sell
			s.mark([]protocol.SKU{l.sku}, s.o.Now().UnixMicro(), s.at())
			continue
		}
		for loc, is := range l.at {
			key := keyOf(l.sku, loc)
			want, held, err := s.expected(ctx, key)
			if err != nil {
				return nil, err
			}
			s.mu.Lock()
			owed := s.teller.Lane.Owes(key)
			if !owed && want == is.onHand {
				s.shows(key, want)
			}
			s.mu.Unlock()
			if !owed && (want != is.onHand || held != is.allocated) {
				seen[key] = suspect{want, is.onHand, held, is.allocated}
			}
		}
	}
	return seen, nil
}

func (s *Shop) at() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.teller.Reached()
}

// diverges notes a difference that stays, and has it set right. The caller holds mu.
func (s *Shop) diverges(key string, x suspect) {
	sku, loc := splitKey(key)
	now := s.o.Now().UTC()
	d := s.diverged[key]
	if d == nil || d.CorrectedAt != nil {
		d = &protocol.Divergence{SKU: sku, Location: loc, Since: now}
	}
	d.SeenAt = now
	switch {
	case x.allocated > x.held:
		d.Field, d.Expected, d.Actual, d.Cause = "allocated", thousandths(x.held), thousandths(x.allocated), "unknown_allocation"
		d.Words = fmt.Sprintf("the shop allocates %d to orders, we hold %d for it: an order that could not be held, or that is not there any more", x.allocated, x.held)
	case x.allocated < x.held:
		d.Field, d.Expected, d.Actual, d.Cause = "allocated", thousandths(x.held), thousandths(x.allocated), "unknown_hold"
		d.Words = fmt.Sprintf("we hold %d for the shop's orders, it allocates %d: an order that it closed without a word", x.held, x.allocated)
	case x.actual > x.expected:
		d.Field, d.Expected, d.Actual, d.Cause = "on_hand", thousandths(x.expected), thousandths(x.actual), "phantom_unit"
		d.Words = fmt.Sprintf("the shop shows %d more than there are: it counts what was cancelled as returned, or somebody set it; it is set right", x.actual-x.expected)
	default:
		d.Field, d.Expected, d.Actual, d.Cause = "on_hand", thousandths(x.expected), thousandths(x.actual), "missing_unit"
		d.Words = fmt.Sprintf("the shop shows %d less than there are: somebody set it; it is set right", x.expected-x.actual)
	}
	if s.diverged[key] == nil && len(s.diverged) >= divergencesMax {
		s.forgetOldest()
	}
	s.diverged[key] = d
	s.o.Log.Warn().Str("connector", s.c.Name).Str("sku", string(sku)).Str("location", string(loc)).Str("cause", d.Cause).Int64("expected", x.expected).Int64("actual", x.actual).Msg("channel diverges")
	if x.actual != x.expected {
		s.sure[key] = true
		s.teller.Put(key, now.UnixMicro(), s.teller.Reached())
	}
}

func (s *Shop) forgetOldest() {
	list := slices.SortedFunc(maps.Keys(s.diverged), func(a, b string) int { return s.diverged[a].SeenAt.Compare(s.diverged[b].SeenAt) })
	delete(s.diverged, list[0])
}

func thousandths(n int64) protocol.Quantity { return protocol.Quantity(n * 1000) }

// Divergences are what the shop showed otherwise than it should, the newest first.
func (s *Shop) Divergences() []protocol.Divergence {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]protocol.Divergence, 0, len(s.diverged))
	for _, d := range s.diverged {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b protocol.Divergence) int {
		return cmp.Or(b.SeenAt.Compare(a.SeenAt), cmp.Compare(a.SKU, b.SKU))
	})
	return out
}
