package vendure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// level is what the shop shows of one article.
type level struct {
	id  string
	sku protocol.SKU
	at  map[protocol.StoreID]shown
}

type shown struct{ onHand, allocated int64 }

const variantsQuery = `query($skip:Int!,$take:Int!,$skus:StringOperators){productVariants(options:{skip:$skip,take:$take,sort:{id:ASC},filter:{sku:$skus}}){items{id sku stockLevels{stockLocationId stockOnHand stockAllocated}}}}`

// levels reads the stock of articles; none named: of all.
func (s *Shop) levels(ctx context.Context, skus []string) ([]level, error) {
	filter := any(nil)
	if skus != nil {
		filter = map[string]any{"in": skus}
	}
	var out []level
	for skip := 0; skip < variantsMax; skip += variantsPage {
		var r struct {
			Variants struct {
				Items []struct {
					ID     string `json:"id"`
					SKU    string `json:"sku"`
					Levels []struct {
						Location  string `json:"stockLocationId"`
						OnHand    int64  `json:"stockOnHand"`
						Allocated int64  `json:"stockAllocated"`
					} `json:"stockLevels"`
				} `json:"items"`
			} `json:"productVariants"`
		}
		if _, err := s.api.call(ctx, variantsQuery, map[string]any{"skip": skip, "take": variantsPage, "skus": filter}, &r); err != nil {
			return nil, err
		}
		for _, v := range r.Variants.Items {
			sku, err := protocol.NormalizeSKU(v.SKU)
			if err != nil {
				continue // an article that the chain cannot have
			}
			l := level{id: v.ID, sku: sku, at: map[protocol.StoreID]shown{}}
			s.mu.Lock()
			if string(sku) != v.SKU {
				s.names[sku] = v.SKU
			}
			for _, x := range v.Levels {
				if loc, ok := s.places[x.Location]; ok {
					l.at[loc] = shown{x.OnHand, x.Allocated}
				}
			}
			s.mu.Unlock()
			out = append(out, l)
		}
		if len(r.Variants.Items) < variantsPage {
			break
		}
	}
	return out, nil
}

// expected is what the shop is to show on hand: what may be sold, and what its own
// orders hold.
func (s *Shop) expected(ctx context.Context, key string) (onHand, held int64, err error) {
	sku, loc := splitKey(key)
	available, own, err := s.o.Position(ctx, sku, loc, s.c.Channel)
	return pieces(available) + pieces(own), pieces(own), err
}

// pieces is whole pieces: Vendure counts nothing else.
func pieces(q protocol.Quantity) int64 { return int64(max(q, 0)) / 1000 }

// mark puts what changed in line, where the shop has the article.
func (s *Shop) mark(skus []protocol.SKU, us int64, after uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sku := range skus {
		if s.variants[sku] == "" {
			continue
		}
		for loc := range s.ids {
			s.teller.Put(keyOf(sku, loc), us, after)
		}
	}
}

// tell sets the stock of a batch, where the shop does not show it already.
func (s *Shop) tell(ctx context.Context, batch []gateway.Owed) {
	verdicts := map[string]gateway.Verdict{}
	var reply gateway.Reply
	values, err := s.values(ctx, batch, verdicts)
	if err == nil && len(values) > 0 {
		reply, err = s.set(context.WithoutCancel(ctx), values)
		verdict := gateway.Accepted
		switch {
		case errors.Is(err, errRefused) && len(values) > 1:
			verdict = gateway.Apart
		case errors.Is(err, errRefused):
			verdict = s.refuse(ctx, values, err)
		case err != nil:
			verdict = gateway.Again
		}
		for key := range values {
			verdicts[key] = verdict
		}
	} else if err != nil {
		reply = replyOf(0, err)
	}
	if err != nil {
		s.failed(ctx, err, "stock not told; it is tried on")
	}
	now := s.o.Now()
	s.mu.Lock()
	for key, v := range values {
		if verdicts[key] == gateway.Accepted {
			s.echoes++
			s.shows(key, v)
			if d := s.diverged[key]; d != nil && d.Field == "on_hand" && d.CorrectedAt == nil {
				at := now.UTC()
				d.CorrectedAt = &at
			}
		}
	}
	s.teller.Done(batch, reply, verdicts, err != nil)
	s.mu.Unlock()
	if err == nil && len(values) > 0 {
		s.notes.Went(fmt.Sprintf("%d levels", len(values)), "updateProductVariants", now)
	}
}

// shows notes what the shop has on hand now. The caller holds mu.
func (s *Shop) shows(key string, n int64) {
	s.told[key] = n
	delete(s.sold, key)
	delete(s.sure, key)
}

// values reads what the shop shows, and what it is to show. A difference that is not
// of our own making is not written over before a second look: an order that we have
// not heard of may explain it.
//
//	what it showed last, less what its orders took since = what it is to show,
//	and yet it shows something else: nothing of ours changed
func (s *Shop) values(ctx context.Context, batch []gateway.Owed, verdicts map[string]gateway.Verdict) (map[string]int64, error) {
	var skus []string
	for _, o := range batch {
		sku, _ := splitKey(o.Key)
		skus = append(skus, s.nameOf(sku))
	}
	slices.Sort(skus)
	skus = slices.Compact(skus)
	s.taking.RLock()
	defer s.taking.RUnlock()
	levels, err := s.levels(ctx, skus)
	if err != nil {
		return nil, err
	}
	is := map[string]int64{}
	for i := range levels {
		for loc, l := range levels[i].at {
			is[keyOf(levels[i].sku, loc)] = l.onHand
		}
	}
	values := map[string]int64{}
	for _, o := range batch {
		want, _, err := s.expected(ctx, o.Key)
		if err != nil {
			return nil, err
		}
		shown, there := is[o.Key]
		s.mu.Lock()
		was, known := s.told[o.Key]
		switch {
		case there && shown == want:
			s.shows(o.Key, want)
			verdicts[o.Key] = gateway.Accepted
		case there && known && was-s.sold[o.Key] == want && !s.sure[o.Key]:
			sku, _ := splitKey(o.Key)
			s.doubts[sku] = true
			verdicts[o.Key] = gateway.Accepted // nothing is to be told; reconciliation has it
			ring(s.look)
		default:
			values[o.Key] = want
		}
		s.mu.Unlock()
	}
	return values, nil
}

// set writes absolute numbers, the locations of one article together.
func (s *Shop) set(ctx context.Context, values map[string]int64) (gateway.Reply, error) {
	type at struct {
		Location string `json:"stockLocationId"`
		OnHand   int64  `json:"stockOnHand"`
	}
	type variant struct {
		ID     string `json:"id"`
		Levels []at   `json:"stockLevels"`
	}
	by := map[protocol.SKU]*variant{}
	s.mu.Lock()
	for key, v := range values {
		sku, loc := splitKey(key)
		if by[sku] == nil {
			by[sku] = &variant{ID: s.variants[sku]}
		}
		by[sku].Levels = append(by[sku].Levels, at{s.ids[loc], v})
	}
	s.mu.Unlock()
	var list []*variant
	for _, sku := range slices.Sorted(maps.Keys(by)) {
		list = append(list, by[sku])
	}
	var r struct {
		Updated []struct {
			ID string `json:"id"`
		} `json:"updateProductVariants"`
	}
	after, err := s.api.call(ctx, `mutation($i:[UpdateProductVariantInput!]!){updateProductVariants(input:$i){id}}`, map[string]any{"i": list}, &r)
	return replyOf(after, err), err
}

// replyOf is what an error means for the rate.
func replyOf(after time.Duration, err error) gateway.Reply {
	return gateway.Reply{
		Lost: errors.Is(err, errAway), Throttled: errors.Is(err, errBusy), Failed: errors.Is(err, errFailed) || errors.Is(err, errLogin), RetryAfterUS: after.Microseconds(),
	}
}

// refuse keeps a number that the shop will not take.
func (s *Shop) refuse(ctx context.Context, values map[string]int64, cause error) gateway.Verdict {
	for key, v := range values {
		name := strings.ReplaceAll(key, "\x00", " @ ")
		d := protocol.DeadLetter{
			ID: "stock-" + strings.ReplaceAll(name, " @ ", "@"), At: s.o.Now().UTC(), Kind: "stock", Reason: cause.Error(), Attempts: 1, Keys: []string{name}, Document: fmt.Sprint(v),
		}
		if err := s.letters.Add(ctx, d); err != nil {
			return gateway.Again
		}
	}
	return gateway.Refused
}
