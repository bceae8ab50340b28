package gateway

import (
	"slices"

	"tillwire/protocol"
)

// Ages are how old changes were when the partner accepted them, the newest of them.
type Ages struct {
	ring  []int64 // µs
	next  int
	Total uint64
}

// Add notes one acceptance.
func (a *Ages) Add(us int64) {
	us = max(us, 0)
	a.Total++
	if len(a.ring) < agesKept {
		a.ring = append(a.ring, us)
		return
	}
	a.ring[a.next] = us
	a.next = (a.next + 1) % agesKept
}

// SLA tells their percentiles, nearest rank. nil: nothing was accepted yet.
func (a *Ages) SLA(targetS float64) *protocol.ConnectorSLA {
	n := len(a.ring)
	if n == 0 {
		return nil
	}
	list := slices.Sorted(slices.Values(a.ring))
	at := func(q float64) float64 { return float64(list[max(int(q*float64(n)+0.999999), 1)-1]) / 1e6 }
	within, _ := slices.BinarySearch(list, int64(targetS*1e6)+1)
	return &protocol.ConnectorSLA{
		Items: n, TargetS: targetS, Within: float64(within) / float64(n),
		P50S: at(0.5), P90S: at(0.9), P99S: at(0.99), MaxS: at(1),
	}
}
