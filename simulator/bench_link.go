package simulator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/encoding/protowire"

	"tillwire/agent/link"
	"tillwire/aggregator/broker"
	"tillwire/protocol"
	"tillwire/simulator/rival"
	"tillwire/simulator/yardstick"
	"tillwire/store/journal"
)

// Journals of the link figure, and what lies in each.
const (
	linkStores      = 8
	linkEvents      = 40_000
	linkEventsQuick = 4_000
)

// link: what lies in the journals of eight agents goes over the real link and
// through the real broker, to a receiver that acknowledges and throws away. The
// limit sends the very same frames, ready made, with bare paho to bare mochi, as
// many in flight. mosquitto is a second one: there an aggregator must be a client
// too, and every frame goes over the wire twice.
func (b *bench) link(ctx context.Context) error {
	r, err := b.newLinkRig(ctx)
	if err != nil {
		return err
	}
	err = b.linkBeside(ctx, r)
	return errors.Join(err, r.close())
}

func (b *bench) linkBeside(ctx context.Context, r *linkRig) error {
	var mosquitto *rival.Server
	var absent error
	if !b.alone {
		mosquitto, absent = rival.StartMosquitto(ctx, b.dir)
		if absent != nil && !errors.Is(absent, rival.ErrAbsent) {
			return absent
		}
	}
	ms := []measure{r.run, r.bare, r.packed}
	if mosquitto != nil {
		ms = append(ms, func(ctx context.Context) (float64, error) { return r.through(ctx, mosquitto.Addr) })
	}
	cols, err := b.turns(ctx, ms...)
	if mosquitto != nil {
		err = errors.Join(err, mosquitto.Stop())
	}
	if err != nil {
		return err
	}
	frames, size := r.sent()
	row := beside("journal to aggregator over MQTT", "events/s", cols[0], "the same frames, ready made, by bare paho to bare mochi", cols[1])
	row.aimRatio(0.8)
	row.note("%d journals, %s of %s in %s; QoS 1, at most %d of a store in flight; ours reads the journal, packs, checks the sender and acknowledges what is merged",
		linkStores, plural(frames, "frame"), bytesWord(size/int64(max(frames, 1))), plural(r.events*linkStores, "event"), protocol.CreditMax)
	b.row(row)
	if !b.alone {
		b.row(beside("journal to aggregator over MQTT, packing too", "events/s", cols[0], "records in memory, packed into the same frames on the way, by bare paho to bare mochi", cols[2]))
	}
	const name, of = "journal to aggregator over MQTT, beside mosquitto", "the same frames, ready made, by bare paho through mosquitto to a subscriber"
	if mosquitto == nil {
		b.absent(BenchRow{Name: name, Unit: "events/s", Of: of}, absent)
		return nil
	}
	b.row(beside(name, "events/s", cols[0], of, cols[3]))
	return nil
}

// linkRig holds the journals, which every repetition sends whole, in an epoch of
// its own.
type linkRig struct {
	codec    *protocol.FrameCodec
	origins  []protocol.Origin
	journals []*journal.Journal
	events   int // in each

	mu     sync.Mutex
	epoch  uint64
	frames map[protocol.Origin][][]byte // of the newest repetition, as they came
}

func (b *bench) newLinkRig(ctx context.Context) (*linkRig, error) {
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		return nil, err
	}
	r := &linkRig{codec: codec, events: linkEvents}
	if b.quick {
		r.events = linkEventsQuick
	}
	for s := range linkStores {
		path := filepath.Join(b.dir, fmt.Sprintf("journal-%d.db", s))
		if err := fillJournal(ctx, path, r.events); err != nil {
			return nil, errors.Join(err, r.close())
		}
		j, err := journal.Open(journal.Options{Path: path, Log: zerolog.Nop(), BallastBytes: -1, Retention: -1})
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.journals = append(r.journals, j)
		r.origins = append(r.origins, protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%04d", s+1)), Agent: "server"})
	}
	return r, nil
}

func (r *linkRig) close() error {
	var errs []error
	for _, j := range r.journals {
		errs = append(errs, j.Close())
	}
	return errors.Join(errs...)
}

// sent is what the newest repetition put on the wire.
func (r *linkRig) sent() (frames int, size int64) {
	for _, fs := range r.frames {
		frames += len(fs)
		for _, f := range fs {
			size += int64(len(f))
		}
	}
	return frames, size
}

// receiver is an aggregator that merges nothing: it welcomes, and acknowledges
// each frame as merged when it arrives.
type receiver struct {
	rig    *linkRig
	broker *broker.Broker
	first  atomic.Int64  // nanoseconds of the first frame
	left   atomic.Int64  // events to come
	done   chan struct{} // closed when none is left
}

func (v *receiver) up(u broker.Up) error {
	switch u.Channel {
	case protocol.UpHello:
		var h protocol.Hello
		if err := protocol.DecodeControl(u.Payload, &h); err != nil {
			return err
		}
		return v.say(u.Origin, protocol.DnWelcome, &protocol.Welcome{
			V: protocol.Version, Node: "bench", BootID: h.BootID, Epoch: v.rig.epoch, Lease: 1, Rebase: true, Credit: protocol.CreditMax, Generation: v.rig.epoch, ServerUS: u.ReceivedUS,
		})
	case protocol.UpJournal:
		v.first.CompareAndSwap(0, time.Now().UnixNano())
		first, count, chain, err := frameEnd(u.Payload)
		if err != nil {
			return err
		}
		v.rig.mu.Lock()
		v.rig.frames[u.Origin] = append(v.rig.frames[u.Origin], u.Payload)
		v.rig.mu.Unlock()
		err = v.say(u.Origin, protocol.DnAck, &protocol.Ack{
			V: protocol.Version, Epoch: v.rig.epoch, Lease: 1, MergedSeq: first + count - 1, ChainMerged: chain, Credit: protocol.CreditMax, SendUS: u.ReceivedUS,
		})
		if v.left.Add(-int64(count)) == 0 {
			close(v.done)
		}
		return err
	default: // heartbeats and digests are of no interest here
		return nil
	}
}

func (v *receiver) say(o protocol.Origin, ch protocol.Channel, m any) error {
	b, err := protocol.EncodeControl(m)
	if err != nil {
		return err
	}
	return v.broker.Publish(o, ch, b)
}

// frameEnd reads from a frame's header what an acknowledgement says; the records
// stay packed.
func frameEnd(b []byte) (first, count uint64, last protocol.Chain, err error) {
	b, ok := bytes.CutPrefix(b, []byte(protocol.FrameMagic))
	n, w := binary.Uvarint(b)
	if !ok || w <= 0 || n > uint64(len(b)-w) {
		return 0, 0, last, protocol.ErrMalformed
	}
	for h := b[w : w+int(n)]; len(h) > 0; {
		num, typ, k := protowire.ConsumeTag(h)
		if k < 0 {
			return 0, 0, last, protowire.ParseError(k)
		}
		h = h[k:]
		size := protowire.ConsumeFieldValue(num, typ, h)
		if size < 0 {
			return 0, 0, last, protowire.ParseError(size)
		}
		switch num { // as tillwire.proto numbers them
		case 4:
			first, _ = protowire.ConsumeVarint(h)
		case 5:
			count, _ = protowire.ConsumeVarint(h)
		case 7:
			chain, _ := protowire.ConsumeBytes(h)
			copy(last[:], chain)
		}
		h = h[size:]
	}
	return first, count, last, nil
}

// run sends all journals over links and broker; the time counts from the first
// frame that arrives.
func (r *linkRig) run(ctx context.Context) (perS float64, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	r.epoch++
	r.frames = map[protocol.Origin][][]byte{}
	v := &receiver{rig: r, done: make(chan struct{})}
	v.left.Store(int64(r.events) * linkStores)
	v.broker, err = broker.New(broker.Options{
		Listener: l, Log: zerolog.Nop(), OnUp: v.up, Authenticate: func(protocol.Origin, string) error { return nil },
	})
	if err != nil {
		return 0, errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, benchWaitMax)
	defer cancel()
	ended := make(chan error, linkStores+1)
	go func() { ended <- v.broker.Run(ctx) }()
	running := 1
	defer func() {
		cancel()
		for range running {
			if e := <-ended; e != nil && !errors.Is(e, context.Canceled) && !errors.Is(e, context.DeadlineExceeded) {
				err = errors.Join(err, e)
			}
		}
	}()
	for i, o := range r.origins {
		lk, err := link.New(link.Options{
			Origin: o, Broker: "mqtt://" + l.Addr().String(), Token: "bench", Journal: r.journals[i], Codec: r.codec, Log: zerolog.Nop(), Version: "bench", BootReason: "bench",
		})
		if err != nil {
			return 0, err
		}
		running++
		go func() { ended <- lk.Run(ctx) }()
	}
	select {
	case <-v.done:
		return float64(r.events*linkStores) / time.Since(time.Unix(0, v.first.Load())).Seconds(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%d of %d events did not arrive: %w", v.left.Load(), r.events*linkStores, ctx.Err())
	}
}

// bare sends what run sent with bare paho to bare mochi.
func (r *linkRig) bare(ctx context.Context) (float64, error) {
	m, err := yardstick.StartMochi()
	if err != nil {
		return 0, err
	}
	perS, err := r.publish(ctx, m.Addr, &m.Arrived, nil)
	return perS, errors.Join(err, m.Close())
}

// packed packs the frames of the newest repetition again while it sends them: what
// an agent without a journal would do.
func (r *linkRig) packed(ctx context.Context) (float64, error) {
	open := map[*byte]*protocol.Frame{}
	for _, fs := range r.frames {
		for _, b := range fs {
			f, err := r.codec.Decode(b)
			if err != nil {
				return 0, err
			}
			open[&b[0]] = f
		}
	}
	m, err := yardstick.StartMochi()
	if err != nil {
		return 0, err
	}
	perS, err := r.publish(ctx, m.Addr, &m.Arrived, func(b []byte) ([]byte, error) { return r.codec.Append(nil, open[&b[0]]) })
	return perS, errors.Join(err, m.Close())
}

// through sends it by way of another broker to a subscriber.
func (r *linkRig) through(ctx context.Context, addr string) (float64, error) {
	var n atomic.Int64
	stop, err := yardstick.Count(addr, "up/#", &n)
	if err != nil {
		return 0, err
	}
	defer stop()
	return r.publish(ctx, addr, &n, nil)
}

// publish sends all frames, each made by pack at its turn where there is one, and
// waits until they have arrived.
func (r *linkRig) publish(ctx context.Context, addr string, arrived *atomic.Int64, pack func([]byte) ([]byte, error)) (float64, error) {
	frames, _ := r.sent()
	clients := make([]*yardstick.Publisher, len(r.origins))
	for i, o := range r.origins {
		c, err := yardstick.Dial(addr, string(o.Store))
		if err != nil {
			return 0, err
		}
		defer c.Close() //nolint:revive // eight of them
		clients[i] = c
	}
	began := time.Now()
	errs := make([]error, len(r.origins))
	var wg sync.WaitGroup
	for i, o := range r.origins {
		wg.Go(func() { errs[i] = clients[i].Send("up/"+string(o.Store), r.frames[o], protocol.CreditMax, pack) })
	}
	wg.Wait()
	for deadline := time.Now().Add(benchWaitMax); arrived.Load() < int64(frames); {
		if err := errors.Join(errs...); err != nil || time.Now().After(deadline) || !pause(ctx, time.Millisecond) {
			return 0, errors.Join(err, fmt.Errorf("%d of %d frames arrived", arrived.Load(), frames))
		}
	}
	return float64(r.events*linkStores) / time.Since(began).Seconds(), errors.Join(errs...)
}
