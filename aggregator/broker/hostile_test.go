package broker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/protocol"
)

// FuzzHostilePackets sends bytes twice: as a stranger's first words, and behind
// a proper login. Whatever they are, the connection ends, the process lives, a
// neighbour is served and hears nothing that is not for it, and nobody has
// spoken in another agent's name.
func FuzzHostilePackets(f *testing.F) {
	const hostile, neighbour = "S1/fuzz", "S2/neighbour"
	for _, b := range [][]byte{
		{},
		proper(hostile).bytes(),
		proper(neighbour).bytes(), // with its token, which is wrong here
		publish("tw/v1/S1/fuzz/up/hello", 1, 7, "{}"),
		publish("tw/v1/S2/neighbour/up/hello", 1, 7, "{}"),
		publish("tw/v1/S2/neighbour/dn/ack", 1, 7, "{}"),
		publish("tw/v1/S1/fuzz/up/journal/0", 2, 7, "TWF1"),
		publish("$SYS/broker/version", 0, 0, "x"),
		subscribe("tw/v1/S1/fuzz/dn/#"), subscribe("tw/v1/+/+/up/#"), subscribe("$share/g/#"), subscribe("#"),
		packet(0xa2, []byte{0, 9}, field("tw/v1/S1/fuzz/dn/#")),
		{0xc0, 0},
		{0xe0, 0},
		{0x40, 2, 0, 1},
		{0x50, 2, 0, 1},
		{0x62, 2, 0, 1},
		{0x70, 2, 0, 1},
		{0xf0, 0},
		{0x00, 0},
		{0x82, 10, 0, 1, 0xff, 0xff, 0xff, 0x7f, 0x0b, 0x01, 0, 1}, // ends the bare library, said by MQTT 5
		{0x30, 0xff, 0xff, 0xff, 0x7f},
		{0x30, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x30, 2, 0xff, 0xff},
		{0x82, 2, 0, 1},
		{0x31, 0},
		packet(0x10, field("MQTT"), []byte{5, 2, 0, 30, 0xff, 0xff, 0xff, 0x7f}, field("a")),
		append(publish("tw/v1/S1/fuzz/up/will", 1, 1, "x"), subscribe("tw/v1/S1/fuzz/dn/ack")...),
	} {
		f.Add(b)
	}
	var foreign atomic.Value
	d := start(f, func(o *Options) {
		o.Authenticate = func(o protocol.Origin, token string) error {
			if token == "secret-"+hostile && o.String() == hostile || token == "other" && o.String() == neighbour {
				return nil
			}
			return errors.New("token is wrong")
		}
		o.OnUp = func(u Up) error {
			if u.Origin.String() != hostile {
				foreign.Store(u.Origin.String() + " " + string(u.Channel))
			}
			return nil
		}
	})
	beside := proper(neighbour)
	beside.token, beside.keepalive = "other", 255
	near := d.login(f, beside)
	near.send(subscribe("tw/v1/S2/neighbour/dn/#"))
	if got := near.read(5); !bytes.Equal(got, []byte{0x90, 3, 0, 9, 1}) {
		f.Fatalf("SUBACK % x", got)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, first := range [][]byte{nil, proper(hostile).bytes()} {
			say(t, d.Addr(), first, b)
		}
		near := &wire{near.Conn, t}
		_ = near.SetDeadline(time.Now().Add(10 * time.Second))
		near.send([]byte{0xc0, 0})
		if got := near.read(2); !bytes.Equal(got, []byte{0xd0, 0}) {
			t.Fatalf("the neighbour's PINGRESP is % x", got)
		}
		if who := foreign.Load(); who != nil {
			t.Fatalf("bytes of %s speak for %s", hostile, who)
		}
	})
}

// say writes, half closes, and waits for the other side to end the connection.
func say(t *testing.T, addr string, parts ...[]byte) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(bytes.Join(parts, nil)); err != nil {
		return // refused before all was said
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_, err = io.Copy(io.Discard, c)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		t.Fatal("the connection is still open after 10 s")
	}
}
