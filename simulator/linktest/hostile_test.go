package linktest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/encoding/protowire"

	"tillwire/agent/link"
	"tillwire/aggregator/broker"
	"tillwire/protocol"
	"tillwire/store/journal"
	"tillwire/store/ledger"
)

// peer is an MQTT client of an agent's rights that says what it likes.
type peer struct {
	t      *testing.T
	origin protocol.Origin
	client mqtt.Client
	heard  chan mqtt.Message
}

func newPeer(c *chain, o protocol.Origin) *peer {
	c.t.Helper()
	p := &peer{t: c.t, origin: o, heard: make(chan mqtt.Message, 1000)}
	id := o.String()
	p.client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + c.addr).SetClientID(id).SetUsername(id).SetPassword("token-" + id).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(false))
	p.await(p.client.Connect())
	p.await(p.client.Subscribe("tw/v1/"+id+"/dn/#", 1, func(_ mqtt.Client, m mqtt.Message) { p.heard <- m }))
	c.t.Cleanup(func() { p.client.Disconnect(50) })
	return p
}

func (p *peer) await(tok mqtt.Token) {
	p.t.Helper()
	if !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		p.t.Fatal(tok.Error())
	}
}

func (p *peer) say(ch protocol.Channel, payload []byte) {
	p.t.Helper()
	p.await(p.client.Publish(protocol.Topic(p.origin, ch, "0"), 1, false, payload))
}

func (p *peer) hello(h protocol.Hello) protocol.Welcome {
	p.t.Helper()
	h.V = protocol.Version
	b, _ := json.Marshal(h)
	p.say(protocol.UpHello, b)
	return next[protocol.Welcome](p, protocol.DnWelcome)
}

// next is the next message of a channel.
func next[T any](p *peer, ch protocol.Channel) (v T) {
	p.t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case m := <-p.heard:
			if !strings.HasSuffix(m.Topic(), string(ch)) {
				continue
			}
			if err := json.Unmarshal(m.Payload(), &v); err != nil {
				p.t.Fatal(err)
			}
			return v
		case <-late:
			p.t.Fatalf("nothing came on %s", ch)
		}
	}
}

// lied is a frame whose header says what it likes; its checksum is right.
func lied(f protocol.Frame, count, rawLen uint64, raw []byte) []byte {
	var h []byte
	num := func(n protowire.Number, v uint64) {
		h = protowire.AppendVarint(protowire.AppendTag(h, n, protowire.VarintType), v)
	}
	num(1, f.Flags)
	num(2, f.Epoch)
	num(3, f.Lease)
	num(4, f.FirstSeq)
	num(5, count)
	for n, c := range map[protowire.Number]protocol.Chain{6: f.PrevChain, 7: f.LastChain} {
		h = protowire.AppendBytes(protowire.AppendTag(h, n, protowire.BytesType), c[:])
	}
	num(8, rawLen)
	enc, _ := zstd.NewWriter(nil)
	b := protowire.AppendBytes([]byte(protocol.FrameMagic), h)
	b = enc.EncodeAll(raw, b)
	return binary.LittleEndian.AppendUint32(b, protocol.Checksum(b))
}

// TestHostileAgent has a peer with an agent's token say what no agent says. Each
// is refused and counted; neither its own mark nor another store's stock moves.
func TestHostileAgent(t *testing.T) {
	c := newChain(t)
	victim := newShop(c, "S1")
	var stolen [][]byte
	var mu sync.Mutex
	c.mischief = func(u broker.Up, pass func(broker.Up) error) error {
		if u.Channel == protocol.UpJournal && u.Origin == victim.origin {
			mu.Lock()
			stolen = append(stolen, append([]byte(nil), u.Payload...))
			mu.Unlock()
		}
		return pass(u)
	}
	victim.open()
	victim.sell(30)
	victim.settled(30)

	p := newPeer(c, protocol.Origin{Store: "S9", Agent: "server"})
	w := p.hello(protocol.Hello{InstallID: "i", BootID: "b", Tail: 1})
	if w.Epoch != 1 || w.MergedSeq != 0 {
		t.Fatalf("%+v", w)
	}
	rec := []byte{1, 2, 3}
	chained := protocol.Chain{}.Next(rec)
	raw := protowire.AppendBytes(nil, rec)
	f := protocol.Frame{Epoch: w.Epoch, Lease: w.Lease, FirstSeq: 1, LastChain: chained}
	bomb := make([]byte, 64<<20)
	with := func(fn func(*protocol.Frame)) protocol.Frame { x := f; fn(&x); return x }
	lease := w.Lease
	cases := []struct {
		name  string
		frame []byte
		nack  protocol.NackReason
	}{
		{"more records than said", lied(f, 1, uint64(2*len(raw)), append(append([]byte{}, raw...), raw...)), protocol.NackMalformed},
		{"fewer records than said", lied(f, 2, uint64(len(raw)), raw), protocol.NackMalformed},
		{"no records", lied(f, 0, 0, nil), protocol.NackMalformed},
		{"raw length too small", lied(f, 1, uint64(len(raw)-1), raw), protocol.NackMalformed},
		{"raw length too large", lied(f, 1, uint64(len(raw)+1), raw), protocol.NackMalformed},
		{"zstd bomb", lied(f, 1, protocol.FrameRawBytesMax, bomb), protocol.NackMalformed},
		{"zstd bomb that says its size", lied(f, 1, uint64(len(bomb)), bomb), protocol.NackMalformed},
		{"record that lies of its length", lied(f, 1, 4, []byte{200, 1, 2, 3}), protocol.NackMalformed},
		{"chain that does not fit", lied(with(func(x *protocol.Frame) { x.LastChain[0] ^= 1 }), 1, uint64(len(raw)), raw), protocol.NackMalformed},
		{"seq 0", lied(with(func(x *protocol.Frame) { x.FirstSeq = 0 }), 1, uint64(len(raw)), raw), protocol.NackMalformed},
		{"seq that wraps", lied(with(func(x *protocol.Frame) { x.FirstSeq = ^uint64(0) }), 1, uint64(len(raw)), raw), protocol.NackMalformed},
		{"seq far ahead", lied(with(func(x *protocol.Frame) { x.FirstSeq = 1 << 60 }), 1, uint64(len(raw)), raw), protocol.NackGap},
		{"required flag unknown", lied(with(func(x *protocol.Frame) { x.Flags = 1 << 16 }), 1, uint64(len(raw)), raw), protocol.NackUpgrade},
		{"another epoch", lied(with(func(x *protocol.Frame) { x.Epoch = 7 }), 1, uint64(len(raw)), raw), protocol.NackSuperseded},
		{"lease never given", lied(with(func(x *protocol.Frame) { x.Lease = lease + 1 }), 1, uint64(len(raw)), raw), protocol.NackSuperseded},
		{"another chain before", lied(with(func(x *protocol.Frame) { x.PrevChain[0] = 1; x.LastChain = x.PrevChain.Next(rec) }), 1, uint64(len(raw)), raw), protocol.NackChain},
		{"no frame", []byte("TWF2 whatever"), protocol.NackUpgrade},
	}
	wait(t, "the mark of the WELCOME", func() string { // it is told after the WELCOME is sent
		if m := c.mark(p.origin); m.Lease != lease {
			return fmt.Sprintf("lease %d of %d", m.Lease, lease)
		}
		return ""
	})
	before := c.mark(p.origin)
	for _, k := range cases {
		p.say(protocol.UpJournal, k.frame)
		a := next[protocol.Ack](p, protocol.DnAck)
		if a.Nack != k.nack || a.MergedSeq != 0 {
			t.Errorf("%s: %+v, want NACK %s", k.name, a, k.nack)
		}
		c.mu.Lock()
		n := c.nacks[k.nack]
		c.mu.Unlock()
		if n == 0 {
			t.Errorf("%s: not counted", k.name)
		}
	}
	if d := cmp.Diff(before, c.mark(p.origin)); d != "" {
		t.Errorf("mark moved: %s", d)
	}
	// A victim's frame, replayed under our name, and with a lease that happens to be
	// ours: events of another store are parked one by one, and count nowhere.
	p.say(protocol.UpJournal, stolen[0])
	a := next[protocol.Ack](p, protocol.DnAck)
	if a.Nack != "" || c.in.Stats().Parked != a.MergedSeq {
		t.Errorf("%+v, %d parked", a, c.in.Stats().Parked)
	}
	wait(t, "the mark that was acknowledged", func() string { // it is told after the ACK is sent
		if m := c.mark(p.origin); m.Seq != a.MergedSeq {
			return fmt.Sprintf("seq %d of %d", m.Seq, a.MergedSeq)
		}
		return ""
	})
	if got := c.sold("S1"); got != 30 {
		t.Errorf("S1 sold %d", got)
	}
	if got := c.sold("S9"); got != 0 {
		t.Errorf("S9 sold %d", got)
	}
	for name, b := range map[string]string{
		"not JSON": "{", "wrong type": `{"v":"one"}`, "no ids": `{"v":1,"tail":1}`, "tail 0": `{"v":1,"boot_id":"b","install_id":"i"}`,
		"tail beyond head": `{"v":1,"boot_id":"b","install_id":"i","tail":9,"head":3}`,
		"head beyond all":  `{"v":1,"boot_id":"b","install_id":"i","tail":1,"head":9223372036854775808}`,
		"epoch beyond all": `{"v":1,"boot_id":"b","install_id":"i","tail":1,"epoch":18446744073709551615}`,
		"lease beyond all": `{"v":1,"boot_id":"b","install_id":"i","tail":1,"lease":18446744073709551615}`,
		"id not UTF-8":     "{\"v\":1,\"boot_id\":\"\xff\xfe\",\"install_id\":\"i\",\"tail\":1}",
		"id with controls": `{"v":1,"boot_id":"b\n2026 level=error","install_id":"i","tail":1}`,
		"too long":         `{"v":1,"boot_id":"` + strings.Repeat("b", 70_000) + `"}`,
	} {
		was := c.mark(p.origin)
		p.say(protocol.UpHello, []byte(b))
		if w := next[protocol.Welcome](p, protocol.DnWelcome); w.Refused == "" {
			t.Errorf("HELLO, %s: %+v", name, w)
		}
		if d := cmp.Diff(was, c.mark(p.origin)); d != "" {
			t.Errorf("HELLO, %s: mark moved: %s", name, d)
		}
	}
	// Neither another's topic nor a made-up one is open to it.
	for _, topic := range []string{"tw/v1/S1/server/up/journal/0", "tw/v1/S9/server/dn/ack", "tw/v1/S9/server/up/nonsense", "tw/v1/S9/server/up/journal/0/1", "tw/v1/\xff/server/up/hello"} {
		q := newPeer(c, protocol.Origin{Store: "S8", Agent: "server"})
		denied := c.broker.Stats().Denied + c.broker.Stats().Rejected
		_ = q.client.Publish(topic, 0, false, stolen[0]).WaitTimeout(time.Second)
		q.client.Disconnect(50)
		if topic != "tw/v1/\xff/server/up/hello" { // the decoder ends such a connection at once
			wait(t, "refusal of "+topic, func() string {
				if s := c.broker.Stats(); s.Denied+s.Rejected > denied {
					return ""
				}
				return "not counted"
			})
		}
	}
	victim.sell(5)
	victim.settled(35)
}

// TestHostileAggregator puts a broker that lies between a real link and nothing:
// whatever it says, the journal's marks stay where they are, and it is counted.
func TestHostileAggregator(t *testing.T) {
	o := protocol.Origin{Store: "S1", Agent: "server"}
	j, err := journal.Open(journal.Options{Path: t.TempDir() + "/journal.db", Log: zerolog.Nop(), BallastBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // a test's
	for n := range 10 {
		if _, err := j.Append(t.Context(), (&shop{origin: o}).sale(int64(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.SetMerged(3, 4, 2, 7); err != nil { // it has met generation 7
		t.Fatal(err)
	}
	chain4, _ := j.ChainAt(4)
	chain9, _ := j.ChainAt(9)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hellos := make(chan protocol.Hello, 100)
	b, err := broker.New(broker.Options{Listener: ln, Log: zerolog.Nop(), Authenticate: func(protocol.Origin, string) error { return nil }, OnUp: func(u broker.Up) error {
		var h protocol.Hello
		if u.Channel == protocol.UpHello && json.Unmarshal(u.Payload, &h) == nil {
			hellos <- h
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.New(link.Options{Origin: o, Broker: "mqtt://" + ln.Addr().String(), Token: "t", Journal: j, Codec: codec(t), Log: zerolog.Nop(), Timing: quick, BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.Run(ctx) })
	wg.Go(func() { _ = l.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	before := marks(j)
	tell := func(ch protocol.Channel, v any) {
		payload, ok := v.([]byte)
		if !ok {
			payload, _ = json.Marshal(v)
		}
		if err := b.Publish(o, ch, payload); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(name string, counter func(link.Status) uint64, say func()) {
		t.Helper()
		was := counter(l.Status())
		say()
		wait(t, name, func() string {
			if counter(l.Status()) > was {
				return ""
			}
			return fmt.Sprintf("not counted: %+v", l.Status())
		})
		if d := cmp.Diff(before, marks(j)); d != "" {
			t.Errorf("%s: the journal's marks moved: %s", name, d)
		}
	}
	h := <-hellos
	if h.Generation != 7 || h.MergedSeq != 4 {
		t.Fatalf("%+v", h)
	}
	good := protocol.Welcome{V: 1, BootID: "boot", Epoch: 3, Lease: 50, MergedSeq: 4, ChainMerged: chain4, SafeSeq: 2, Generation: 7, Credit: 1, StartAfterMS: 600_000}
	with := func(fn func(*protocol.Welcome)) protocol.Welcome { w := good; fn(&w); return w }
	expect("unreadable", func(s link.Status) uint64 { return s.Unreadable }, func() { tell(protocol.DnWelcome, []byte("{\xff")) })
	expect("unreadable ack", func(s link.Status) uint64 { return s.Unreadable }, func() { tell(protocol.DnAck, []byte(`{"merged_seq":-1}`)) })
	expect("too large", func(s link.Status) uint64 { return s.Unreadable }, func() { tell(protocol.DnAck, make([]byte, protocol.ControlBytesMax+1)) })
	expect("foreign boot", func(s link.Status) uint64 { return s.Counts.WelcomesForeign }, func() { tell(protocol.DnWelcome, with(func(w *protocol.Welcome) { w.BootID = "other" })) })
	expect("ack before any session", func(s link.Status) uint64 { return s.Counts.AcksForeign }, func() {
		tell(protocol.DnAck, protocol.Ack{V: 1, Epoch: 3, MergedSeq: 9, ChainMerged: chain9, SafeSeq: 9})
	})
	expect("welcome", func(s link.Status) uint64 { return s.Counts.Welcomes }, func() { tell(protocol.DnWelcome, good) })
	ack := protocol.Ack{V: 1, Epoch: 3, Lease: 50, MergedSeq: 4, ChainMerged: chain4, SafeSeq: 2, Credit: 1}
	expect("welcome again", func(s link.Status) uint64 { return s.Counts.WelcomesForeign }, func() { tell(protocol.DnWelcome, good) })
	expect("ack of another lease", func(s link.Status) uint64 { return s.Counts.AcksForeign }, func() {
		a := ack
		a.Lease, a.MergedSeq, a.ChainMerged, a.SafeSeq = 49, 9, chain9, 9
		tell(protocol.DnAck, a)
	})
	expect("ack that goes back", func(s link.Status) uint64 { return s.Counts.AcksStale }, func() { a := ack; a.MergedSeq = 1; tell(protocol.DnAck, a) })
	expect("ack of another chain", func(s link.Status) uint64 { return s.Counts.AcksWrongChain }, func() { a := ack; a.MergedSeq = 9; tell(protocol.DnAck, a) })
	<-hellos
	expect("welcome of an older lease", func(s link.Status) uint64 { return s.Counts.WelcomesForeign }, func() { tell(protocol.DnWelcome, good) })
	expect("welcome of an older generation", func(s link.Status) uint64 { return s.Counts.WelcomesBackward }, func() {
		tell(protocol.DnWelcome, with(func(w *protocol.Welcome) {
			w.Generation, w.Lease, w.MergedSeq, w.ChainMerged, w.SafeSeq = 6, 99, 0, protocol.Chain{}, 0
		}))
	})
	if s := l.Status(); s.Session != "resting" || s.NextTry.IsZero() || time.Until(s.NextTry) > time.Minute || !strings.Contains(s.LastError, "generation 6") {
		t.Errorf("%+v", s)
	}
}

// marks are what of a journal a peer could move.
func marks(j *journal.Journal) ledger.Mark {
	s := j.State()
	return ledger.Mark{Epoch: s.Epoch, Seq: s.Merged, Chain: s.ChainMerged, SafeSeq: s.Safe, HeadSeen: s.Head, InstallID: fmt.Sprintf("%s %d %d", s.InstallID, s.Tail, s.Generation)}
}
