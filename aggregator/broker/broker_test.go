package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tillwire/protocol"
)

// desk is a running broker and what it told.
type desk struct {
	*Broker
	mu       sync.Mutex
	ups      []Up
	presence []string
	refuse   error
	log      bytes.Buffer
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func start(t testing.TB, change func(*Options)) *desk {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{}
	o := Options{
		Listener: ln,
		Log:      zerolog.New(lockedWriter{&d.mu, &d.log}),
		Authenticate: func(o protocol.Origin, token string) error {
			if token != "secret-"+o.String() {
				return errors.New("token is wrong")
			}
			return nil
		},
		OnUp: func(u Up) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.refuse != nil {
				return d.refuse
			}
			d.ups = append(d.ups, u)
			return nil
		},
		OnPresence: func(o protocol.Origin, up bool) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.presence = append(d.presence, o.String()+map[bool]string{true: " up", false: " down"}[up])
		},
	}
	if change != nil {
		change(&o)
	}
	if d.Broker, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, ok := t.(*testing.T); ok { // a fuzzer has goroutines of its own
			goleak.VerifyNone(t)
		}
	})
	return d
}

func (d *desk) told() (ups []Up, presence []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Up(nil), d.ups...), append([]string(nil), d.presence...)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); !ok(); {
		if time.Now().After(until) {
			t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// wire speaks MQTT by hand.
type wire struct {
	net.Conn
	t testing.TB
}

func (d *desk) dial(t testing.TB) *wire {
	t.Helper()
	c, err := net.Dial("tcp", d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &wire{c, t}
}

func field(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }

func packet(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out := []byte{first}
	for n := len(body); ; {
		b := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			out = append(out, b|0x80)
			continue
		}
		out = append(out, b)
		return append(out, body...)
	}
}

type hail struct {
	level     byte
	flags     byte
	keepalive byte
	id, user  string
	token     string
	will      []byte
}

func (h hail) bytes() []byte {
	parts := [][]byte{field("MQTT"), {h.level, h.flags, 0, h.keepalive}}
	if h.level == 5 {
		parts = append(parts, []byte{0})
	}
	parts = append(parts, field(h.id), h.will, field(h.user), field(h.token))
	return packet(0x10, parts...)
}

func proper(id string) hail {
	return hail{level: 4, flags: 0xc2, keepalive: 30, id: id, user: id, token: "secret-" + id}
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	if _, err := w.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// read takes n bytes, or as many as come before the end.
func (w *wire) read(n int) []byte {
	b := make([]byte, n)
	k, _ := io.ReadFull(w, b)
	return b[:k]
}

func (w *wire) wantClosed() {
	w.t.Helper()
	rest, err := io.ReadAll(w)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		w.t.Fatalf("connection is open: %v after % x", err, rest)
	}
}

func (d *desk) login(t testing.TB, h hail) *wire {
	t.Helper()
	w := d.dial(t)
	w.send(h.bytes())
	if got := w.read(4); !bytes.Equal(got, []byte{0x20, 2, 0, 0}) {
		t.Fatalf("CONNACK % x", got)
	}
	return w
}

func publish(topic string, qos byte, id byte, payload string) []byte {
	parts := [][]byte{field(topic)}
	if qos > 0 {
		parts = append(parts, []byte{0, id})
	}
	return packet(0x30|qos<<1, append(parts, []byte(payload))...)
}

func subscribe(filter string) []byte {
	return packet(0x82, []byte{0, 9}, field(filter), []byte{1})
}

// TestTruncatedSubscribe replays the 12 bytes that end the library's process
// when an MQTT 5 client sends them. Such a client is refused; and had it been
// let in, only its connection would panic.
func TestTruncatedSubscribe(t *testing.T) {
	d := start(t, nil)
	h := proper("S1/server")
	h.level = 5
	w := d.dial(t)
	w.send(h.bytes())
	w.send([]byte{0x82, 10, 0, 1, 0xff, 0xff, 0xff, 0x7f, 0x0b, 0x01, 0, 1})
	if got := w.read(4); !bytes.Equal(got, unacceptable) {
		t.Fatalf("CONNACK % x", got)
	}
	w.wantClosed()
	d.login(t, proper("S1/server"))
	if n := d.Stats().RefusedHandshake; n != 1 {
		t.Fatalf("%d refused", n)
	}
}

// TestPanicEndsOneConnection lets a callback panic in the library's midst.
func TestPanicEndsOneConnection(t *testing.T) {
	var hit sync.Once
	d := start(t, func(o *Options) {
		take := o.OnUp
		o.OnUp = func(u Up) (err error) {
			hit.Do(func() { panic("index out of range") })
			return take(u)
		}
	})
	other := d.login(t, proper("S2/server"))
	w := d.login(t, proper("S1/server"))
	w.send(publish("tw/v1/S1/server/up/hello", 1, 7, "x"))
	w.wantClosed()
	eventually(t, "presence of the broken one ends", func() bool { return d.Stats().Connected == 1 })
	other.send(publish("tw/v1/S2/server/up/hello", 1, 7, "x"))
	if got := other.read(4); !bytes.Equal(got, []byte{0x40, 2, 0, 7}) {
		t.Fatalf("PUBACK % x", got)
	}
	d.login(t, proper("S1/server")) // and it comes back
	if s := d.Stats(); s.Panics != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestStrangers(t *testing.T) {
	big := proper("S1/server")
	big.token = strings.Repeat("x", 5000)
	foreignWill := proper("S1/server")
	foreignWill.flags |= 0x04 | 0x08
	foreignWill.will = append(field("tw/v1/S2/server/up/will"), field("dead")...)
	retainedWill := proper("S1/server")
	retainedWill.flags |= 0x04 | 0x20
	retainedWill.will = append(field("tw/v1/S1/server/up/will"), field("dead")...)
	persistent := proper("S1/server")
	persistent.flags = 0xc0
	forEver := proper("S1/server")
	forEver.keepalive = 0
	otherUser := proper("S1/server")
	otherUser.user = "S2/server"
	wrong := proper("S1/server")
	wrong.token = "guess"
	v3 := packet(0x10, field("MQIsdp"), []byte{3, 2, 0, 30}, field("S1/server"))
	tests := []struct {
		name string
		send []byte
		want []byte // CONNACK, if any
	}{
		{"huge length", []byte{0x10, 0xff, 0xff, 0xff, 0x7f}, nil},
		{"5,000 byte token", big.bytes(), nil},
		{"not CONNECT", publish("tw/v1/S1/server/up/hello", 0, 0, "x"), nil},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), nil},
		{"MQTT 3.1", v3, unacceptable},
		{"foreign will", foreignWill.bytes(), nil},
		{"retained will", retainedWill.bytes(), []byte{0x20, 2, 0, 0x9a}},
		{"persistent session", persistent.bytes(), nil},
		{"no keep-alive", forEver.bytes(), nil},
		{"user is not the client id", otherUser.bytes(), nil},
		{"wrong token", wrong.bytes(), []byte{0x20, 2, 0, 5}},
		{"no slash in id", proper("S1").bytes(), nil},
		{"feed's name", proper("DC1/feed:wms").bytes(), nil},
		{"wildcard id", proper("S1/#").bytes(), nil},
		{"three parts", proper("S1/server/up").bytes(), nil},
		{"empty id", proper("").bytes(), nil},
	}
	d := start(t, nil)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			w := d.dial(t)
			_, _ = w.Write(tc.send)
			if got := w.read(4); !bytes.Equal(got, tc.want) {
				t.Fatalf("answer % x, want % x", got, tc.want)
			}
			w.wantClosed()
		})
	}
	ups, presence := d.told()
	if len(ups)+len(presence) != 0 {
		t.Fatalf("strangers were heard: %v %v", ups, presence)
	}
}

func TestACL(t *testing.T) {
	d := start(t, nil)
	for _, tc := range []struct {
		filter string
		code   byte
	}{
		{"tw/v1/S1/server/dn/#", 1},
		{"tw/v1/S1/server/dn/ack", 1},
		{"tw/v1/S1/server/up/#", 0x80},
		{"tw/v1/S2/server/dn/#", 0x80},
		{"tw/v1/S1/+/dn/#", 0x80},
		{"tw/v1/S1/server/#", 0x80},
		{"tw/v1/S1/server/dn/+", 0x80},
		{"#", 0x80},
		{"$SYS/#", 0x80},
		{"$share/g/tw/v1/S1/server/dn/#", 0x80},
	} {
		t.Run("subscribe "+tc.filter, func(t *testing.T) {
			w := d.login(t, proper("S1/server"))
			w.send(subscribe(tc.filter))
			if got := w.read(5); !bytes.Equal(got, []byte{0x90, 3, 0, 9, tc.code}) {
				t.Fatalf("SUBACK % x", got)
			}
		})
	}
	for _, topic := range []string{"tw/v1/S2/server/up/hello", "tw/v1/S1/server/dn/ack", "tw/v1/S1/server/up/other", "x"} {
		t.Run("publish "+topic, func(t *testing.T) {
			w := d.login(t, proper("S1/server"))
			w.send(publish(topic, 1, 7, "x"))
			w.wantClosed()
		})
	}
	if ups, _ := d.told(); len(ups) != 0 {
		t.Fatalf("heard %v", ups)
	}
}

func TestUpAndDown(t *testing.T) {
	d := start(t, nil)
	own := protocol.Origin{Store: "S1", Agent: "server"}
	if err := d.Publish(own, protocol.DnAck, []byte("x")); !errors.Is(err, ErrNotConnected) {
		t.Fatalf("publish to nobody: %v", err)
	}
	w := d.login(t, proper("S1/server"))
	w.send(subscribe("tw/v1/S1/server/dn/#"))
	w.read(5)
	w.send(publish("tw/v1/S1/server/up/journal/0", 1, 3, "frame"))
	if got := w.read(4); !bytes.Equal(got, []byte{0x40, 2, 0, 3}) {
		t.Fatalf("PUBACK % x", got)
	}
	if err := d.Publish(own, protocol.DnAck, []byte("merged")); err != nil {
		t.Fatal(err)
	}
	want := publish("tw/v1/S1/server/dn/ack", 1, 1, "merged")
	if got := w.read(len(want)); !bytes.Equal(got, want) {
		t.Fatalf("got % x\nwant % x", got, want)
	}
	d.mu.Lock()
	d.refuse = errors.New("busy")
	d.mu.Unlock()
	w.send(publish("tw/v1/S1/server/up/journal/0", 1, 4, "late"))
	w.send(append([]byte{0xc0, 0}, nil...)) // PINGREQ
	if got := w.read(2); !bytes.Equal(got, []byte{0xd0, 0}) {
		t.Fatalf("a refused message was answered: % x", got)
	}
	retained := publish("tw/v1/S1/server/up/hello", 1, 5, "x")
	retained[0] |= 1
	w.send(retained)
	w.send([]byte{0xc0, 0})
	if got := w.read(2); !bytes.Equal(got, []byte{0xd0, 0}) {
		t.Fatalf("a retained message was answered: % x", got)
	}
	ups, presence := d.told()
	if len(ups) != 1 || ups[0].Origin != own || ups[0].Channel != protocol.UpJournal || string(ups[0].Payload) != "frame" || ups[0].ReceivedUS == 0 {
		t.Fatalf("ups %+v", ups)
	}
	if len(presence) != 1 || presence[0] != "S1/server up" {
		t.Fatalf("presence %v", presence)
	}
	d.Disconnect(own)
	w.wantClosed()
	eventually(t, "presence ends", func() bool { _, p := d.told(); return len(p) == 2 })
	if s := d.Stats(); s.Rejected != 1 || s.Retained != 1 || s.Up != 1 || s.Down != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestOwnWillIsHandedUp(t *testing.T) {
	d := start(t, nil)
	h := proper("S1/server")
	h.flags |= 0x04 | 0x08
	h.will = append(field("tw/v1/S1/server/up/will"), field(`{"v":1}`)...)
	_ = d.login(t, h).Close()
	eventually(t, "will", func() bool { u, _ := d.told(); return len(u) == 1 && u[0].Channel == protocol.UpWill })
	w := d.login(t, h)
	w.send([]byte{0xe0, 0}) // DISCONNECT
	w.wantClosed()
	eventually(t, "end", func() bool { return d.Stats().Connected == 0 })
	if ups, _ := d.told(); len(ups) != 1 {
		t.Fatalf("a will after DISCONNECT: %v", ups)
	}
}

// TestTakeover lets one name connect again and again: the newest stays, it can
// be spoken to, and presence never crosses.
func TestTakeover(t *testing.T) {
	d := start(t, nil)
	own := protocol.Origin{Store: "S1", Agent: "server"}
	var last *wire
	for range 20 {
		w := d.login(t, proper("S1/server"))
		if last != nil {
			last.wantClosed()
		}
		w.send(subscribe("tw/v1/S1/server/dn/#"))
		w.read(5)
		last = w
	}
	if err := d.Publish(own, protocol.DnAck, []byte("you")); err != nil {
		t.Fatal(err)
	}
	if got := last.read(9); len(got) != 9 || got[0] != 0x32 {
		t.Fatalf("the newest hears % x", got)
	}
	_, presence := d.told()
	if len(presence) != 39 {
		t.Fatalf("presence %v", presence)
	}
	for i, p := range presence {
		if want := []string{"S1/server up", "S1/server down"}[i%2]; p != want {
			t.Fatalf("presence %d is %q", i, p)
		}
	}
}

func TestHandshakeDeadline(t *testing.T) {
	d := start(t, func(o *Options) { o.handshake = 300 * time.Millisecond })
	began := time.Now()
	silent, slow := d.dial(t), d.dial(t)
	slow.send(proper("S1/server").bytes()[:20])
	silent.wantClosed()
	slow.wantClosed()
	if took := time.Since(began); took < 300*time.Millisecond || took > 2*time.Second {
		t.Fatalf("closed after %s", took)
	}
}

func TestCaps(t *testing.T) {
	d := start(t, func(o *Options) { o.PerLoopbackMax = 3 })
	for range 3 {
		d.dial(t)
	}
	eventually(t, "three are counted", func() bool { return d.Stats().Open == 3 })
	d.dial(t).wantClosed()
	if n := d.Stats().RefusedCap; n != 1 {
		t.Fatalf("%d refused", n)
	}
	for _, tc := range []struct {
		addr, place string
		limit       int
	}{
		{"10.1.2.3:5", "10.1.2.3", perAddrDefault},
		{"[::ffff:10.1.2.3]:5", "10.1.2.3", perAddrDefault},
		{"[2001:db8:1:2:3:4:5:6]:7", "2001:db8:1:2::/64", perAddrDefault},
		{"[::1]:7", "loopback", 3},
		{"127.9.9.9:7", "loopback", 3},
	} {
		a, err := net.ResolveTCPAddr("tcp", tc.addr)
		if err != nil {
			t.Fatal(err)
		}
		if place, limit := d.place(a); place != tc.place || limit != tc.limit {
			t.Errorf("%s: %s, %d", tc.addr, place, limit)
		}
	}
}

func TestClientsMax(t *testing.T) {
	d := start(t, func(o *Options) { o.ClientsMax = 1 })
	d.login(t, proper("S1/server"))
	w := d.dial(t)
	w.send(proper("S2/server").bytes())
	if got := w.read(4); !bytes.Equal(got, []byte{0x20, 2, 0, 3}) {
		t.Fatalf("CONNACK % x", got)
	}
	w.wantClosed()
}

// TestFloodCostsLittle opens connections that announce 256 MiB packets: before
// the door was ours, four of them cost 512 MiB.
func TestFloodCostsLittle(t *testing.T) {
	d := start(t, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 50 {
		w := d.dial(t)
		_, _ = w.Write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
		w.wantClosed()
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Fatalf("50 strangers allocated %d bytes", got)
	}
}

func TestOversizePacketEndsTheConnection(t *testing.T) {
	d := start(t, nil)
	w := d.login(t, proper("S1/server"))
	w.send([]byte{0x32, 0x80, 0x80, 0x40}) // PUBLISH of 1 MiB
	w.wantClosed()
}

// TestStalledReaderStopsNobody has one agent that reads nothing: Publish must
// not wait for it, and its neighbour must hear at once.
func TestStalledReaderStopsNobody(t *testing.T) {
	d := start(t, nil)
	stalled := d.login(t, proper("S1/server"))
	stalled.send(subscribe("tw/v1/S1/server/dn/#"))
	stalled.read(5)
	w := d.login(t, proper("S2/server"))
	w.send(subscribe("tw/v1/S2/server/dn/#"))
	w.read(5)
	began := time.Now()
	payload := bytes.Repeat([]byte("x"), 60<<10)
	var slow bool
	for range 2000 {
		slow = slow || errors.Is(d.Publish(protocol.Origin{Store: "S1", Agent: "server"}, protocol.DnAck, payload), ErrSlow)
	}
	if err := d.Publish(protocol.Origin{Store: "S2", Agent: "server"}, protocol.DnAck, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if got := w.read(6); len(got) != 6 {
		t.Fatal("the neighbour hears nothing")
	}
	if took := time.Since(began); took > 3*time.Second || !slow {
		t.Fatalf("took %s, slow %v", took, slow)
	}
	_ = stalled.Close()
}

func TestLogHoldsNoSecrets(t *testing.T) {
	d := start(t, nil)
	wrong := proper("S1/server")
	wrong.token = "hunter2hunter2"
	w := d.dial(t)
	w.send(wrong.bytes())
	w.wantClosed()
	w = d.login(t, proper("S1/server"))
	w.send(publish("tw/v1/S2/server/up/hello", 1, 7, "4111111111111111"))
	w.wantClosed()
	eventually(t, "end", func() bool { return d.Stats().Connected == 0 })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, secret := range []string{"hunter2", "secret-", "4111111111111111"} {
		if strings.Contains(d.log.String(), secret) {
			t.Fatalf("log holds %q:\n%s", secret, d.log.String())
		}
	}
	if !strings.Contains(d.log.String(), "token is wrong") {
		t.Fatalf("log does not say why:\n%s", d.log.String())
	}
}
