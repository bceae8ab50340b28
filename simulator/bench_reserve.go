package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"tillwire/protocol"
	"tillwire/simulator/rival"
)

// reserveUnits of every article: nobody can reserve so many in a benchmark.
const reserveUnits = 100_000_000

// reservePath makes a reservation.
const reservePath = "/v1/reservations"

// reserve: reservations of one line, each with an id of its own and durable
// before it is answered, beside PostgreSQL's least: one UPDATE per transaction that
// takes a unit where one is left, prepared, asked by pgbench. Same connections,
// same number of cells. Ours keeps the reservation, its expiry and its idempotency
// besides; theirs keeps a number.
func (b *bench) reserve(ctx context.Context) error {
	return b.withChain(ctx, reserveUnits, func(f *fleet, shelves []stocked) error {
		job := loadJob{URL: "http://" + f.Aggregator, Paths: []string{reservePath}, Fresh: true}
		for _, s := range shelves {
			for _, sku := range s.skus {
				body, err := json.Marshal(&protocol.ReservationRequest{
					ReservationID: freshMark, Channel: "web", TTLS: 900, Mode: protocol.ModeAllOrNothing, Fulfilment: protocol.FulfilmentPickup,
					Lines: []protocol.ReservationRequestLine{{SKU: sku, Quantity: protocol.Units(1), Location: s.store}},
				})
				if err != nil {
					return err
				}
				job.Bodies = append(job.Bodies, string(body))
			}
		}
		var pg *rival.Postgres
		var absent error
		if !b.alone {
			pg, absent = rival.StartPostgres(ctx, b.dir, len(job.Bodies))
			if absent != nil && !errors.Is(absent, rival.ErrAbsent) {
				return absent
			}
		}
		var err error
		for _, n := range []int{1, readConnections} {
			if err == nil {
				err = b.reservations(ctx, f, job, pg, absent, n)
			}
		}
		if pg != nil {
			err = errors.Join(err, pg.Stop())
		}
		return err
	})
}

func (b *bench) reservations(ctx context.Context, f *fleet, job loadJob, pg *rival.Postgres, absent error, connections int) error {
	job.Connections = connections
	var p50, p99, pg50, pg99 []float64
	sent := 0
	ms := []measure{func(ctx context.Context) (float64, error) {
		r, err := b.outside(ctx, job)
		p50, p99 = append(p50, micros(r.P50)), append(p99, micros(r.P99))
		sent += r.Sent
		return r.PerS, err
	}}
	if pg != nil {
		ms = append(ms, func(ctx context.Context) (float64, error) {
			r, err := pg.Reserve(ctx, connections, b.slice)
			pg50, pg99 = append(pg50, micros(r.P50)), append(pg99, micros(r.P99))
			return r.PerS, err
		})
	}
	before, err := reservedUnits(ctx, f)
	if err != nil {
		return err
	}
	cols, err := b.turns(ctx, ms...)
	if err != nil {
		return err
	}
	after, err := reservedUnits(ctx, f)
	if err != nil {
		return err
	}
	if got := int(after - before); got != sent {
		return fmt.Errorf("%d reservations were answered with 201, the chain holds %d more units", sent, got)
	}
	cols = append(cols, nil)
	row := beside("reservation, durable, "+plural(connections, "connection"), "/s", cols[0],
		"PostgreSQL, one conditional UPDATE per transaction, by pgbench", cols[1])
	if connections > 1 {
		row.aimRatio(3)
	}
	row.note("p50 %s µs, p99 %s µs; the chain counts exactly as many units held as were answered", figure(spread(p50).Median), figure(spread(p99).Median))
	if len(pg50) > 0 {
		row.note("PostgreSQL: p50 %s µs, p99 %s µs; synchronous_commit and fsync on, prepared, as pgbench tells it", figure(spread(pg50).Median), figure(spread(pg99).Median))
	}
	if absent != nil {
		row.note("no limit: %v", absent)
	}
	b.row(row)
	return nil
}

// reservedUnits asks the chain what it holds in all.
func reservedUnits(ctx context.Context, f *fleet) (int64, error) {
	skus := map[string]bool{}
	for _, a := range articles(4 * assortmentMax) {
		skus[string(a.SKU)] = true
	}
	var q struct {
		SKUs []string `json:"skus"`
	}
	for s := range skus {
		q.SKUs = append(q.SKUs, s)
	}
	body, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	var got struct {
		Items []struct {
			Totals struct {
				Reserved float64 `json:"reserved"`
			} `json:"totals"`
		} `json:"items"`
	}
	if err := f.Chain.do(ctx, http.MethodPost, bulkPath, body, &got); err != nil {
		return 0, err
	}
	sum := 0.0
	for _, i := range got.Items {
		sum += i.Totals.Reserved
	}
	return int64(sum), nil
}
