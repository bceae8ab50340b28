package ingest

import (
	"tillwire/protocol"
)

// tell sends a store's agents what they must know of reservations, whole: the
// tasks, and what is held there. It is desired state: sent at each HELLO, when it
// changes, and again until the agent's heartbeat says that it has it.
func (i *Ingest) tell(o protocol.Origin, nowUS int64) {
	tasks, held, rev := i.eng.Book.Tasks(o.Store, nowUS)
	if len(held) > holdsHeldMax {
		held = held[:holdsHeldMax]
	}
	list := paged(tasks, held)
	for n := range list {
		m := &list[n]
		m.V, m.Gen, m.Rev, m.Part, m.Parts = protocol.Version, i.generation.Load(), rev, n, len(list)
		i.later(o, protocol.DnHolds, m)
	}
}

// paged cuts tasks and holds into messages that fit: bytes are estimated from
// what their texts take.
func paged(tasks []protocol.HoldTask, held []protocol.HoldLine) []protocol.Holds {
	empty := protocol.Holds{Tasks: []protocol.HoldTask{}, Held: []protocol.HoldLine{}}
	list := []protocol.Holds{empty}
	room := holdsPartBytes
	page := func(size int) *protocol.Holds {
		if room -= size; room < 0 {
			list = append(list, empty)
			room = holdsPartBytes - size
		}
		return &list[len(list)-1]
	}
	for _, t := range tasks {
		size := 160 + len(t.HoldID) + len(t.OrderID)
		for _, l := range t.Lines {
			size += 40 + len(l.SKU)
		}
		p := page(size)
		p.Tasks = append(p.Tasks, t)
	}
	for _, l := range held {
		p := page(40 + len(l.SKU))
		p.Held = append(p.Held, l)
	}
	return list
}

// tellStores sends the stores whose holds changed in a batch what is new.
func (i *Ingest) tellStores(nowUS int64) {
	if len(i.held) == 0 {
		return
	}
	seen := map[protocol.StoreID]bool{}
	for _, k := range i.held {
		if seen[k.Location] {
			continue
		}
		seen[k.Location] = true
		for _, s := range i.stores[k.Location] {
			if s.live {
				i.tell(s.origin, nowUS)
			}
		}
	}
}

// Heartbeat takes what an agent says of itself: its head, so that a lost disk can
// be told by how much, and which holds it has stored.
func (i *Ingest) Heartbeat(o protocol.Origin, hb *protocol.Heartbeat) error {
	epoch, lease, boot, head, rev, config, refused := hb.Epoch, hb.Lease, hb.BootID, hb.Head, hb.HoldsRev, hb.ConfigVersion, hb.ConfigRefused
	return i.enqueue(item{do: func(i *Ingest, nowUS int64) error {
		s := i.sessions[o]
		if s == nil {
			return nil
		}
		s = i.speaking(o, epoch, lease)
		if why := s.astray(epoch, lease, boot, nowUS); why != protocol.NackNone {
			i.nack(s, why)
			return nil
		}
		s.heard(epoch, head)
		i.heardOrders(o, config, refused, nowUS)
		if s.moved() && nowUS > s.mark.MergedUS+headKeptAfterUS {
			i.owe(s) // nothing else will write the mark soon
		}
		if rev < i.eng.Book.Rev(o.Store) {
			i.tell(o, nowUS)
			return nil
		}
		for _, c := range i.eng.Book.Delivered(o.Store, rev, nowUS) {
			if err := i.change(c, nowUS); err != nil {
				return err
			}
		}
		return nil
	}})
}
