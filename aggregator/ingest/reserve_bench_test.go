package ingest

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// plenty is a world where there is always stock.
type plenty struct{}

func (plenty) Free(*merge.Cell, string, int64) protocol.Quantity   { return protocol.QuantityMax }
func (plenty) Candidates(protocol.SKU, string) []reserve.Candidate { return nil }
func (plenty) Kit(protocol.SKU) []protocol.KitComponent            { return nil }
func (plenty) Sourcing(protocol.SKU, int64) string                 { return "" }
func (plenty) Resource(protocol.SKU, protocol.StoreID, int64) bool { return false }

// BenchmarkReserveDurable holds one unit of one of 5,000 positions at a time, with
// as many callers as said, each of whom waits until its hold is on the disk.
func BenchmarkReserveDurable(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			l, err := bolt.Open(bolt.Options{Path: filepath.Join(b.TempDir(), "l.db"), Log: zerolog.Nop()})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			in, err := Open(Options{
				Ledger: l, Log: zerolog.Nop(), Now: time.Now, World: plenty{}, Cells: func([]Position) {},
				Send:    func(protocol.Origin, protocol.Channel, []byte) error { return nil },
				Merged:  func(protocol.Origin, ledger.Mark, int) {},
				Refused: func(protocol.Origin, protocol.NackReason, string) {},
			})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- in.Run(ctx) }()
			defer func() { cancel(); <-done }()
			stockUp(b, in)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			before := cpuTime()
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						_, created, err := in.Reserve(ctx, &protocol.ReservationRequest{
							ReservationID: fmt.Sprint("web-", n), Channel: "web", TTLS: 900, Mode: "all_or_nothing", Fulfilment: "pickup",
							Lines: []protocol.ReservationRequestLine{{SKU: protocol.SKU(fmt.Sprintf("%014d", n%5000)), Quantity: protocol.Units(1), Location: "S0001"}},
						})
						if err != nil || !created {
							b.Errorf("%v, %v", created, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "holds/s")
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/hold")
			b.ReportMetric(float64(b.N)/float64(in.Stats().Commits), "holds/commit")
		})
	}
}

// stockUp receives a thousand units of each article, or every hold would be at risk.
func stockUp(b *testing.B, in *Ingest) {
	var docs []*protocol.Event
	for d := range 5 {
		ev := &protocol.Event{Kind: protocol.KindReceipt, Store: "S0001", DocumentID: fmt.Sprint("r", d), EventTime: protocol.Stamp{US: 1e6}, Source: "wms"}
		ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
		for n := range 1000 {
			ev.Lines = append(ev.Lines, protocol.Line{Line: n + 1, SKU: protocol.SKU(fmt.Sprintf("%014d", d*1000+n)), Quantity: protocol.Units(1000), UOM: "EA"})
		}
		docs = append(docs, ev)
	}
	got, err := in.Accept(context.Background(), protocol.Origin{Store: "S0001", Agent: "feed:wms"}, docs)
	if err != nil || got[4].Status != "accepted" {
		b.Fatal(got, err)
	}
}
