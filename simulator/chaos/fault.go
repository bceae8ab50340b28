package chaos

import (
	"fmt"
	"strings"
)

// Fault is one kind of trouble; faults of a run are a set of them.
type Fault uint32

// The faults.
const (
	Loss          Fault = 1 << iota // messages are lost
	Duplicate                       // messages come twice, or again after hours
	Reorder                         // messages overtake each other
	Delay                           // messages take seconds
	Garble                          // bits of messages flip
	Outage                          // no connection for minutes to hours
	OneWay                          // one direction is silent, the connection stands
	HalfOpen                        // both are silent, the connection stands
	KillAgent                       // kill −9 of the agent at any moment
	PowerCut                        // what was not synced is gone
	DiskError                       // writes and syncs fail; the commit may be visible, durable, or neither
	DiskFull                        // no space left
	Rot                             // a bit of a record flips on disk
	Clock                           // the agent's clock jumps, up to ten years
	Rollback                        // the store's disk is set back to an older state
	Reinstall                       // the store's disk is lost
	Clone                           // a copy of the disk speaks under the same name
	KillCloud                       // kill −9 of the aggregator, between commit and answer too
	CloudError                      // the ledger's commit fails; it may be durable all the same
	CloudRestore                    // the ledger is restored from its newest backup
	CloudRollback                   // the ledger is set back without telling
	Retry                           // tills repeat documents, and lose answers
	Reuse                           // an id comes again with another body
	Late                            // tills are cut off from their agent and post hours later
	LateCount                       // counts arrive long after they were taken
	Poison                          // records that cannot take effect
	Replay                          // a person has a journal sent again
	faultEnd
)

var faultNames = []string{
	"loss", "duplicate", "reorder", "delay", "garble", "outage", "one-way", "half-open", "kill-agent", "power-cut", "disk-error",
	"disk-full", "rot", "clock", "rollback", "reinstall", "clone", "kill-cloud", "cloud-error", "cloud-restore", "cloud-rollback",
	"retry", "reuse", "late", "late-count", "poison", "replay",
}

// AllFaults is every kind.
const AllFaults = faultEnd - 1

// Has tells whether f contains all of g.
func (f Fault) Has(g Fault) bool { return f&g == g }

// String lists the names, joined by commas.
func (f Fault) String() string {
	var names []string
	for i, n := range faultNames {
		if f&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// ParseFaults reads what String writes.
func ParseFaults(s string) (Fault, error) {
	var f Fault
	if s == "none" {
		return 0, nil
	}
next:
	for name := range strings.SplitSeq(s, ",") {
		for i, n := range faultNames {
			if n == name {
				f |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("%q is not a fault; there are %s", name, strings.Join(faultNames, ", "))
	}
	return f, nil
}

// each calls fn for each kind in f.
func (f Fault) each(fn func(Fault)) {
	for i := range faultNames {
		if f&(1<<i) != 0 {
			fn(1 << i)
		}
	}
}
