package ingest

import (
	"slices"

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

// telling is which stores are still to be told of what is held there. They are told
// whole, so that a store at which much is reserved is told once for many.
type telling struct {
	stores map[protocol.StoreID]*storeTold
	owed   []protocol.StoreID // in the order in which they came to be
	dueUS  int64              // when the first of them is due; 0: none is owed
}

// storeTold is one store.
type storeTold struct {
	nextUS int64 // not before
	owed   bool
}

// tellStores sends the stores whose holds changed in a batch what there is now: at
// once, or where that was done a moment ago, holdsLingerUS after that.
func (i *Ingest) tellStores(nowUS int64) {
	t := &i.telling
	for _, k := range i.held {
		s := t.stores[k.Location]
		if s == nil {
			s = &storeTold{nextUS: nowUS}
			t.stores[k.Location] = s
		}
		if !s.owed {
			s.owed = true
			t.owed = append(t.owed, k.Location)
			t.dueUS = soonest(t.dueUS, s.nextUS)
		}
	}
	if len(t.owed) == 0 || nowUS < t.dueUS && !i.hand {
		return
	}
	t.dueUS = 0
	t.owed = slices.DeleteFunc(t.owed, func(loc protocol.StoreID) bool {
		s := t.stores[loc]
		if nowUS < s.nextUS && !i.hand {
			t.dueUS = soonest(t.dueUS, s.nextUS)
			return false
		}
		*s = storeTold{nextUS: nowUS + holdsLingerUS}
		for _, x := range i.stores[loc] {
			if x.live {
				i.tell(x.origin, nowUS)
			}
		}
		return true
	})
}

// soonest of two moments; 0 is none.
func soonest(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
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
