package fleet

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// world is a fleet on a clock of its own.
type world struct {
	*Fleet
	us int64
}

func newWorld(t testing.TB, stores ...StoreInfo) *world {
	t.Helper()
	w := &world{us: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).UnixMicro()}
	w.Fleet = New(Options{Now: func() time.Time { return time.UnixMicro(w.us) }, Stores: stores})
	return w
}

func (w *world) pass(d time.Duration) { w.us += d.Microseconds(); w.Publish() }

var o1 = protocol.Origin{Store: "S1", Agent: "server"}

// live brings an agent up with everything merged.
func (w *world) live(o protocol.Origin) {
	w.Hello(o, protocol.Hello{InstallID: "i", BootID: "b", Tail: 1, Head: 100, Agent: "1.0.0"}, w.us)
	w.Merged(o, ledger.Mark{Origin: o, Epoch: 1, Lease: 1, Seq: 100, InstallID: "i"}, w.us, 100)
	w.beat(o, 100, 100, 0)
}

func (w *world) beat(o protocol.Origin, head, merged uint64, oldest time.Duration) *protocol.Heartbeat {
	hb := &protocol.Heartbeat{Epoch: 1, Lease: 1, BootID: "b", SentUS: w.us, Head: head, Merged: merged, Tail: 1, LastPOSUS: w.us, AgentVersion: "1.0.0"}
	if oldest > 0 {
		hb.OldestUnackedUS, hb.BacklogEvents = w.us-oldest.Microseconds(), head-merged
	}
	w.Heartbeat(o, hb, w.us)
	w.Publish()
	return hb
}

func (w *world) is(t *testing.T, want protocol.Presence, words ...string) protocol.StoreStatus {
	t.Helper()
	s, ok := w.Status("S1")
	if !ok || s.Presence != want {
		t.Fatalf("presence = %q (%q), want %q", s.Presence, s.Reason, want)
	}
	for _, x := range words {
		if !strings.Contains(s.Reason, x) {
			t.Fatalf("reason %q lacks %q", s.Reason, x)
		}
	}
	return s
}

func codes(s protocol.StoreStatus) string {
	var c []string
	for _, i := range s.Incidents {
		c = append(c, i.Code)
		if i.Remedy == "" || i.Summary == "" || i.Since.IsZero() {
			return "incomplete incident " + i.ID
		}
	}
	return strings.Join(c, " ")
}

func TestPresence(t *testing.T) {
	t.Run("never seen", func(t *testing.T) {
		w := newWorld(t, StoreInfo{Store: "S1", Name: "Bath"})
		s := w.is(t, protocol.PresenceOffline, "ever connected")
		if codes(s) != CodeNeverSeen {
			t.Fatal(codes(s))
		}
	})
	t.Run("a dropped link is offline after the grace and keeps its backlog", func(t *testing.T) {
		w := newWorld(t)
		w.live(o1)
		w.is(t, protocol.PresenceOnline, "within seconds")
		w.beat(o1, 412, 100, 20*time.Second)
		w.Connected(o1, false, w.us)
		w.pass(44 * time.Second)
		if s, _ := w.Status("S1"); s.Presence == protocol.PresenceOffline {
			t.Fatal("offline within the grace")
		}
		w.pass(2*time.Hour + 10*time.Minute)
		s := w.is(t, protocol.PresenceOffline, "Offline for 2 h 10 min", "link dropped", "at least 312 events wait")
		if codes(s) != CodeStoreOffline || s.LagS < 7800 {
			t.Fatal(codes(s), s.LagS)
		}
	})
	t.Run("an open connection without heartbeats is offline", func(t *testing.T) {
		w := newWorld(t)
		w.live(o1)
		w.pass(46 * time.Second)
		w.is(t, protocol.PresenceOffline, "heartbeats stopped")
	})
	t.Run("draining says when it will be done", func(t *testing.T) {
		w := newWorld(t)
		w.live(o1)
		w.beat(o1, 1100, 100, time.Hour)
		w.us += 10e6
		w.Merged(o1, ledger.Mark{Origin: o1, Epoch: 1, Lease: 1, Seq: 200}, w.us-3500e6, 100)
		w.beat(o1, 1100, 200, 3500*time.Second)
		s := w.is(t, protocol.PresenceDraining, "900 events wait", "current in about 1 min")
		if s.DrainETAS == nil || *s.DrainETAS != 90 {
			t.Fatal("eta", s.DrainETAS)
		}
	})
	t.Run("backlog without progress is stuck", func(t *testing.T) {
		w := newWorld(t)
		w.live(o1)
		for range 6 {
			w.us += 15e6
			w.beat(o1, 1100, 100, time.Hour).LastError = "x"
		}
		s := w.is(t, protocol.PresenceStuck, "Stuck for 1 min", "1,000 events wait")
		if codes(s) != CodeStuck {
			t.Fatal(codes(s))
		}
		w.Merged(o1, ledger.Mark{Origin: o1, Epoch: 1, Lease: 1, Seq: 1100}, w.us, 1000)
		w.pass(time.Second)
		w.is(t, protocol.PresenceOnline)
	})
	t.Run("refused frames are stuck at once", func(t *testing.T) {
		w := newWorld(t)
		w.live(o1)
		w.beat(o1, 120, 100, 5*time.Second)
		for range 3 {
			w.us += 1000
			w.Refused(o1, protocol.NackChain)
		}
		w.pass(time.Second)
		s := w.is(t, protocol.PresenceStuck, "does not continue")
		if codes(s) != CodeStuck+" "+CodeFramesRefused {
			t.Fatal(codes(s))
		}
	})
	t.Run("restored aggregator: rebuilding until the head is reached", func(t *testing.T) {
		w := newWorld(t)
		w.Load([]ledger.Mark{{Origin: o1, Epoch: 1, Lease: 1, Seq: 50, InstallID: "i"}})
		w.Hello(o1, protocol.Hello{InstallID: "i", BootID: "b", Epoch: 1, Tail: 1, Head: 100, MergedSeq: 90}, w.us)
		w.beat(o1, 100, 50, 10*time.Second)
		w.is(t, protocol.PresenceRebuilding, "50 of 100 events")
		w.Merged(o1, ledger.Mark{Origin: o1, Epoch: 1, Lease: 2, Seq: 100}, w.us, 50)
		w.beat(o1, 100, 100, 0)
		_ = w.us
	})
	t.Run("one silent till is news while the chain sells, at night none is", func(t *testing.T) {
		w := newWorld(t)
		o2, o3 := protocol.Origin{Store: "S2", Agent: "server"}, protocol.Origin{Store: "S3", Agent: "server"}
		for _, o := range []protocol.Origin{o1, o2, o3} {
			w.live(o)
		}
		quiet := w.us
		step := func(sell ...protocol.Origin) {
			w.us += 31 * 60e6
			for _, o := range []protocol.Origin{o1, o2, o3} {
				hb := &protocol.Heartbeat{Epoch: 1, Lease: 1, BootID: "b", SentUS: w.us, Head: 100, Merged: 100, LastPOSUS: quiet}
				for _, s := range sell {
					if s == o {
						hb.LastPOSUS = w.us
					}
				}
				w.Heartbeat(o, hb, w.us)
			}
			w.Publish()
			w.Publish() // trading is judged from the views before
		}
		step(o2, o3)
		if s := w.is(t, protocol.PresencePOSSilent, "No till has written for 31 min"); codes(s) != CodePOSSilent {
			t.Fatal(codes(s))
		}
		step()
		w.is(t, protocol.PresenceOnline)
	})
}

func TestWillOfAnOlderProcessIsIgnored(t *testing.T) {
	w := newWorld(t)
	w.live(o1)
	w.Will(o1, protocol.Will{Lease: 0, BootID: "old"}, w.us)
	w.beat(o1, 100, 100, 0)
	w.pass(40 * time.Second)
	w.is(t, protocol.PresenceOnline)
	w.Will(o1, protocol.Will{Lease: 1, BootID: "b"}, w.us)
	w.pass(46 * time.Second)
	w.is(t, protocol.PresenceOffline, "link dropped")
}

func TestLateWordsOfTheSameAgentAreNoClone(t *testing.T) {
	w := newWorld(t)
	w.live(o1)
	w.Merged(o1, ledger.Mark{Origin: o1, Epoch: 1, Lease: 2, Seq: 100}, w.us, 0)
	w.us += 20e6
	w.Heartbeat(o1, &protocol.Heartbeat{Epoch: 1, Lease: 1, BootID: "b", SentUS: w.us, Head: 100, Merged: 100}, w.us)
	w.Publish()
	if s := w.is(t, protocol.PresenceOnline); codes(s) != "" {
		t.Fatal(codes(s))
	}
	// the old connection's end is told after the new one's begin
	w.Connected(o1, true, w.us)
	w.Connected(o1, false, w.us)
	for range 6 {
		w.us += 15e6
		w.Heartbeat(o1, &protocol.Heartbeat{Epoch: 1, Lease: 2, BootID: "b", SentUS: w.us, Head: 100, Merged: 100}, w.us)
	}
	w.Publish()
	w.is(t, protocol.PresenceOnline)
}

func TestLostEventsAreToldOnceAndStay(t *testing.T) {
	var kept []byte
	w := newWorld(t)
	w.opts.Keep = func(b []byte) { kept = b }
	w.live(o1)
	w.beat(o1, 160, 100, time.Second)
	for range 2 { // the new journal says HELLO twice
		w.Hello(o1, protocol.Hello{InstallID: "new", BootID: "c", Tail: 1, Head: 3}, w.us)
	}
	w.pass(time.Second)
	s, _ := w.Status("S1")
	if codes(s) != CodeUnrecoverable || !strings.Contains(s.Incidents[0].Summary, "At least 60 events lost (seq 101 to 160)") {
		t.Fatalf("%s: %v", codes(s), s.Incidents)
	}
	again := newWorld(t)
	if err := again.Restore(kept); err != nil {
		t.Fatal(err)
	}
	again.Publish()
	s2, _ := again.Status("S1")
	if !again.Acknowledge(s2.Incidents[len(s2.Incidents)-1].ID) || again.Acknowledge("no such") {
		t.Fatal("acknowledge")
	}
	again.Publish()
	if s2, _ = again.Status("S1"); strings.Contains(codes(s2), CodeUnrecoverable) {
		t.Fatal(codes(s2))
	}
	if err := again.Restore([]byte("{")); err == nil {
		t.Fatal("broken standing accepted")
	}
}

func TestRetentionPassedIsALoss(t *testing.T) {
	w := newWorld(t)
	w.Load([]ledger.Mark{{Origin: o1, Epoch: 1, Lease: 1, Seq: 10, InstallID: "i"}})
	w.Hello(o1, protocol.Hello{InstallID: "i", BootID: "b", Epoch: 1, Tail: 31, Head: 40}, w.us)
	w.pass(time.Second)
	s, _ := w.Status("S1")
	if len(s.Incidents) != 1 || !strings.Contains(s.Incidents[0].Summary, "20 events lost (seq 11 to 30)") {
		t.Fatal(s.Incidents)
	}
}

func TestConditions(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*protocol.Heartbeat)
		want string
	}{
		"disk":    {func(h *protocol.Heartbeat) { h.DiskFreeBytes = 200 << 20 }, CodeDiskLow},
		"slow":    {func(h *protocol.Heartbeat) { h.FsyncP99US = 900_000 }, CodeDiskSlow},
		"clock":   {func(h *protocol.Heartbeat) { h.SentUS += 180e6 }, CodeClockSkew},
		"salvage": {func(h *protocol.Heartbeat) { h.BootReason = "salvaged" }, CodeSalvaged},
		"salvage of the working agent": {func(h *protocol.Heartbeat) {
			h.Counters = map[string]uint64{protocol.CounterSalvaged: 3, protocol.CounterLost: 1}
		}, CodeSalvaged},
		"clone": {func(h *protocol.Heartbeat) { h.Lease, h.BootID = 0, "another" }, CodeSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.live(o1)
			w.us += 15e6
			hb := &protocol.Heartbeat{Epoch: 1, Lease: 1, BootID: "b2", SentUS: w.us, Head: 100, Merged: 100}
			w.Hello(o1, protocol.Hello{InstallID: "i", BootID: "b2", Epoch: 1, Tail: 1, Head: 100}, w.us)
			w.us += 10e6
			hb.SentUS = w.us
			c.edit(hb)
			w.Heartbeat(o1, hb, w.us)
			w.Publish()
			s, _ := w.Status("S1")
			if codes(s) != c.want {
				t.Fatalf("codes = %q, want %q", codes(s), c.want)
			}
			if s.Agents[0].Incidents[0].ID != c.want+"/S1/server" {
				t.Fatal(s.Agents[0].Incidents)
			}
		})
	}
}

func TestSeveralAgentsAreOneStore(t *testing.T) {
	w := newWorld(t)
	till := protocol.Origin{Store: "S1", Agent: "till-03"}
	w.live(o1)
	w.live(till)
	w.us += 10e6
	w.beat(till, 130, 100, 2*time.Second)
	w.Connected(till, false, w.us)
	was := w.us - 2e6
	for range 4 {
		w.us += 15e6
		w.beat(o1, 100, 100, 0)
	}
	s := w.is(t, protocol.PresenceOffline, "till-03 (1 of 2 agents)", "30 events wait")
	if s.BacklogEvents != 30 || s.MergedSeq != 200 || len(s.Agents) != 2 {
		t.Fatal(s)
	}
	if got := w.Watermark("S1"); got >= was {
		t.Fatalf("watermark %d is not before the oldest event waiting %d", got, was)
	}
}

func TestFeedsAreSources(t *testing.T) {
	w := newWorld(t, StoreInfo{Store: "DC1", Type: "dc"})
	o := protocol.Origin{Store: "DC1", Agent: "feed:wms"}
	w.Merged(o, ledger.Mark{Origin: o, Epoch: 1, Seq: 5}, w.us, 5)
	w.Publish()
	s, _ := w.Status("DC1")
	if s.Presence != protocol.PresenceOnline || w.Watermark("DC1") != w.us || len(s.Incidents) != 0 {
		t.Fatal(s)
	}
	w.pass(27 * time.Hour)
	s, _ = w.Status("DC1")
	if s.Presence != protocol.PresencePOSSilent || codes(s) != CodeFeedSilent {
		t.Fatal(s.Presence, codes(s))
	}
}

// The watermark may never pass the record time of an event that is not merged.
func TestWatermarkNeverPassesAnUnmergedEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := int64(1e15)
		skew := rapid.Int64Range(-1e9, 1e9).Draw(t, "skew")
		f := &facts{origin: o1}
		var recs []int64 // our clock
		merged := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			us += rapid.Int64Range(1, 20e6).Draw(t, "dt")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				recs = append(recs, us)
			case 1:
				if merged < len(recs) {
					merged += rapid.IntRange(1, len(recs)-merged).Draw(t, "n")
					f.onMerged(&ledger.Mark{Epoch: 1, Lease: 1, Seq: uint64(merged)}, recs[merged-1]+skew, us)
				}
			case 2:
				hb := &protocol.Heartbeat{Epoch: 1, Lease: 1, SentUS: us + skew, Head: uint64(len(recs)), Merged: uint64(merged)}
				if merged < len(recs) {
					hb.OldestUnackedUS = recs[merged] + skew
				}
				delay := rapid.Int64Range(0, 3e6).Draw(t, "delay")
				f.onHeartbeat(hb, us+delay)
				us += delay
			}
			if f.hb == nil || merged >= len(recs) {
				continue
			}
			least := int64(never)
			for i := range min(f.skews, skewSamples) {
				least = min(least, f.skew[i]+skew)
			}
			if w := f.watermark(); w >= recs[merged]+least {
				t.Fatalf("watermark %d, oldest missing %d", w, recs[merged])
			}
		}
	})
}

func TestChangeFeedTellsOnlyWhatChanged(t *testing.T) {
	var in []StoreInfo
	for i := range 50 {
		in = append(in, StoreInfo{Store: protocol.StoreID(fmt.Sprintf("S%d", i))})
	}
	w := newWorld(t, in...)
	rev := w.Snapshot().Rev
	before := w.Snapshot()
	wake := w.Wait()
	w.live(o1)
	<-wake
	var got []protocol.StoreID
	for _, s := range w.Snapshot().Changed(rev) {
		got = append(got, s.Store)
	}
	if d := cmp.Diff([]protocol.StoreID{"S1"}, got); d != "" {
		t.Fatal(d)
	}
	if before.Stores[1].MergedSeq != 0 || before.Totals.MergedEvents != 0 {
		t.Fatal("an old snapshot changed")
	}
	rev = w.Snapshot().Rev
	w.pass(time.Second)
	if n := len(w.Snapshot().Changed(rev)); n != 0 {
		t.Fatalf("%d changes told where nothing happened", n)
	}
}

func TestTotalsAndHistory(t *testing.T) {
	w := newWorld(t)
	w.live(o1)
	for i := range 700 {
		w.us += 1e6
		seq := uint64(101 + i)
		w.Merged(o1, ledger.Mark{Origin: o1, Epoch: 1, Lease: 1, Seq: seq}, w.us, 1)
		if i%15 == 0 {
			w.beat(o1, seq, seq, 0)
		} else {
			w.Publish()
		}
	}
	n := w.Snapshot()
	if n.Totals.Stores != 1 || n.Totals.Current != 1 || n.Totals.EventsPerS < 0.9 || n.Totals.EventsPerS > 1.1 || n.Bands[0] != 1 {
		t.Fatalf("%+v", n.Totals)
	}
	if h := w.History("S1", false); len(h) < 69 || len(h) > 72 || h[1].AtS-h[0].AtS != 10 {
		t.Fatal(len(h), h[:2])
	}
	if h := w.History("S1", true); len(h) < 11 || h[1].AtS-h[0].AtS != 60 {
		t.Fatal(h)
	}
	if w.History("nope", true) != nil || len(w.Bands()) < 2 {
		t.Fatal("bands", w.Bands())
	}
	w.us += 48 * 3600e6
	for range 300 {
		w.pass(5 * time.Minute)
	}
	if len(w.Bands()) != bandColumns || len(w.History("S1", true)) != coarseSamples {
		t.Fatal("histories are not bounded", len(w.Bands()), len(w.History("S1", true)))
	}
}

func TestPackedNumbersStayClose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint64Range(0, 1<<41).Draw(t, "v")
		got := unpack(pack(v))
		if got > v || float64(v-got) > float64(v)*0.0005 {
			t.Fatalf("%d became %d", v, got)
		}
	})
	if pack(1<<63) != 0xffff {
		t.Fatal("no saturation")
	}
}

func TestAgentsPerStoreAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range AgentsPerStoreMax + 5 {
		w.Connected(protocol.Origin{Store: "S1", Agent: protocol.AgentID(fmt.Sprintf("a%d", i))}, true, w.us)
	}
	w.Publish()
	s, _ := w.Status("S1")
	if len(s.Agents) != AgentsPerStoreMax || !strings.Contains(codes(s), CodeTooManyAgents) {
		t.Fatal(len(s.Agents), codes(s))
	}
}

func TestEveryCodeHasARemedyAndASectionInTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../deploy/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Codes {
		if Remedies[c] == "" {
			t.Errorf("%s has no remedy", c)
		}
		if !strings.Contains(string(manual), "\n## "+c+"\n") {
			t.Errorf("%s is no heading of deploy/OPERATIONS.md", c)
		}
	}
}

func TestReadersAndWritersTogether(t *testing.T) {
	f := New(Options{Publish: time.Millisecond})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			o := protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%d", i)), Agent: "server"}
			for k := range 200 {
				us := time.Now().UnixMicro()
				f.Heartbeat(o, &protocol.Heartbeat{Epoch: 1, Lease: 1, SentUS: us, Head: uint64(k)}, us)
				f.Merged(o, ledger.Mark{Origin: o, Epoch: 1, Lease: 1, Seq: uint64(k)}, us, 1)
			}
		})
		wg.Go(func() {
			for range 100 {
				f.Publish()
				f.Statuses()
				f.Status("S1")
				f.Watermark("S2")
			}
		})
	}
	wg.Wait()
}

func BenchmarkPublish4000(b *testing.B) {
	var in []StoreInfo
	for i := range 4000 {
		in = append(in, StoreInfo{Store: protocol.StoreID(fmt.Sprintf("S%04d", i)), Region: "North"})
	}
	w := newWorld(b, in...)
	for _, s := range in {
		w.live(protocol.Origin{Store: s.Store, Agent: "server"})
	}
	b.ReportAllocs()
	for b.Loop() {
		w.us += 1e6
		for i := range 270 { // a fifteenth of the fleet has a heartbeat each second
			o := protocol.Origin{Store: in[i].Store, Agent: "server"}
			w.Heartbeat(o, &protocol.Heartbeat{Epoch: 1, Lease: 1, BootID: "b", SentUS: w.us, Head: 100, Merged: 100}, w.us)
		}
		w.Publish()
	}
}
