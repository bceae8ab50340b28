package simulator

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"tillwire/protocol"
)

// explainedMax is how many cells are asked for their movements, spread evenly
// over all of them.
const (
	explainedMax   = 100
	explainedLines = 1000
)

// explainDiffs asks the chain why its wrong numbers are what they are: whoever looks for
// the cause begins there.
func (v *Verdict) explainDiffs(ctx context.Context, c *chain) {
	for i := range min(len(v.Diffs), diffsExplained) {
		d := &v.Diffs[i]
		if d.SKU == "" {
			continue
		}
		if x, err := c.explain(ctx, d.SKU, d.Store); err == nil { // of what it does not know it says nothing
			d.Explanation, d.What = x, d.What+"; the chain says "+x.Sum
		}
	}
}

// judgeExplanations asks the chain why a sample of its numbers is what it is.
// The anchor and the movements shown must add up to the truth without a rest,
// and no document may stand among them twice: that is where a doubled event
// shows itself by name.
func (v *Verdict) judgeExplanations(ctx context.Context, c *chain, truth []shelf) error {
	step := max(1, len(truth)/explainedMax)
	for i := 0; i < len(truth) && v.Explained < explainedMax; i += step {
		if !truth[i].known {
			continue // sold and voided within one receipt: never journaled, rightly zero
		}
		x, err := c.explain(ctx, truth[i].SKU, truth[i].Store)
		if err != nil {
			return err
		}
		v.Explained++
		if what := weigh(x, truth[i].OnHand); what != "" {
			v.Unexplained++
			v.diff(Diff{Store: truth[i].Store, SKU: truth[i].SKU, Want: truth[i].OnHand, Got: x.OnHand, What: what})
		}
	}
	return nil
}

// weigh adds an explanation up; "" means that it holds.
func weigh(x *protocol.Explanation, want protocol.Quantity) string {
	sum := x.Rest
	if x.Anchor != nil {
		sum += x.Anchor.Effect
	}
	type doc struct {
		kind protocol.Kind
		id   string
	}
	seen := map[doc]uint64{}
	for _, l := range x.Lines {
		sum += l.Effect
		d := doc{l.Kind, l.DocumentID}
		if at, twice := seen[d]; twice && at != l.Position && l.Kind != protocol.KindVoid {
			return fmt.Sprintf("%s %s counts at positions %d and %d", l.Kind, l.DocumentID, at, l.Position)
		}
		seen[d] = l.Position
	}
	switch {
	case sum != want:
		return fmt.Sprintf("its explanation adds up to %s", sum)
	case x.Rest != 0 && x.Truncated == 0 && len(x.Lines) < explainedLines:
		return fmt.Sprintf("its explanation leaves a rest of %s", x.Rest)
	}
	return ""
}

func (c *chain) explain(ctx context.Context, sku protocol.SKU, at protocol.StoreID) (*protocol.Explanation, error) {
	var x protocol.Explanation
	p := fmt.Sprintf("/v1/availability/%s/explain?location=%s&limit=%d", url.PathEscape(string(sku)), url.QueryEscape(string(at)), explainedLines)
	if err := c.do(ctx, http.MethodGet, p, nil, &x); err != nil {
		return nil, err
	}
	return &x, nil
}
