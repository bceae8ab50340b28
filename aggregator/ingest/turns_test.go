package ingest

import (
	"fmt"
	"testing"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

func draining(recordUS int64, backlog uint64) *session {
	return &session{live: true, mark: ledger.Mark{Epoch: 1, RecordUS: recordUS, Seq: 1, HeadSeen: 1 + backlog}}
}

func TestTurns(t *testing.T) {
	old, young, live := draining(100, 5000), draining(200, 5000), draining(300, 3)
	for _, c := range []struct {
		items                int
		bytes                int64
		old, young, liveWant string
	}{
		{0, 0, "8 0", "8 0", "8 0"},
		{50, 0, "8 0", "8 0", "8 0"},
		{51, 0, "4 0", "1 250", "1 0"},
		{0, 51, "4 0", "1 250", "1 0"},
		{76, 0, "2 0", "1 1000", "1 0"},
		{10, 99, "2 0", "1 1000", "1 0"},
	} {
		var x turns
		x.weigh(c.items, 100, c.bytes, 100)
		if x.due(turnsEveryUS) {
			x.divide([]int64{200, 100}, turnsEveryUS)
		}
		for _, k := range []struct {
			s    *session
			want string
		}{{old, c.old}, {young, c.young}, {live, c.liveWant}} {
			credit, pace := x.share(k.s)
			if got := fmt.Sprint(credit, " ", pace); got != k.want {
				t.Errorf("%d items, %d bytes, record time %d: %s, want %s", c.items, c.bytes, k.s.mark.RecordUS, got, k.want)
			}
		}
	}
}

// TestOldestLagFirst lets 60 stores drain through a door that takes 40 frames per
// tick and holds 200. Those furthest behind end first, the queue keeps its bound,
// and live stores are served within a few ticks throughout.
func TestOldestLagFirst(t *testing.T) {
	const stores, perTick, room, tickMS = 60, 40, 200, 25
	type store struct {
		s             *session
		flying        int
		nextMS, ended int64
		sent          uint64
		credit        int
		pace          int64
	}
	var all []*store
	for n := range stores {
		// Store 0 is furthest behind: all have as much, begun at another hour.
		all = append(all, &store{s: draining(int64(n)*3_600_000_000, 100*protocol.FrameEventsMax), credit: protocol.CreditMax})
	}
	live := &store{s: draining(1<<50, 1), credit: 1}
	var x turns
	var queue []*store
	longest, liveSlowest, refused := 0, int64(0), 0
	liveAt := int64(-1)
	for ms := int64(0); ms < 600_000; ms += tickMS {
		for k := range all {
			c := all[(int(ms/tickMS)+k)%stores] // in turn, as frames arrive
			for c.flying < c.credit && ms >= c.nextMS && c.s.mark.Seq+c.sent < c.s.mark.HeadSeen {
				if len(queue) >= room {
					refused++
					c.nextMS = ms + 10_000 // the ack time-out
					break
				}
				queue = append(queue, c)
				c.flying++
				c.sent += protocol.FrameEventsMax
				c.nextMS = max(c.nextMS, ms) + c.pace
			}
		}
		if liveAt < 0 && len(queue) < room {
			queue, liveAt = append(queue, live), ms
		}
		longest = max(longest, len(queue))
		x.weigh(len(queue), room, 0, 1)
		if us := (ms + 1) * 1000; x.due(us + turnsEveryUS) {
			var behind []int64
			for _, c := range all {
				if c.s.drains() {
					behind = append(behind, c.s.mark.RecordUS)
				}
			}
			x.divide(behind, us)
		}
		for range min(perTick, len(queue)) {
			c := queue[0]
			queue = queue[1:]
			if c == live {
				liveSlowest, liveAt = max(liveSlowest, ms-liveAt), -1
				continue
			}
			c.flying--
			c.sent -= protocol.FrameEventsMax
			c.s.mark.Seq += protocol.FrameEventsMax
			c.credit, c.pace = x.share(c.s)
			if c.s.mark.Seq >= c.s.mark.HeadSeen {
				c.ended = ms
			}
		}
	}
	var older, younger int64
	for n, c := range all {
		if c.ended == 0 {
			t.Fatalf("store %d never drained: %+v", n, c.s.mark)
		}
		if n < stores/2 {
			older += c.ended
		} else {
			younger += c.ended
		}
	}
	if older*10 > younger*9 {
		t.Errorf("the older half ended after %d ms on average, the younger after %d", older/(stores/2), younger/(stores/2))
	}
	if longest > room || liveSlowest > 1000 {
		t.Errorf("%d frames in the queue, a live store waited %d ms, %d refused", longest, liveSlowest, refused)
	}
	t.Logf("older half %d ms, younger %d ms, live at most %d ms, queue at most %d, %d refused", older/(stores/2), younger/(stores/2), liveSlowest, longest, refused)
}
