package ingest

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// BenchmarkMerge takes frames of 200 ten-line sales from 40 stores to the
// durable ledger and the changed positions. `tillwire-simulator bench` puts the
// same beside bare bbolt.
func BenchmarkMerge(b *testing.B) {
	const stores, frames = 40, 25
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		b.Fatal(err)
	}
	var encoded [frames][stores][]byte
	for s := range stores {
		var chain protocol.Chain
		for f := range frames {
			fr := &protocol.Frame{Epoch: 1, Lease: 1, FirstSeq: uint64(f*protocol.FrameEventsMax + 1), PrevChain: chain, SentUS: 1}
			for k := range protocol.FrameEventsMax {
				rec := benchSale(s, f*protocol.FrameEventsMax+k)
				chain = chain.Next(rec)
				fr.Records = append(fr.Records, rec)
			}
			fr.LastChain = chain
			if encoded[f][s], err = codec.Append(nil, fr); err != nil {
				b.Fatal(err)
			}
		}
	}
	var spent, cpu time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		s, c := benchRun(b, codec, encoded[:])
		spent, cpu = spent+s, cpu+c
	}
	events := float64(b.N * stores * frames * protocol.FrameEventsMax)
	b.ReportMetric(events/spent.Seconds(), "events/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/events, "cpu-ns/event")
}

// cpuTime is what the process has used of all cores, where the system tells: on a
// shared machine it says more than the clock.
var cpuTime = func() time.Duration { return 0 }

func benchSale(s, n int) []byte {
	store := protocol.StoreID(fmt.Sprintf("S%04d", s))
	ev := protocol.Event{Kind: protocol.KindSale, Store: store, DocumentID: fmt.Sprintf("%s-R01-%08d", store, n), Register: "R01", BusinessDate: "2026-11-23", EventTime: protocol.Stamp{US: int64(n+1) * 1e6}}
	for l := range 3 {
		ev.Lines = append(ev.Lines, protocol.Line{Line: l + 1, SKU: protocol.SKU(fmt.Sprintf("%014d", (n*7+l*131)%2000)), Quantity: 1000, UOM: "EA"})
	}
	ev.ID = protocol.MakeEventID(store, ev.Kind, ev.DocumentID)
	return protocol.AppendRecord(nil, int64(n+1)*1e6, &ev)
}

func benchRun(b *testing.B, codec *protocol.FrameCodec, encoded [][40][]byte) (took, cpu time.Duration) {
	l, err := bolt.Open(bolt.Options{Path: filepath.Join(b.TempDir(), "l.db"), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	merged := make(chan int, 100_000)
	in, err := Open(Options{
		Ledger: l, Codec: codec, Log: zerolog.Nop(), Now: time.Now,
		Send:  func(protocol.Origin, protocol.Channel, []byte) error { return nil },
		Cells: func([]Position) {}, Merged: func(_ protocol.Origin, _ ledger.Mark, n int) { merged <- n },
		Refused: func(o protocol.Origin, r protocol.NackReason, d string) { b.Errorf("%s: %s %s", o, r, d) },
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	defer func() { cancel(); <-done }()
	origin := func(s int) protocol.Origin {
		return protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%04d", s)), Agent: "server"}
	}
	for s := range 40 {
		h, _ := protocol.EncodeControl(&protocol.Hello{V: 1, InstallID: "b", BootID: "b", Tail: 1, Head: 1 << 20})
		if err := in.Hello(origin(s), h); err != nil {
			b.Fatal(err)
		}
		<-merged
	}
	start, before := time.Now(), cpuTime()
	go func() {
		for f := range encoded {
			for s, p := range encoded[f] {
				for in.Frame(origin(s), p, 1) != nil {
					time.Sleep(100 * time.Microsecond)
				}
			}
		}
	}()
	for left := len(encoded) * 40 * protocol.FrameEventsMax; left > 0; {
		left -= <-merged
	}
	return time.Since(start), cpuTime() - before
}
