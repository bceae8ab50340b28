package simulator

import (
	"context"
	"runtime"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"tillwire/protocol"
	"tillwire/simulator/yardstick"
)

// frame: frames of 200 sales packed as an agent does (records of the journal in,
// bytes for the wire out) and unpacked as the aggregator does (bytes in, checked
// records out), beside bare zstd of the same bytes with the same settings; and the
// records decoded into events. One goroutine.
func (b *bench) frame(ctx context.Context) error {
	js, err := newJournals(1)
	if err != nil {
		return err
	}
	js.baseUS = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).UnixMicro() // sizes do not depend on the day
	wire, records, err := js.frame(0, protocol.FrameEventsMax, basket)
	if err != nil {
		return err
	}
	bare, err := yardstick.NewZstd()
	if err != nil {
		return err
	}
	f, err := js.codec.Decode(wire)
	if err != nil {
		return err
	}
	var raw []byte
	bytes := 0
	for _, r := range records {
		raw = protowire.AppendBytes(raw, r)
		bytes += len(r)
	}
	packed := bare.Pack(nil, raw)
	buf, out := make([]byte, 0, len(wire)*2), make([]byte, 0, len(raw)*2)
	var allocs [2][]float64
	pack := b.rate(&allocs[0], func() error { _, err := js.codec.Append(buf[:0], f); return err })
	unpack := b.rate(nil, func() error { _, err := js.codec.Decode(wire); return err })
	packs, err := b.turns(ctx, pack, b.rate(nil, func() error { bare.Pack(buf[:0], raw); return nil }))
	if err != nil {
		return err
	}
	unpacks, err := b.turns(ctx, unpack, b.rate(nil, func() error { _, err := bare.Unpack(out[:0], packed); return err }))
	if err != nil {
		return err
	}
	events, err := b.turns(ctx, b.rate(&allocs[1], func() error { return decodeEvents(records) }))
	if err != nil {
		return err
	}
	row := beside("frame packed", "events/s", packs[0], "bare zstd of the same bytes", packs[1])
	row.note("%d events of %d B in the journal; length, chain, header and checksum come with the frame", len(records), bytes/len(records))
	b.row(row)
	row = beside("frame unpacked", "events/s", unpacks[0], "bare zstd of the same bytes", unpacks[1])
	row.note("into records: checksum, sizes and the chain over every record are checked")
	b.row(row)
	row = beside("records decoded into events", "events/s", events[0], "–", nil)
	row.note("every field of three lines; the merge does this once per event")
	b.row(row)
	n := float64(len(records))
	size := beside("size of an event on the wire", "B", []float64{float64(len(wire)) / n}, "bare zstd of the same bytes", []float64{float64(len(packed)) / n})
	size.Less = true
	b.row(size)
	b.row(BenchRow{Name: "allocations of an event packed", Unit: "allocs", Ours: spread(allocs[0]), Of: "–", Aim: "–", Less: true})
	b.row(BenchRow{Name: "allocations of an event decoded", Unit: "allocs", Ours: spread(allocs[1]), Of: "–", Aim: "–", Less: true})
	return nil
}

func decodeEvents(records [][]byte) error {
	for _, r := range records {
		var e protocol.Event
		if _, err := protocol.DecodeRecord(r, &e); err != nil {
			return err
		}
	}
	return nil
}

// rate is how many events a second fn moves, a frame of them at a time; what it
// allocates per event goes into allocs.
func (b *bench) rate(allocs *[]float64, fn func() error) measure {
	return func(ctx context.Context) (float64, error) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n := 0
		began := time.Now()
		for time.Since(began) < b.slice/2 && ctx.Err() == nil {
			if err := fn(); err != nil {
				return 0, err
			}
			n += protocol.FrameEventsMax
		}
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if allocs != nil {
			*allocs = append(*allocs, float64(after.Mallocs-before.Mallocs)/float64(n))
		}
		return float64(n) / took.Seconds(), ctx.Err()
	}
}
