package linktest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/encoding/protowire"

	"tillwire/agent/link"
	"tillwire/aggregator/broker"
	"tillwire/protocol"
	"tillwire/store/journal"
)

// said is one message of a recorded conversation.
type said struct {
	Dir     string           `json:"dir"` // up, dn
	Channel protocol.Channel `json:"channel"`
	Hex     string           `json:"hex"`
	Lost    bool             `json:"lost,omitempty"` // on its way
}

func (s said) bytes(t *testing.T) []byte {
	t.Helper()
	b, err := hex.DecodeString(s.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// transcript was recorded from the last version of the wire: bytes, both ways.
func transcript(t *testing.T) []said {
	t.Helper()
	b, err := os.ReadFile("testdata/transcript-1.json")
	var f struct {
		Messages []said `json:"messages"`
	}
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil || len(f.Messages) == 0 {
		t.Fatal(err)
	}
	return f.Messages
}

// gist is what of an answer the other side acts on.
func gist(t *testing.T, ch protocol.Channel, b []byte) string {
	t.Helper()
	if ch == protocol.DnWelcome {
		var w protocol.Welcome
		if err := json.Unmarshal(b, &w); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("WELCOME v%d boot %s epoch %d lease %d rebase %v merged %d %s safe %d refused %q", w.V, w.BootID, w.Epoch, w.Lease, w.Rebase, w.MergedSeq, w.ChainMerged, w.SafeSeq, w.Refused)
	}
	var a protocol.Ack
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("ACK v%d epoch %d lease %d merged %d %s safe %d nack %q expected %d", a.V, a.Epoch, a.Lease, a.MergedSeq, a.ChainMerged, a.SafeSeq, a.Nack, a.Expected)
}

// TestOldAgent has this aggregator hear what an old agent said: it answers each
// message as its own version did.
func TestOldAgent(t *testing.T) {
	c := newChain(t)
	p := newPeer(c, protocol.Origin{Store: "S0042", Agent: "server"})
	for _, m := range transcript(t) {
		switch {
		case m.Lost:
		case m.Dir == "up" && m.Channel == protocol.UpHeartbeat:
			p.await(p.client.Publish(protocol.Topic(p.origin, m.Channel, "0"), 0, false, m.bytes(t)))
		case m.Dir == "up":
			p.say(m.Channel, m.bytes(t))
		case m.Channel == protocol.DnWelcome || m.Channel == protocol.DnAck:
			got := next[json.RawMessage](p, m.Channel)
			if g, w := gist(t, m.Channel, got), gist(t, m.Channel, m.bytes(t)); g != w {
				t.Errorf("this version says\n%s\nthe old one said\n%s", g, w)
			}
		}
	}
	wait(t, "what the old agent sold", func() string {
		if got := c.sold("S0042"); got != 12 {
			return fmt.Sprint(got)
		}
		return ""
	})
	if len(c.nacks) != 1 || c.nacks[protocol.NackGap] != 1 {
		t.Errorf("refused: %v", c.nacks)
	}
}

// recorded is a journal that holds the transcript's records, byte for byte.
type recorded struct {
	mu      sync.Mutex // guards all below
	records [][]byte
	chains  []protocol.Chain // at seq 0, 1, …
	st      journal.State
	grown   chan struct{}
}

func (r *recorded) State() journal.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.st
	st.ChainHead, st.ChainMerged = r.chains[st.Head], r.chains[st.Merged]
	for _, rec := range r.records[st.Merged:st.Head] {
		st.BacklogBytes += uint64(len(rec))
	}
	st.BacklogEvents = st.Head - st.Merged
	return st
}

func (r *recorded) Read(from uint64, events, _ int, _ [][]byte) ([][]byte, protocol.Chain, protocol.Chain, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to := min(r.st.Head, from+uint64(events)-1)
	return r.records[from-1 : to], r.chains[from-1], r.chains[to], nil
}

func (r *recorded) ChainAt(seq uint64) (protocol.Chain, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq > r.st.Head {
		return protocol.Chain{}, errors.New("beyond the head")
	}
	return r.chains[seq], nil
}

func (r *recorded) SetMerged(epoch, merged, safe, generation uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.st.Epoch, r.st.Merged, r.st.Safe, r.st.Generation = epoch, merged, safe, generation
	return nil
}

func (r *recorded) SetLease(lease uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.st.Lease = lease
}

func (r *recorded) Appended() <-chan struct{} { return r.grown }

func (r *recorded) grow(head uint64) {
	r.mu.Lock()
	r.st.Head = head
	r.mu.Unlock()
	r.grown <- struct{}{}
}

// TestOldAggregator has this agent talk to what an old aggregator said: it follows,
// refuses nothing, and ends where the old agent ended.
func TestOldAggregator(t *testing.T) {
	o := protocol.Origin{Store: "S0042", Agent: "server"}
	messages := transcript(t)
	r := &recorded{chains: []protocol.Chain{{}}, grown: make(chan struct{}, 10)}
	var boots []string
	cdc := codec(t)
	for _, m := range messages {
		switch m.Channel { //nolint:exhaustive // the others carry no records
		case protocol.UpHello:
			var h protocol.Hello
			if err := json.Unmarshal(m.bytes(t), &h); err != nil {
				t.Fatal(err)
			}
			boots, r.st.InstallID, r.st.Tail = append(boots, h.BootID), h.InstallID, h.Tail
		case protocol.UpJournal:
			f, err := cdc.Decode(m.bytes(t))
			if err != nil {
				t.Fatal(err)
			}
			for k, rec := range f.Records {
				if f.FirstSeq+uint64(k) == uint64(len(r.records))+1 {
					r.records = append(r.records, rec)
					r.chains = append(r.chains, r.chains[len(r.chains)-1].Next(rec))
				}
			}
		}
	}
	r.st.Head = 3
	at := 0
	var l *link.Link
	for _, boot := range boots {
		l, at = talk(t, o, r, boot, messages, at)
		if s := l.Status(); s.Refused != 0 || s.Unreadable != 0 || s.UnknownTopics != 0 || s.Counts.AcksStale != 0 {
			t.Errorf("%+v", s)
		}
	}
	if st := r.State(); st.Merged != 12 || st.Safe != 12 || st.Epoch != 1 || st.Lease != 2 || at != len(messages) {
		t.Errorf("%+v at message %d", st, at)
	}
}

// talk plays the old aggregator's part to one process, until the next HELLO of the
// transcript. An answer leaves when what it answers is there.
func talk(t *testing.T, o protocol.Origin, r *recorded, boot string, messages []said, at int) (*link.Link, int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan broker.Up, 100)
	b, err := broker.New(broker.Options{Listener: ln, Log: zerolog.Nop(), Authenticate: func(protocol.Origin, string) error { return nil }, OnUp: func(u broker.Up) error { heard <- u; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.New(link.Options{Origin: o, Broker: "mqtt://" + ln.Addr().String(), Token: "t", Journal: r, Codec: codec(t), Log: zerolog.Nop(), Timing: quick, BootID: boot})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.Run(ctx) })
	wg.Go(func() { _ = l.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	await := func(ch protocol.Channel, enough func([]byte) bool) {
		for u := range heard {
			if u.Channel == ch && enough(u.Payload) {
				return
			}
		}
	}
	for began := false; at < len(messages); at++ {
		m := messages[at]
		if m.Dir == "up" && m.Channel == protocol.UpHello {
			if began {
				return l, at
			}
			began = true
			await(m.Channel, func([]byte) bool { return true })
			continue
		}
		if m.Dir != "dn" {
			continue
		}
		var a protocol.Ack
		if m.Channel == protocol.DnAck {
			if err := json.Unmarshal(m.bytes(t), &a); err != nil {
				t.Fatal(err)
			}
			want := a.MergedSeq
			if a.Nack != "" {
				want = a.Expected
			}
			if r.State().Head < want {
				r.grow(map[uint64]uint64{5: 5, 6: 8, 12: 12}[want])
			}
			await(protocol.UpJournal, func(b []byte) bool {
				f, err := codec(t).Decode(b)
				return err == nil && f.LastSeq() >= want && f.Epoch == a.Epoch && f.Lease == a.Lease
			})
		}
		if err := b.Publish(o, m.Channel, m.bytes(t)); err != nil {
			t.Fatal(err)
		}
		if m.Channel == protocol.DnAck && a.Nack == "" {
			wait(t, "ack is believed", func() string {
				if r.State().Merged == a.MergedSeq {
					return ""
				}
				return fmt.Sprintf("%+v", l.Status())
			})
		}
	}
	return l, at
}

// TestNewerPeer has a peer say what only a later version knows: what may be skipped
// is skipped, what may not is refused with NACK(upgrade), and the agent waits.
func TestNewerPeer(t *testing.T) {
	c := newChain(t)
	p := newPeer(c, protocol.Origin{Store: "S9", Agent: "server"})
	p.say(protocol.UpHello, []byte(`{"v":1,"install_id":"i","boot_id":"b","tail":1,"head":0,"quantum":{"state":["up"]},"mood":"fine"}`))
	w := next[protocol.Welcome](p, protocol.DnWelcome)
	s := &shop{origin: p.origin}
	rec := protocol.AppendRecord(nil, 1, s.sale(1))
	raw := protowire.AppendBytes(nil, rec)
	f := protocol.Frame{Flags: 1 << 9, Epoch: w.Epoch, Lease: w.Lease, FirstSeq: 1, LastChain: protocol.Chain{}.Next(rec)}
	p.say(protocol.UpJournal, widened(lied(f, 1, uint64(len(raw)), raw)))
	if a := next[protocol.Ack](p, protocol.DnAck); a.Nack != "" || a.MergedSeq != 1 {
		t.Errorf("optional flag and fields: %+v", a)
	}
	f.FirstSeq, f.PrevChain, f.Flags = 2, f.LastChain, 1<<40
	f.LastChain = f.PrevChain.Next(rec)
	p.say(protocol.UpJournal, lied(f, 1, uint64(len(raw)), raw))
	if a := next[protocol.Ack](p, protocol.DnAck); a.Nack != protocol.NackUpgrade || a.MergedSeq != 1 {
		t.Errorf("required flag: %+v", a)
	}
	p.say(protocol.UpHello, []byte(`{"v":2,"install_id":"i","boot_id":"b","tail":1,"head":0}`))
	if w := next[protocol.Welcome](p, protocol.DnWelcome); !strings.Contains(w.Refused, "version is 2") {
		t.Errorf("another major version: %+v", w)
	}
	if c.nacks[protocol.NackUpgrade] != 2 {
		t.Errorf("refused: %v", c.nacks)
	}
}

// widened adds fields to a frame's header that no version knows yet.
func widened(b []byte) []byte {
	h, n := protowire.ConsumeBytes(b[4:])
	h = protowire.AppendVarint(protowire.AppendTag(append([]byte(nil), h...), 99, protowire.VarintType), 7)
	h = protowire.AppendString(protowire.AppendTag(h, 100, protowire.BytesType), "later")
	out := protowire.AppendBytes([]byte(protocol.FrameMagic), h)
	out = append(out, b[4+n:len(b)-4]...)
	return binary.LittleEndian.AppendUint32(out, protocol.Checksum(out))
}
