package chaos

import (
	"os"
	"strconv"
	"testing"

	"tillwire/protocol"
)

func codec(t *testing.T) *protocol.FrameCodec {
	t.Helper()
	c, err := protocol.NewFrameCodec()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSeeds runs the first seeds; TILLWIRE_CHAOS_SEEDS says how many.
func TestSeeds(t *testing.T) {
	t.Parallel()
	seeds := 24
	if s := os.Getenv("TILLWIRE_CHAOS_SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		o := Run(NewCase(uint64(seed+1)), codec(t), false)
		if o.Broken != nil {
			o = Shrink(o, codec(t))
			t.Errorf("%v\nrepeat: %s", o.Broken, o.Case.Command())
			for _, line := range o.Trace[max(0, len(o.Trace)-traceMax):] {
				t.Log(line)
			}
			return
		}
		if o.Counts.Acked == 0 || o.Counts.Acked != o.Counts.Documents {
			t.Fatalf("seed %d: %d of %d documents were acknowledged", seed+1, o.Counts.Acked, o.Counts.Documents)
		}
	}
}

// TestClocks: clocks that are set alone, again and again, which among all faults are too
// rare for TestSeeds.
func TestClocks(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		c := NewCase(seed + 1)
		c.Stores, c.Days, c.Faults = 1, 3, Clock
		if o := Run(c.settle(), codec(t), false); o.Broken != nil {
			t.Errorf("%v: %s", o.Broken, c.Command())
		}
	}
}

// TestASeedIsARun: the same case does the same, to the last step.
func TestASeedIsARun(t *testing.T) {
	t.Parallel()
	c := NewCase(7)
	c.Faults = AllFaults
	c.settle()
	a, b := Run(c, codec(t), true), Run(c, codec(t), true)
	if a.Counts != b.Counts || len(a.Trace) != len(b.Trace) {
		t.Fatalf("two runs of one case differ: %+v and %+v", a.Counts, b.Counts)
	}
	for i := range a.Trace {
		if a.Trace[i] != b.Trace[i] {
			t.Fatalf("two runs of one case part at\n%s\n%s", a.Trace[i], b.Trace[i])
		}
	}
}

// TestFound are cases that once broke a promise, as they were shrunk.
func TestFound(t *testing.T) {
	t.Parallel()
	set := func(seed uint64, stores int, blows ...int) *Case {
		c := NewCase(seed)
		c.Stores, c.Faults, c.Only = stores, Clock, blows
		return c
	}
	for name, c := range map[string]*Case{
		"a count was told by the times of a fast clock, though the clock had been set right and then back": set(857, 2, 1, 2),
		"a count by a till that went before its agent, whose clock had once been fast":                     set(6122, 1, 1, 4),
		"a disk set back to before its first WELCOME":                                                      {Seed: 19, Stores: 3, Days: 2, Faults: Loss | DiskError | PowerCut | Reinstall | Rollback},
		"records written between a rollback and the next HELLO were taken for those before it": {
			Seed: 361, Stores: 3, Days: 3, Faults: Outage | Rollback, Only: []int{7, 8},
		},
		"a ledger set back behind a broker that stood": {Seed: 46, Stores: 2, Days: 2, Faults: CloudRollback | Poison, Only: []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			if o := Run(c.settle(), codec(t), false); o.Broken != nil {
				t.Errorf("%v: %s", o.Broken, c.Command())
			}
		})
	}
}
