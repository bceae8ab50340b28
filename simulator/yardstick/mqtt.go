package yardstick

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Mochi is the embedded broker with a hook that counts what arrives: no check of
// who sends, and what is in it is thrown away.
type Mochi struct {
	Addr    string
	Arrived atomic.Int64

	server *mochi.Server
}

// counter is a hook that counts published messages and lets everybody in.
type counter struct {
	mochi.HookBase

	n *atomic.Int64
}

func (*counter) ID() string { return "counter" }

func (*counter) Provides(b byte) bool {
	return bytes.Contains([]byte{mochi.OnPublish, mochi.OnConnectAuthenticate, mochi.OnACLCheck}, []byte{b})
}

func (*counter) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*counter) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

func (c *counter) OnPublish(_ *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	c.n.Add(1)
	return pk, nil
}

// StartMochi serves on loopback.
func StartMochi() (*Mochi, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	m := &Mochi{Addr: l.Addr().String(), server: mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})}
	if err := errors.Join(m.server.AddHook(&counter{n: &m.Arrived}, nil), m.server.AddListener(listeners.NewNet("bare", l))); err != nil {
		return nil, fmt.Errorf("make broker: %w", err)
	}
	if err := m.server.Serve(); err != nil {
		return nil, fmt.Errorf("serve broker: %w", err)
	}
	return m, nil
}

// Close ends it.
func (m *Mochi) Close() error { return m.server.Close() }

// mqttWait bounds one step of an MQTT client.
const mqttWait = 30 * time.Second

func connect(addr, id string) (paho.Client, error) {
	o := paho.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(id).SetAutoReconnect(false).SetOrderMatters(false).
		SetWriteTimeout(mqttWait).SetConnectTimeout(mqttWait).SetMessageChannelDepth(1024)
	c := paho.NewClient(o)
	return c, settled(c.Connect(), "connect")
}

func settled(t paho.Token, what string) error {
	if !t.WaitTimeout(mqttWait) {
		return fmt.Errorf("%s: no answer within %s", what, mqttWait)
	}
	if err := t.Error(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Publisher is one connected client.
type Publisher struct{ c paho.Client }

// Dial connects one.
func Dial(addr, id string) (*Publisher, error) {
	c, err := connect(addr, id)
	return &Publisher{c}, err
}

// Close takes leave of the broker.
func (p *Publisher) Close() { p.c.Disconnect(100) }

// Send publishes messages with QoS 1, window of them unanswered, and returns when
// the broker has answered all. pack makes each one at its turn; nil: they are made.
func (p *Publisher) Send(topic string, messages [][]byte, window int, pack func([]byte) ([]byte, error)) (err error) {
	open := make([]paho.Token, 0, window)
	for _, m := range messages {
		if pack != nil {
			if m, err = pack(m); err != nil {
				return err
			}
		}
		if len(open) == window {
			if err := settled(open[0], "publish"); err != nil {
				return err
			}
			open = append(open[:0], open[1:]...)
		}
		open = append(open, p.c.Publish(topic, 1, false, m))
	}
	for _, t := range open {
		if err := settled(t, "publish"); err != nil {
			return err
		}
	}
	return nil
}

// Count subscribes with QoS 1 and counts what arrives; stop ends it.
func Count(addr, topic string, n *atomic.Int64) (stop func(), err error) {
	c, err := connect(addr, "counter")
	if err != nil {
		return nil, err
	}
	if err := settled(c.Subscribe(topic, 1, func(paho.Client, paho.Message) { n.Add(1) }), "subscribe"); err != nil {
		c.Disconnect(100)
		return nil, err
	}
	return func() { c.Disconnect(100) }, nil
}
