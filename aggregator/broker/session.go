package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"tillwire/protocol"
)

var (
	errDisconnected = errors.New("disconnected by the aggregator")
	errTakenOver    = errors.New("another connection speaks for this agent")
	errClosing      = errors.New("broker is closing")
)

// session is one authenticated connection.
//
// At most one per origin: a newcomer stops the former one and waits until it is
// gone before it is let in. The library's own takeover is never reached; it can
// remove the newcomer's subscriptions while the former connection cleans up.
//
//	authenticated → enter (former one stopped and gone) → ready → leave
type session struct {
	origin protocol.Origin
	caller Caller
	cl     *mqtt.Client
	down   chan message
	ready  atomic.Bool   // CONNACK is sent
	done   chan struct{} // closed when all of it is gone
	ended  chan struct{} // closed when its connection is
}

type message struct {
	topic   string
	payload []byte
}

// parseOrigin reads a client id: store/agent.
func parseOrigin(id string) (protocol.Origin, error) {
	store, agent, ok := strings.Cut(id, "/")
	if !ok {
		return protocol.Origin{}, fmt.Errorf("client id %q is not store/agent", id)
	}
	if err := protocol.CheckName(store); err != nil {
		return protocol.Origin{}, fmt.Errorf("store %q %w", store, err)
	}
	if err := protocol.CheckName(agent); err != nil {
		return protocol.Origin{}, fmt.Errorf("agent %q %w", agent, err)
	}
	return protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}, nil
}

// enter makes cl the one connection of its origin. It runs on the connection's
// own goroutine.
func (b *Broker) enter(who Caller, cl *mqtt.Client) (*session, error) {
	o := who.Origin
	s := &session{origin: o, caller: who, cl: cl, down: make(chan message, downQueueMax), done: make(chan struct{}), ended: make(chan struct{})}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errClosing
	}
	former := b.sessions[o]
	b.sessions[o] = s
	b.mu.Unlock()
	if former == nil {
		return s, nil
	}
	b.n.takeovers.Add(1)
	former.cl.Stop(errTakenOver)
	t := time.NewTimer(takeoverTimeout)
	defer t.Stop()
	select {
	case <-former.done:
		return s, nil
	case <-t.C:
		b.leave(s)
		return nil, fmt.Errorf("enter %s: former connection does not end", o)
	}
}

// established opens the way down. The library has sent the CONNACK.
func (b *Broker) established(s *session) {
	s.ready.Store(true)
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		b.pump(s)
	}()
	b.o.OnPresence(s.origin, true)
}

// pump writes what Publish queued. The library takes a client's write lock to
// number a packet; only this goroutine waits where that client does not read.
func (b *Broker) pump(s *session) {
	for {
		select {
		case <-s.ended:
			return
		case m := <-s.down:
			if err := b.server.Publish(m.topic, m.payload, false, 1); err != nil {
				b.n.downDropped.Add(1)
			}
		}
	}
}

// leave removes what a connection left behind, also after a panic in the middle
// of the library's own clean-up.
func (b *Broker) leave(s *session) {
	if s == nil {
		return
	}
	s.cl.Stop(nil)
	if now, ok := b.server.Clients.Get(s.cl.ID); ok && now == s.cl {
		s.cl.ClearInflights()
		b.server.UnsubscribeClient(s.cl)
		b.server.Clients.Delete(s.cl.ID)
	}
	close(s.ended)
	if s.ready.Swap(false) {
		b.o.OnPresence(s.origin, false)
	}
	b.mu.Lock()
	if b.sessions[s.origin] == s {
		delete(b.sessions, s.origin)
	}
	b.mu.Unlock()
	close(s.done)
}
