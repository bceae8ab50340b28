package linktest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tillwire/protocol"
)

// TestClone runs two agents of one identity. They are found out and quarantined:
// nothing of either is merged, both keep what is sold, over a restart of the
// aggregator too. A person picks one; it goes on, the other is merged beside it.
// Nothing is lost, nothing counts twice.
func TestClone(t *testing.T) {
	c := newChain(t)
	s := newShop(c, "S1")
	s.open()
	s.sell(100)
	s.settled(100)
	s.stop()
	twin := newShop(c, "S1")
	copyFile(t, s.path, twin.path)
	twin.docs = 1_000_000
	s.boot, twin.boot = "boot-one", "boot-two"
	s.open()
	twin.open()
	total := int64(100)
	sell := func() {
		s.sell(5)
		twin.sell(5)
		total += 10
	}
	wait(t, "quarantine", func() string {
		sell()
		v, ok, err := c.in.Copies(t.Context(), s.origin)
		if err != nil || !ok || v.State != protocol.CopiesQuarantined || len(v.Copies) < 2 {
			return fmt.Sprintf("%v %v %+v", ok, err, v)
		}
		return ""
	})
	quarantined(t, c, s, twin, sell)
	c.stop()
	c.start()
	quarantined(t, c, s, twin, sell)

	if _, err := c.in.PickCopy(t.Context(), s.origin, "boot-three", "ann"); err == nil || !strings.Contains(err.Error(), "no such copy") {
		t.Errorf("picked what nobody heard of: %v", err)
	}
	v, err := c.in.PickCopy(t.Context(), s.origin, "boot-one", "ann")
	if err != nil || v.State != protocol.CopiesPicked || v.PickedBy != "ann" {
		t.Fatalf("%v, %+v", err, v)
	}
	if _, err := c.in.PickCopy(t.Context(), s.origin, "boot-two", "bob"); err == nil || !strings.Contains(err.Error(), "picked by ann") {
		t.Errorf("picked twice: %v", err)
	}
	both := func() string {
		for _, x := range []*shop{s, twin} {
			if st := x.journal.State(); st.Merged != st.Head {
				return fmt.Sprintf("%s: %d of %d, %+v", x.boot, st.Merged, st.Head, x.link.Status())
			}
		}
		if got := c.sold("S1"); got != total {
			return fmt.Sprintf("chain counts %d units, both sold %d", got, total)
		}
		return ""
	}
	wait(t, "both merged", both)
	for range 5 {
		sell()
		time.Sleep(20 * time.Millisecond)
	}
	wait(t, "both merged again", both)
	c.stop()
	c.start() // which of them was picked is not forgotten
	sell()
	wait(t, "both merged after a restart", both)
	beside := protocol.Origin{Store: "S1", Agent: "server-copy-1"}
	if own, other := c.mark(s.origin), c.mark(beside); own.BootID != "boot-one" || other.BootID != "boot-two" || own.Epoch == other.Epoch || own.Lease == other.Lease ||
		own.Seq != s.journal.State().Head || other.Seq != twin.journal.State().Head {
		t.Errorf("%+v\n%+v", own, other)
	}
	if as := c.in.Speaker(s.origin, "boot-two"); as != beside {
		t.Errorf("heartbeats of the copy count for %s", as)
	}
	if as := c.in.Speaker(s.origin, "boot-one"); as != s.origin {
		t.Errorf("heartbeats of the picked one count for %s", as)
	}
	s.stop() // the picked one restarts while the other one is there
	s.boot = "boot-four"
	s.open()
	sell()
	wait(t, "both merged after the picked one's restart", both)
	if m := c.mark(s.origin); m.BootID != "boot-four" {
		t.Errorf("%s speaks for the agent", m.BootID)
	}
}

// quarantined sees that nothing is merged, and nothing forgotten.
func quarantined(t *testing.T, c *chain, s, twin *shop, sell func()) {
	t.Helper()
	before := c.sold("S1")
	m := c.mark(s.origin)
	for range 10 {
		sell()
		time.Sleep(20 * time.Millisecond)
	}
	if after := c.mark(s.origin); c.sold("S1") != before || after.Seq != m.Seq || after.Epoch != m.Epoch {
		t.Errorf("merged while quarantined: %d units, then %d; %+v, then %+v", before, c.sold("S1"), m, after)
	}
	for _, x := range []*shop{s, twin} {
		st := x.journal.State()
		if st.BacklogEvents < 50 || st.Phase != "running" {
			t.Errorf("%s: %+v", x.boot, st)
		}
	}
	wait(t, "both are told", func() string {
		a, b := s.link.Status(), twin.link.Status()
		if strings.Contains(a.LastError+b.LastError, "quarantined") && a.Counts.WelcomesRefused > 0 && b.Counts.WelcomesRefused > 0 {
			return ""
		}
		return a.LastError + " / " + b.LastError
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nacks[protocol.NackQuarantined] == 0 {
		t.Error("refusals are not counted")
	}
}
