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

// telling is which stores are still to be told of what is held there. They are told
// whole, so that a store at which much is reserved is told once for many.
type telling struct {
	at    map[protocol.StoreID]int64 // when it was told last, µs
	owed  map[protocol.StoreID]bool
	dueUS int64 // when the first of them is due; 0: none is owed
}

// tellStores sends the stores whose holds changed in a batch what there is now: at
// once, or where that was done a moment ago, holdsLingerUS after that.
func (i *Ingest) tellStores(nowUS int64) {
	t := &i.telling
	var seen map[protocol.StoreID]bool
	for _, k := range i.held {
		if seen[k.Location] {
			continue
		}
		if seen == nil {
			seen = map[protocol.StoreID]bool{}
		}
		seen[k.Location] = true
		if due := t.at[k.Location] + holdsLingerUS; nowUS >= due || i.hand {
			i.tellStore(k.Location, nowUS)
		} else {
			t.owed[k.Location] = true
			t.owe(due)
		}
	}
	if t.dueUS == 0 || nowUS < t.dueUS {
		return
	}
	t.dueUS = 0
	for loc := range t.owed {
		if due := t.at[loc] + holdsLingerUS; nowUS < due {
			t.owe(due)
			continue
		}
		i.tellStore(loc, nowUS)
	}
}

func (t *telling) owe(due int64) {
	if t.dueUS == 0 || due < t.dueUS {
		t.dueUS = due
	}
}

func (i *Ingest) tellStore(loc protocol.StoreID, nowUS int64) {
	i.telling.at[loc] = nowUS
	delete(i.telling.owed, loc)
	for _, s := range i.stores[loc] {
		if s.live {
			i.tell(s.origin, nowUS)
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
