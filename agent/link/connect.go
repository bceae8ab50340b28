package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"tillwire/protocol"
)

// The MQTT client is used once per connection and believed in nothing: it
// reconnects never, keeps nothing, and its tokens move no cursor (a token is
// done without error when the broker drops the link without a PUBACK).

// connection is one life of an MQTT client.
type connection struct {
	client mqtt.Client
	lost   chan struct{} // closed by fail: whoever waits hears of it, however often
	why    error         // written before lost is closed
	failed sync.Once
	out    chan outgoing
	quit   chan struct{} // closed by close

	mu  sync.Mutex
	raw net.Conn
}

// outgoing is one message on its way to the client.
type outgoing struct {
	topic   string
	qos     byte
	payload []byte
}

// message is one control message from the aggregator.
type message struct {
	from    *connection
	channel protocol.Channel
	payload []byte
	gotUS   int64 // wall clock
}

// attempt makes one connection and works it until it ends. up is how long it
// lasted; 0 where there was none.
func (l *Link) attempt(ctx context.Context) (up time.Duration, err error) {
	c, err := l.connect(ctx)
	if err != nil {
		l.update(func(s *Status) { s.DialErrors++; s.Unwelcome = errors.Is(err, packets.ErrorRefusedNotAuthorised) })
		return 0, err
	}
	began := time.Now()
	l.update(func(s *Status) {
		if s.Connected, s.Unwelcome = true, false; s.Counts.Hellos > 0 {
			s.Reconnects++
		}
		s.Since = l.o.Now()
	})
	l.lastDown = ""
	l.letIn()
	l.o.Log.Info().Str("broker", l.o.Broker).Msg("link is up")
	err = l.converse(ctx, c)
	c.close()
	l.update(func(s *Status) { s.Connected, s.Session, s.Since = false, offline.String(), l.o.Now() })
	return max(time.Since(began), 1), err
}

// connect dials, says CONNECT and subscribes to dn/#.
func (l *Link) connect(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timing.ConnectTimeout)
	defer cancel()
	c := &connection{lost: make(chan struct{}), out: make(chan outgoing), quit: make(chan struct{})}
	will, err := protocol.EncodeControl(protocol.Will{V: protocol.Version, Lease: l.o.Journal.State().Lease, BootID: l.o.BootID})
	if err != nil {
		return nil, fmt.Errorf("encode will: %w", err)
	}
	c.client = mqtt.NewClient(l.clientOptions(ctx, c, will))
	// A context that ends closes the connection under the client's CONNECT.
	stop := context.AfterFunc(ctx, c.cut)
	token := c.client.Connect()
	<-token.Done()
	if !stop() || token.Error() != nil {
		c.close()
		return nil, fmt.Errorf("connect to %s: %w", l.o.Broker, errors.Join(ctx.Err(), token.Error()))
	}
	if err := l.subscribe(ctx, c); err != nil {
		c.close()
		return nil, err
	}
	l.pumps.Add(1)
	go func() {
		defer l.pumps.Done()
		c.pump()
	}()
	return c, nil
}

// pump hands messages to the client one after the other. The client's Publish
// waits for its writer even where that has ended with the connection; so it is
// given little time, again and again, and only this goroutine waits for it.
func (c *connection) pump() {
	for {
		select {
		case <-c.quit:
			return
		case m := <-c.out:
			if !c.hand(m) {
				return
			}
		}
	}
}

func (c *connection) hand(m outgoing) bool {
	for {
		began := time.Now()
		token := c.client.Publish(m.topic, m.qos, false, m.payload)
		select {
		case <-token.Done():
		default:
			return true // taken; whether it arrives is not asked
		}
		err := token.Error()
		if err == nil {
			return true
		}
		select {
		case <-c.quit:
			return false
		default:
		}
		if !c.client.IsConnectionOpen() || time.Since(began) < handTimeout/2 {
			// Not the writer's time-out: no connection, or no message id is free.
			c.fail(fmt.Errorf("publish: %w", err))
			return false
		}
	}
}

func (l *Link) clientOptions(ctx context.Context, c *connection, will []byte) *mqtt.ClientOptions {
	id := l.o.Origin.String()
	return mqtt.NewClientOptions().
		AddBroker("tcp://"+l.host). // a name only: the connection is opened below
		SetClientID(id).SetUsername(id).SetPassword(l.o.Token).
		SetProtocolVersion(4).SetCleanSession(true).
		SetAutoReconnect(false).SetConnectRetry(false).
		SetOrderMatters(false).SetStore(noStore{}).SetResumeSubs(false).
		SetKeepAlive(30*time.Second).SetPingTimeout(10*time.Second).SetWriteTimeout(handTimeout).
		SetConnectTimeout(l.o.Timing.ConnectTimeout).
		SetBinaryWill(protocol.Topic(l.o.Origin, protocol.UpWill, ""), will, 1, false).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.fail(err) }).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return l.open(ctx, c) })
}

// open dials, and shakes hands where the broker's address says mqtts.
func (l *Link) open(ctx context.Context, c *connection) (net.Conn, error) {
	raw, err := l.o.Dial(ctx, "tcp", l.host)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.raw = raw
	c.mu.Unlock()
	if ctx.Err() != nil {
		_ = raw.Close()
		return nil, ctx.Err()
	}
	if !l.secure {
		return patient{raw}, nil
	}
	cfg := l.o.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(l.host)
	}
	t := tls.Client(raw, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("tls handshake: %w", err)
	}
	return patient{t}, nil
}

// patient gives each write its full time: the client's own time-out is that of
// handing over.
type patient struct{ net.Conn }

func (p patient) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() {
		t = time.Now().Add(writeTimeout)
	}
	return p.Conn.SetWriteDeadline(t)
}

func (l *Link) subscribe(ctx context.Context, c *connection) error {
	filter := protocol.TopicPrefix + l.o.Origin.String() + "/dn/#"
	token := c.client.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) { l.receive(c, m) })
	select {
	case <-token.Done():
	case <-c.lost:
		return fmt.Errorf("subscribe: %w", c.why)
	case <-ctx.Done():
		return fmt.Errorf("subscribe: %w", ctx.Err())
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	// A denied SUBSCRIBE is no error to the client: only its result says so.
	if s, ok := token.(*mqtt.SubscribeToken); ok {
		if qos, ok := s.Result()[filter]; ok && qos > 2 {
			return fmt.Errorf("subscribe: broker denies %s", filter)
		}
	}
	return nil
}

// receive only enqueues. The queue is bounded; what it drops is asked for again
// by the session's time-outs.
func (l *Link) receive(c *connection, m mqtt.Message) {
	o, ch, _, ok := protocol.ParseTopic(m.Topic())
	if !ok || o != l.o.Origin {
		l.update(func(s *Status) { s.UnknownTopics++ })
		return
	}
	select {
	case l.inbox <- message{c, ch, m.Payload(), l.o.Now().UnixMicro()}:
	default:
		l.update(func(s *Status) { s.InboxDropped++ })
	}
}

// fail tells that the connection is over; the first reason stands.
func (c *connection) fail(err error) {
	c.failed.Do(func() { c.why = err; close(c.lost) })
}

// cut closes the network connection, whatever the client thinks.
func (c *connection) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw != nil {
		_ = c.raw.Close()
	}
}

// close says DISCONNECT where that is still possible.
func (c *connection) close() {
	close(c.quit)
	c.client.Disconnect(disconnectMS)
	c.cut()
}

// noStore keeps nothing: the journal does.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
