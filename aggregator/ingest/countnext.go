package ingest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
)

// The book's own error grows with what moves. That about two thirds of retail
// records are wrong is known (DeHoratius and Raman, Management Science 54, 2008);
// the growth of two units squared per hundred moved is our assumption, as is that
// what was never counted is doubted like half a year.
const (
	doubtPerUnit   = 0.02
	neverCountDays = 180
)

// CountNext lists what a store should count, the most worth first. A count is
// worth what it prevents: demand a day, times the probability that the shelf is
// empty where the book says it is not, or the other way round.
func (i *Ingest) CountNext(ctx context.Context, store protocol.StoreID, limit int) (list []protocol.CountNext, err error) {
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		i.eng.At(store, func(c merge.Cell) {
			if x, ok := i.worth(&c, nowUS); ok {
				list = append(list, x)
			}
		})
		return nil
	})
	slices.SortFunc(list, func(x, y protocol.CountNext) int {
		return cmp.Or(cmp.Compare(y.Worth, x.Worth), cmp.Compare(x.SKU, y.SKU))
	})
	return list[:min(len(list), limit)], err
}

func (i *Ingest) worth(c *merge.Cell, nowUS int64) (protocol.CountNext, bool) {
	daily := 24 * float64(i.Rate(c))
	x := protocol.CountNext{SKU: c.SKU, OnHand: c.OnHand, Demand: round3(daily)}
	days := float64(neverCountDays)
	x.Reason = "never counted"
	if c.CountedUS != 0 {
		days = max(0, float64(nowUS-c.CountedUS)/86_400e6)
		at := time.UnixMicro(c.CountedUS).UTC()
		x.LastCount = &at
		x.Reason = fmt.Sprintf("counted %.0f days ago, about %.0f units sold since", days, days*daily)
	}
	switch units := float64(c.OnHand) / 1000; {
	case units < 0:
		x.Doubt = 1
		x.Reason = "below zero: sold what the book did not have; " + x.Reason
	case daily == 0:
		return x, false
	default:
		sd := math.Sqrt(doubtPerUnit * daily * days)
		if sd > 0 {
			x.Doubt = math.Erfc(max(units, 0.5) / (sd * math.Sqrt2))
		}
	}
	x.Worth = round3(max(daily, 0.01) * x.Doubt)
	x.Doubt = round3(x.Doubt)
	return x, x.Worth > 0
}

func round3(v float64) float64 { return math.Round(v*1000) / 1000 }
