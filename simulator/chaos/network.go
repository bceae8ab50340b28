package chaos

import (
	"tillwire/agent/link"
	"tillwire/protocol"
)

// network carries messages between links and the aggregator's door. It is worse
// than MQTT over TCP: what is under way may be lost, doubled, delayed, garbled and
// reordered one by one, and may arrive after its connection ended.
type network struct {
	w        *world
	lossP    float64
	dupP     float64
	againP   float64 // comes once more, minutes to hours later
	garbleP  float64
	delayUS  int64
	external bool // the broker survives the aggregator
	flying   int
}

func newNetwork(w *world) network {
	r := stream(w.c.Seed, "network")
	n := network{w: w, delayUS: 20_000, external: r.IntN(3) == 0}
	p := func(f Fault, most float64) float64 {
		x := r.Float64() * most
		if !w.c.Faults.Has(f) {
			return 0
		}
		return x
	}
	n.lossP, n.dupP, n.againP = p(Loss, 0.3), p(Duplicate, 0.3), p(Duplicate, 0.05)
	n.garbleP = p(Garble, 0.05)
	n.delayUS += int64(p(Delay, 10) * float64(second))
	return n
}

// transit is how long one message takes; -1: it is lost.
func (n *network) transit() int64 {
	w := n.w
	if w.healed {
		return w.about(20_000)
	}
	if w.chance(n.lossP) {
		w.n.Lost++
		return -1
	}
	us := w.about(n.delayUS)
	if w.has(Reorder) && w.chance(0.2) {
		us += w.about(3 * second)
	}
	return us
}

// carry has a message arrive, perhaps never, perhaps twice. arrive gets a payload
// of its own.
func (n *network) carry(ch protocol.Channel, payload []byte, arrive func([]byte)) {
	w := n.w
	payload = n.garbled(ch, payload)
	w.n.Messages++
	copies := 1
	if !w.healed && w.chance(n.dupP) {
		copies++
		w.n.Duplicated++
	}
	for range copies {
		if us := n.transit(); us >= 0 {
			n.fly(us, payload, arrive)
		}
	}
	// Not a HELLO: to answer for a process that is long dead is to see a copy of it.
	if !w.healed && ch != protocol.UpHello && w.chance(n.againP) {
		w.n.Duplicated++
		n.fly(w.about(30*minute), payload, arrive)
	}
}

// garbled flips a bit now and then. TCP and TLS stand against that; frames are
// checked end to end all the same, other messages are not.
func (n *network) garbled(ch protocol.Channel, payload []byte) []byte {
	w := n.w
	if w.healed || ch != protocol.UpJournal || !w.chance(n.garbleP) {
		return payload
	}
	payload = append([]byte(nil), payload...)
	payload[w.rng.IntN(len(payload))] ^= 1 << w.rng.IntN(8)
	return payload
}

func (n *network) fly(us int64, payload []byte, arrive func([]byte)) {
	w := n.w
	if n.flying++; n.flying > flightsMax {
		w.violate("E", "%d messages are under way", n.flying)
		return
	}
	w.after(us, func() {
		n.flying--
		arrive(payload)
	})
}

// line is one MQTT connection of a host.
type line struct {
	h          *host
	up, down   bool // direction works
	open       bool
	generation int // of the host's process
}

// dial connects a host, if it can.
func (n *network) dial(h *host) {
	w := n.w
	if h.line != nil || !h.running || !w.cloud.reachable() || h.outageUntil > w.now {
		return
	}
	for _, o := range w.hosts { // one client id: the newer connection takes over
		if o != h && o.origin == h.origin && o.line != nil {
			n.cut(o, "taken over")
		}
	}
	h.line = &line{h: h, up: true, down: true, open: true, generation: h.generation}
	w.log("%s connects", h)
	h.say(h.link.Connected())
	h.wake()
}

// cut ends a connection; the link notices.
func (n *network) cut(h *host, why string) {
	l := h.line
	if l == nil {
		return
	}
	l.open, h.line = false, nil
	n.w.log("%s loses its connection: %s", h, why)
	if h.running && l.generation == h.generation {
		h.link.Lost()
		h.redial()
	}
}

// up takes what a host says to the broker.
func (n *network) up(h *host, said []link.Said) {
	l := h.line
	if l == nil || !l.up {
		return
	}
	for _, m := range said {
		if m.Channel == protocol.UpJournal {
			n.w.n.Frames++
		}
		origin := h.origin
		n.carry(m.Channel, m.Payload, func(b []byte) { n.w.cloud.hear(origin, m.Channel, b) })
	}
}

// down takes what the aggregator says to an agent: whoever is connected under that
// name when it arrives hears it.
func (n *network) down(o protocol.Origin, ch protocol.Channel, payload []byte) {
	n.carry(ch, payload, func(b []byte) {
		for _, h := range n.w.hosts {
			if h.origin == o && h.line != nil && h.line.down && h.running {
				h.hear(ch, b)
			}
		}
	})
}
