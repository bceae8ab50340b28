package simulator

import (
	"cmp"
	"slices"
)

// seqSet is a set of seqs as stretches without a gap, in order. Gaps are rare: an
// agent's own events, which no till is told of.
type seqSet []stretch

// stretch holds from..to, both included.
type stretch struct{ from, to uint64 }

// add tells whether seq is new.
func (s *seqSet) add(seq uint64) bool {
	list := *s
	i, _ := slices.BinarySearchFunc(list, seq, func(x stretch, q uint64) int { return cmp.Compare(x.from, q) })
	if i < len(list) && list[i].from == seq || i > 0 && list[i-1].to >= seq {
		return false
	}
	below, above := i > 0 && list[i-1].to+1 == seq, i < len(list) && list[i].from == seq+1
	switch {
	case below && above:
		list[i-1].to = list[i].to
		*s = slices.Delete(list, i, i+1)
	case below:
		list[i-1].to = seq
	case above:
		list[i].from = seq
	default:
		*s = slices.Insert(list, i, stretch{seq, seq})
	}
	return true
}

// head is the highest seq, and how many there are.
func (s seqSet) head() (head, given uint64) {
	for _, x := range s {
		head, given = x.to, given+x.to-x.from+1
	}
	return head, given
}
