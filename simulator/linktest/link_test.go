package linktest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/aggregator/broker"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

func TestHappyPath(t *testing.T) {
	c := newChain(t)
	var shops []*shop
	for i := range 3 {
		s := newShop(c, fmt.Sprintf("S%d", i))
		s.load()
		s.sell(1500) // a backlog from before the first contact
		s.connect()
		shops = append(shops, s)
	}
	for _, s := range shops {
		s.sell(500)
		s.settled(2000)
		for range 5 { // live
			s.sell(1)
			s.settled(s.docs)
		}
		st := s.link.Status()
		if !st.Connected || st.LastError != "" || st.Session != "sending" || st.Epoch != 1 || st.Lease != 1 || st.Counts.Nacks != 0 || st.Refused != 0 {
			t.Fatalf("%+v", st)
		}
		if off := max(st.ClockOffsetUS, -st.ClockOffsetUS); off > 200_000 || st.ClockErrorUS == 0 {
			t.Fatalf("clock offset %d ± %d µs on one machine", st.ClockOffsetUS, st.ClockErrorUS)
		}
		if st.EventsSent-st.Counts.Resent != uint64(s.docs) || st.Counts.Resent > 0 && st.Counts.Timeouts == 0 { // on a busy machine an ack may be late
			t.Fatalf("%d events sent for %d: %+v", st.EventsSent, s.docs, st.Counts)
		}
	}
	o := shops[0].origin
	wait(t, "heartbeat", func() string {
		c.mu.Lock()
		defer c.mu.Unlock()
		h := c.beats[o]
		if h.Merged == 2005 && h.Head == 2005 && h.BacklogEvents == 0 && h.Lease == 1 && h.AgentVersion == "test" && len(h.Registers) == 1 {
			return ""
		}
		return fmt.Sprintf("%+v", h)
	})
}

// TestLineBreaksInMidFrame has every connection break somewhere in its first
// bytes, mostly in the middle of a frame, while sales go on.
func TestLineBreaksInMidFrame(t *testing.T) {
	c := newChain(t)
	var healed atomic.Bool
	s := newShop(c, "S1")
	s.dial = frailDial(&healed, 300, 12_000)
	s.load()
	s.sell(4000)
	s.connect()
	for range 30 {
		s.sell(20)
		time.Sleep(10 * time.Millisecond)
	}
	broken := s.link.Status()
	healed.Store(true)
	s.settled(s.docs)
	if broken.Reconnects+broken.DialErrors < 5 {
		t.Fatalf("the line hardly broke: %+v", broken)
	}
}

// TestFramesDropDoubleAndSwap lets the broker acknowledge frames that it loses,
// pass others twice, and pass some behind their successors.
func TestFramesDropDoubleAndSwap(t *testing.T) {
	c := newChain(t)
	var mu sync.Mutex
	var held *broker.Up
	lost, doubled, swapped := 0, 0, 0
	c.mischief = func(u broker.Up, pass func(broker.Up) error) error {
		if u.Channel != protocol.UpJournal {
			return pass(u)
		}
		mu.Lock()
		defer mu.Unlock()
		switch dice := rand.IntN(10); {
		case dice < 2:
			lost++
			return nil
		case dice < 4:
			doubled++
			return errors.Join(pass(u), pass(u))
		case dice < 6 && held == nil:
			held = &u
			return nil
		}
		err := pass(u)
		if held != nil {
			swapped++
			err = errors.Join(err, pass(*held))
			held = nil
		}
		return err
	}
	s := newShop(c, "S1")
	s.load()
	s.sell(8000)
	s.connect()
	s.settled(8000)
	n := s.link.Status().Counts
	mu.Lock()
	defer mu.Unlock()
	if lost == 0 || doubled == 0 || swapped == 0 || n.Gaps == 0 || n.Resent == 0 {
		t.Fatalf("lost %d, doubled %d, swapped %d: %+v", lost, doubled, swapped, n)
	}
	if n.AcksWrongChain+n.AcksBeyondHead+n.Forks != 0 {
		t.Fatalf("%+v", n)
	}
}

// TestRefusedFramesComeAgain lets ingest be busy: no PUBACK, no answer.
func TestRefusedFramesComeAgain(t *testing.T) {
	c := newChain(t)
	var n atomic.Int64
	c.mischief = func(u broker.Up, pass func(broker.Up) error) error {
		if u.Channel == protocol.UpJournal && n.Add(1) <= 3 {
			return errors.New("queue is full")
		}
		return pass(u)
	}
	s := newShop(c, "S1")
	s.open()
	s.sell(600)
	s.settled(600)
	if s.link.Status().Counts.Timeouts == 0 {
		t.Fatalf("%+v", s.link.Status())
	}
}

// TestAggregatorRestoredFromBackup goes back to an older ledger that nobody told
// of it: the first agent's HELLO gives it away, the cloud generation rises, and
// the agents rewind by the handshake.
func TestAggregatorRestoredFromBackup(t *testing.T) {
	c := newChain(t)
	s := newShop(c, "S1")
	s.open()
	s.sell(700)
	s.settled(700)
	c.stop()
	backup := filepath.Join(t.TempDir(), "backup.db")
	copyFile(t, c.ledgerPath(), backup)
	c.start()
	s.sell(800)
	s.settled(1500)
	c.stop()
	copyFile(t, backup, c.ledgerPath())
	s.sell(10) // journaled while nobody listens
	c.start()
	s.settled(1510)
	st := s.journal.State()
	if st.Generation != 2 || st.Epoch != 1 {
		t.Fatalf("generation %d, epoch %d", st.Generation, st.Epoch)
	}
}

// TestStoreDiskRolledBack puts an older image of the journal in place: what was
// merged stays merged, what is sold then counts, under a new epoch.
func TestStoreDiskRolledBack(t *testing.T) {
	c := newChain(t)
	s := newShop(c, "S1")
	s.open()
	s.sell(300)
	s.settled(300)
	s.stop()
	image := filepath.Join(t.TempDir(), "image.db")
	copyFile(t, s.path, image)
	s.open()
	s.sell(200)
	s.settled(500)
	s.stop()
	copyFile(t, image, s.path)
	s.open()
	s.sell(50) // seqs 301 to 350 again, with other content
	s.settled(550)
	if m := c.mark(s.origin); m.Epoch != 2 {
		t.Fatalf("epoch %d", m.Epoch)
	}
	// And a rollback that has caught up before it is seen: only the chain tells.
	s.stop()
	copyFile(t, image, s.path)
	s.load()
	s.sell(400)
	s.connect()
	s.settled(950)
	if m := c.mark(s.origin); m.Epoch < 3 {
		t.Fatalf("epoch %d", m.Epoch)
	}
}

// TestStoreDiskLost installs a store anew whose last sales never arrived. The last
// heartbeat says how many there were at least; the POS feeds all it has again, and
// everything counts once.
func TestStoreDiskLost(t *testing.T) {
	c := newChain(t)
	s := newShop(c, "S1")
	var deaf atomic.Bool
	c.mischief = func(u broker.Up, pass func(broker.Up) error) error {
		if deaf.Load() && u.Channel == protocol.UpJournal {
			return nil // the line lets small messages through, and no frame
		}
		return pass(u)
	}
	s.open()
	var till []*protocol.Event // what the POS keeps
	for range 340 {
		s.docs++
		till = append(till, s.sale(s.docs))
	}
	s.append(till[:300])
	s.settled(300)
	deaf.Store(true)
	s.append(till[300:])
	wait(t, "a heartbeat tells the head", func() string {
		c.mu.Lock()
		defer c.mu.Unlock()
		if head := c.beats[s.origin].Head; head != 340 {
			return fmt.Sprint(head)
		}
		return ""
	})
	s.stop()
	deaf.Store(false)
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	s.open()
	s.sell(2) // the shop opens with the new machine
	s.settled(302)
	list, err := c.ledger.Exceptions(ledger.Filter{Code: "events_unrecoverable"})
	if err != nil || len(list) != 1 || list[0].Seq != 301 || !strings.Contains(list[0].Reason, "at least 40 events of S1/server (seq 301 to 340, epoch 1)") {
		t.Fatalf("%v: %+v", err, list)
	}
	if st := s.journal.State(); st.Epoch != 2 {
		t.Errorf("epoch %d, want 2", st.Epoch)
	}
	s.append(till)
	s.settled(342)
}

// TestSilentFork has the image catch up beyond merged with the epoch unchanged,
// so that only the chain at merged_seq, asked back by a second HELLO, differs.
func TestSilentFork(t *testing.T) {
	c := newChain(t)
	s := newShop(c, "S1")
	s.open()
	s.sell(100)
	s.settled(100)
	s.stop()
	image := filepath.Join(t.TempDir(), "image.db")
	copyFile(t, s.path, image)
	s.open()
	s.sell(100)
	s.settled(200)
	s.stop()
	copyFile(t, image, s.path)
	s.load()
	s.sell(150) // head 250, beyond the merged 200
	s.connect()
	s.settled(350)
	n := s.link.Status().Counts
	if n.Forks != 1 || n.Rebases != 1 || c.mark(s.origin).Epoch != 2 {
		t.Fatalf("%+v, epoch %d", n, c.mark(s.origin).Epoch)
	}
}

// TestReconnects cuts four links fifty times each while sales go on; newChain's
// clean-up sees that no goroutine is left.
func TestReconnects(t *testing.T) {
	c := newChain(t)
	var shops []*shop
	for i := range 4 {
		s := newShop(c, fmt.Sprintf("S%d", i))
		s.open()
		shops = append(shops, s)
	}
	for i := range 50 {
		for _, s := range shops {
			s.sell(7)
		}
		for _, s := range shops {
			wait(t, "connection", func() string {
				if st := s.link.Status(); st.Connected && st.Lease > uint64(i) {
					return ""
				}
				return fmt.Sprintf("%s, cycle %d: %+v", s.origin, i, s.link.Status())
			})
			c.broker.Disconnect(s.origin)
		}
		for _, s := range shops {
			wait(t, "cut", func() string {
				if s.link.Status().Reconnects > uint64(i) || !s.link.Status().Connected {
					return ""
				}
				return "connected"
			})
		}
	}
	for _, s := range shops {
		s.settled(350)
		if got := s.link.Status().Reconnects; got < 49 {
			t.Fatalf("%d reconnects", got)
		}
	}
}

func TestWrongToken(t *testing.T) {
	c := newChain(t)
	s := newShop(c, "S1")
	s.token = "guess"
	s.open()
	s.sell(3)
	wait(t, "refusal", func() string {
		if st := s.link.Status(); st.DialErrors > 1 && strings.Contains(strings.ToLower(st.LastError), "not authorized") {
			return ""
		}
		return s.link.Status().LastError
	})
	if st := s.journal.State(); st.Head != 3 || st.Merged != 0 {
		t.Fatalf("head %d, merged %d", st.Head, st.Merged)
	}
}
