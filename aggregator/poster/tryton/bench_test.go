package tryton

import (
	"context"
	"testing"
	"time"

	"tillwire/aggregator/poster/tryton/trytontest"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// BenchmarkPost puts documents of 200 sales beside the very calls that make a
// shipment in Tryton and nothing else: the difference is what being exactly once
// costs.
func BenchmarkPost(b *testing.B) {
	s := trytontest.Start(b)
	c := connect(s, s.URL)
	ctx, today := context.Background(), time.Now().UTC()
	if err := c.prepare(ctx); err != nil {
		b.Fatal(err)
	}
	p, err := c.place(ctx, "S3")
	if err == nil {
		err = c.refresh(ctx)
	}
	if err != nil {
		b.Fatal(err)
	}
	for _, way := range []struct {
		name string
		post func(*posting.Doc) error
	}{
		{"posted", func(d *posting.Doc) error { _, err := c.Post(ctx, d); return err }},
		{"bare", func(d *posting.Doc) error {
			f, head, from, to, err := c.route(d, &p)
			if err != nil {
				return err
			}
			id, err := c.create(ctx, &f, d, head, from, to)
			if err != nil {
				return err
			}
			return c.steps(ctx, &f, &shipment{ID: id, State: stateDraft})
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				d := doc(posting.ClassSale, "S3", today, posting.LinesMax, protocol.Units(-1))
				if err := way.post(d); err != nil {
					b.Fatal(err)
				}
				n += len(d.Lines)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "moves/s")
		})
	}
}
