package aggregator

import (
	"sync/atomic"

	"tillwire/protocol"
)

// reasons are why something of an agent is not taken; the last stands for words
// that a later version may bring.
var reasons = [...]protocol.NackReason{
	protocol.NackGap, protocol.NackChain, protocol.NackSuperseded, protocol.NackUpgrade, protocol.NackMalformed, protocol.NackNoSession, protocol.NackBusy,
	protocol.NackQuarantined, "other",
}

// refusals counts what was not taken, by reason.
type refusals [len(reasons)]atomic.Uint64

func (r *refusals) add(why protocol.NackReason) {
	for n, x := range reasons {
		if x == why || n == len(reasons)-1 {
			r[n].Add(1)
			return
		}
	}
}

func (r *refusals) each(fn func(why protocol.NackReason, n uint64)) {
	for n := range r {
		fn(reasons[n], r[n].Load())
	}
}
