package protocol

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// acknowledged reads what a stating system had processed when it made its
// statement: {"S0042/server": 187}, the highest seq per journal. A journal that
// was begun anew names its epoch: {"S0042/server:3": 12}. The order of members
// means nothing, so equal statements make equal events.
func (r *docReader) acknowledged(where at) error {
	if k := r.dec.PeekKind(); k != '{' {
		if k != 'n' && k != 0 {
			r.seen |= 1 << docAcknowledged
			r.invalid(where.String(), `must be an object of seqs by journal, such as {"S0042/server": 187}`)
		}
		return r.dec.SkipValue()
	}
	r.seen |= 1 << docAcknowledged
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	for r.dec.PeekKind() == '"' {
		name, err := r.name()
		if err != nil {
			return err
		}
		if err := r.ack(where, string(name)); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	acks := r.e.Acks
	slices.SortFunc(acks, compareAcks)
	for i := 1; i < len(acks); i++ {
		if compareAcks(acks[i-1], acks[i]) == 0 {
			r.invalid(where.String()+pointer(ackName(&acks[i])), "is acknowledged twice: without an epoch the first one is meant")
		}
	}
	return nil
}

func compareAcks(a, b JournalAck) int {
	return cmp.Or(
		strings.Compare(string(a.Origin.Store), string(b.Origin.Store)), strings.Compare(string(a.Origin.Agent), string(b.Origin.Agent)),
		cmp.Compare(max(a.Epoch, 1), max(b.Epoch, 1)))
}

// ack reads one member.
func (r *docReader) ack(where at, name string) error {
	ptr := func() string { return where.String() + pointer(name) }
	v, err := r.dec.ReadValue()
	if err != nil {
		return err
	}
	a, ok := parseAckName(name)
	if !ok {
		r.invalid(ptr(), "is no journal: write store/agent, or store/agent:epoch")
		return nil
	}
	seq, wrong := strconv.ParseUint(string(v), 10, 64)
	a.Seq = seq
	switch n := len(r.e.Acks); {
	case wrong != nil:
		r.invalid(ptr(), "must be the highest seq processed: a whole number from 0")
	case n < AcksMax:
		r.e.Acks = append(r.e.Acks, a)
	case n == AcksMax && !r.acksMore:
		r.acksMore = true
		r.invalid(where.String(), "names more than "+strconv.Itoa(AcksMax)+" journals")
	}
	return nil
}

// parseAckName reads store/agent or store/agent:epoch. Journals of feeds have a
// colon in their agent: DC1/feed:wms:2.
func parseAckName(s string) (a JournalAck, ok bool) {
	store, agent, found := strings.Cut(s, "/")
	bare, feed := strings.CutPrefix(agent, FeedAgentPrefix)
	bare, epoch, told := strings.Cut(bare, ":")
	if !found || CheckName(store) != nil || CheckName(bare) != nil {
		return a, false
	}
	if told {
		n, err := strconv.ParseUint(epoch, 10, 64)
		if err != nil || n == 0 {
			return a, false
		}
		a.Epoch = n
	}
	if feed {
		bare = FeedAgentPrefix + bare
	}
	a.Origin = Origin{Store: StoreID(store), Agent: AgentID(bare)}
	return a, len(bare) <= NameBytesMax
}

func ackName(a *JournalAck) string {
	if a.Epoch == 0 {
		return a.Origin.String()
	}
	return a.Origin.String() + ":" + strconv.FormatUint(a.Epoch, 10)
}
