package simulator

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"tillwire/protocol"
	"tillwire/simulator/yardstick"
)

// mergeStores send their frames in turns, as many journals do at once.
const (
	mergeStores      = 40
	mergeEvents      = 120_000
	mergeEventsQuick = 24_000
	mergeBatch       = 8000 // records per bare transaction: what one commit of ingest holds at most
)

// merge: events per second from encoded frame to durable ledger and changed
// positions, beside bare bbolt batches of the same records.
func (b *bench) merge(ctx context.Context) error {
	events := mergeEvents
	if b.quick {
		events = mergeEventsQuick
	}
	js, err := newJournals(mergeStores)
	if err != nil {
		return err
	}
	ready, err := js.frames(events/mergeStores/protocol.FrameEventsMax, protocol.FrameEventsMax, basket)
	if err != nil {
		return err
	}
	cols, err := b.turns(ctx,
		func(ctx context.Context) (float64, error) { return b.ingestRun(ctx, js, ready) },
		func(context.Context) (float64, error) { return b.bareBatches(ready) })
	if err != nil {
		return err
	}
	row := beside("merge, frame to durable position", "events/s", cols[0], "bare bbolt batches of the same bytes", cols[1])
	row.note("%s of %d stores in frames of %d; ours decodes, checks chain and ids, folds and commits; bare puts %s per transaction",
		plural(eventsIn(ready), "event"), mergeStores, protocol.FrameEventsMax, plural(mergeBatch, "record"))
	row.aimRatio(0.7)
	b.row(row)
	return nil
}

func (b *bench) ingestRun(ctx context.Context, js *journals, ready []sent) (perS float64, err error) {
	dir, err := b.fresh("ledger")
	if err != nil {
		return 0, err
	}
	d, err := openDoor(ctx, dir, js.codec)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.greet(ctx, js.origins, js.next[0]-1); err != nil {
		return 0, err
	}
	took, err := d.feed(ctx, ready)
	return float64(eventsIn(ready)) / took.Seconds(), err
}

func (b *bench) bareBatches(ready []sent) (perS float64, err error) {
	dir, err := b.fresh("bare")
	if err != nil {
		return 0, err
	}
	y, err := yardstick.OpenBolt(filepath.Join(dir, "bare.db"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, y.Close()) }()
	var records [][]byte
	for _, f := range ready {
		records = append(records, f.records...)
	}
	begin := time.Now()
	for at := 0; at < len(records); at += mergeBatch {
		if err := y.Batch(records[at:min(at+mergeBatch, len(records))]); err != nil {
			return 0, err
		}
	}
	return float64(len(records)) / time.Since(begin).Seconds(), nil
}
