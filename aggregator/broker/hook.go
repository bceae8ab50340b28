package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"tillwire/protocol"
)

// hook is the one hook of the library. Hooks are OR-ed there and default to
// allow; this one answers everything that decides, and denies by default.
type hook struct {
	mqtt.HookBase
	b *Broker
}

// ID names the hook in the library's log.
func (h *hook) ID() string { return "tillwire" }

// Provides lists what is called.
func (h *hook) Provides(what byte) bool {
	switch what {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablished, mqtt.OnSubscribe,
		mqtt.OnPublish, mqtt.OnPublishDropped, mqtt.OnWill:
		return true
	}
	return false
}

// OnConnect refuses what no agent of ours would say.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	if err := checkConnect(cl, &pk); err != nil {
		h.b.n.refusedAuth.Add(1)
		h.b.log.Warn().Str("remote", cl.Net.Remote).Err(err).Msg("connection refused")
		return err
	}
	return nil
}

func checkConnect(cl *mqtt.Client, pk *packets.Packet) error {
	c := &pk.Connect
	switch {
	case pk.ProtocolVersion != 4:
		return errProtocol
	case !c.Clean:
		return errors.New("only clean sessions are served")
	case c.Keepalive == 0 || c.Keepalive > keepaliveMaxS:
		return fmt.Errorf("keep-alive is %d s, must be 1 to %d", c.Keepalive, keepaliveMaxS)
	case !c.UsernameFlag || string(c.Username) != cl.ID:
		return errors.New("user name must be the client id, with the agent's token as password")
	case len(c.Password) > tokenBytesMax: // a missing one is for Authenticate to judge: development asks for none
		return fmt.Errorf("token must have at most %d bytes", tokenBytesMax)
	}
	o, err := parseOrigin(cl.ID)
	if err != nil || !c.WillFlag {
		return err
	}
	// Wills bypass the library's ACL: whoever could name a foreign topic here
	// could speak for another store.
	switch {
	case c.WillTopic != protocol.Topic(o, protocol.UpWill, ""):
		return errors.New("will is not on the agent's own up/will")
	case c.WillRetain || c.WillQos > 1 || len(c.WillPayload) > willBytesMax:
		return fmt.Errorf("will must be QoS 0 or 1, not retained, and at most %d bytes", willBytesMax)
	}
	return nil
}

// OnConnectAuthenticate verifies the token and makes this the origin's one
// connection.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	o, err := parseOrigin(cl.ID)
	c, ok := cl.Net.Conn.(*conn)
	var who Caller
	if err == nil && ok {
		who, err = h.b.identify(c, o, string(pk.Connect.Password))
	}
	if err != nil || !ok {
		h.b.n.refusedAuth.Add(1)
		h.b.log.Warn().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Str("remote", cl.Net.Remote).Err(err).Msg("agent refused")
		return false
	}
	s, err := h.b.enter(who, cl)
	if err != nil {
		h.b.log.Warn().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Err(err).Msg("agent not let in")
		return false
	}
	c.session = s
	return true
}

var errNotOwnName = errors.New("client id is not the name in the certificate")

// identify says who a connection is: by its certificate where it showed one, else by
// its token. Nothing else that it says of itself is believed.
func (b *Broker) identify(c *conn, o protocol.Origin, token string) (Caller, error) {
	if b.o.Identify == nil || len(c.shown) == 0 {
		return Caller{Origin: o, Since: b.o.Now()}, b.o.Authenticate(o, token)
	}
	who, err := b.o.Identify(c.shown)
	if err != nil {
		return Caller{}, err
	}
	if who.Origin != o {
		return Caller{}, fmt.Errorf("%w: it names %s", errNotOwnName, who.Origin)
	}
	who.Since = b.o.Now()
	return who, nil
}

// OnSessionEstablished is called behind the CONNACK.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	if s := sessionOf(cl); s != nil {
		h.b.established(s)
	}
}

func sessionOf(cl *mqtt.Client) *session {
	if c, ok := cl.Net.Conn.(*conn); ok {
		return c.session
	}
	return nil
}

// OnACLCheck is the one rule: up/# is for publishing, dn/# for subscribing, both
// under the agent's own prefix; the only wildcard is the whole of dn/#.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	s := sessionOf(cl)
	if s == nil {
		return false
	}
	if allowed(s.origin, topic, write) {
		return true
	}
	h.b.n.denied.Add(1)
	h.b.log.Warn().Str("store", string(s.origin.Store)).Str("agent", string(s.origin.Agent)).Bool("write", write).Msg("topic denied")
	return false
}

func allowed(own protocol.Origin, topic string, write bool) bool {
	if !write && topic == protocol.TopicPrefix+own.String()+"/dn/#" {
		return true
	}
	o, ch, _, ok := protocol.ParseTopic(topic)
	if !ok || o != own {
		return false
	}
	if write {
		return strings.HasPrefix(string(ch), "up/")
	}
	return strings.HasPrefix(string(ch), "dn/")
}

// OnSubscribe bounds one SUBSCRIBE; what is cut off is not subscribed.
func (h *hook) OnSubscribe(_ *mqtt.Client, pk packets.Packet) packets.Packet {
	if len(pk.Filters) > filtersMax {
		h.b.n.denied.Add(1)
		pk.Filters = pk.Filters[:filtersMax]
	}
	return pk
}

// OnPublish hands a message up. Accepted: the library acknowledges and routes it
// nowhere. Refused: no PUBACK; the agent's own time-out repeats it.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil // on its way down
	}
	s := sessionOf(cl)
	if s == nil {
		return pk, packets.ErrRejectPacket
	}
	if pk.FixedHeader.Retain {
		h.b.n.retained.Add(1)
		return pk, packets.ErrRejectPacket
	}
	_, ch, _, ok := protocol.ParseTopic(pk.TopicName)
	if !ok {
		h.b.n.denied.Add(1)
		return pk, packets.ErrRejectPacket
	}
	if s.caller.RenewOnly && ch != protocol.UpRenew {
		h.b.n.rejected.Add(1)
		return pk, packets.ErrRejectPacket
	}
	// The library decodes each packet from a buffer of its own, so the payload
	// is ours to give away.
	err := h.b.o.OnUp(Up{Origin: s.origin, Channel: ch, Payload: pk.Payload, ReceivedUS: h.b.o.Now().UnixMicro(), Caller: s.caller})
	if err != nil {
		h.b.n.rejected.Add(1)
		return pk, packets.ErrRejectPacket
	}
	h.b.n.up.Add(1)
	return pk, packets.CodeSuccessIgnore
}

// OnPublishDropped counts messages down that the library's queue had no room for.
func (h *hook) OnPublishDropped(*mqtt.Client, packets.Packet) { h.b.n.downDropped.Add(1) }

// OnWill hands the will up by the same way and takes it from the library.
func (h *hook) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	atomic.StoreUint32(&cl.Properties.Will.Flag, 0)
	if s := sessionOf(cl); s != nil && will.TopicName == protocol.Topic(s.origin, protocol.UpWill, "") {
		h.b.n.wills.Add(1)
		err := h.b.o.OnUp(Up{Origin: s.origin, Channel: protocol.UpWill, Payload: will.Payload, ReceivedUS: h.b.o.Now().UnixMicro()})
		if err != nil {
			h.b.n.rejected.Add(1)
		}
	}
	return will, nil
}
