package protocol

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of messages SiblingCut and JournalAck; only the latter has a store.
const (
	cAgent protowire.Number = iota + 1
	cEpoch
	cSeq
	cStore
)

var (
	cutMessage = message{cSeq, bytesFields(cAgent)}
	ackMessage = message{cStore, bytesFields(cAgent, cStore)}
)

func appendCut(b []byte, c *SiblingCut) []byte {
	b = protowire.AppendTag(b, lSiblingCut, protowire.BytesType)
	at := len(b)
	b = append(b, 0)
	b = appendString(b, cAgent, string(c.Agent))
	b = appendUint(b, cEpoch, c.Epoch)
	b = appendUint(b, cSeq, c.Seq)
	return fixLength(b, at)
}

func appendAck(b []byte, a *JournalAck) []byte {
	b = protowire.AppendTag(b, fAck, protowire.BytesType)
	at := len(b)
	b = append(b, 0)
	b = appendString(b, cAgent, string(a.Origin.Agent))
	b = appendUint(b, cEpoch, a.Epoch)
	b = appendUint(b, cSeq, a.Seq)
	b = appendString(b, cStore, string(a.Origin.Store))
	return fixLength(b, at)
}

// journalAt reads one of the two messages.
func (m *message) journalAt(b []byte) (a JournalAck, err error) {
	var f field
	for len(b) > 0 {
		rest, err := m.next(b, &f)
		if err != nil {
			return a, err
		}
		b = rest
		switch f.number {
		case cAgent:
			a.Origin.Agent = AgentID(f.raw)
		case cEpoch:
			a.Epoch = f.num
		case cSeq:
			a.Seq = f.num
		case cStore:
			a.Origin.Store = StoreID(f.raw)
		}
	}
	if a.Origin.Agent == "" || len(a.Origin.Agent) > NameBytesMax || len(a.Origin.Store) > NameBytesMax {
		return a, fmt.Errorf("%w: a cut without a journal's name, or with one above %d bytes", ErrMalformed, NameBytesMax)
	}
	return a, nil
}

// cutsFollow is 1 where a line's cuts are those of the line before it but for some
// seqs: then only these are written. Nearly every line of a count is such a line,
// and without this a long count in a shop of many tills would not fit a record.
func cutsFollow(cuts, before []SiblingCut) uint64 {
	if len(cuts) == 0 || len(cuts) != len(before) {
		return 0
	}
	for i := range cuts {
		if cuts[i].Agent != before[i].Agent || cuts[i] != before[i] && agentAt(before, cuts[i].Agent) != i {
			return 0
		}
	}
	return 1
}

func agentAt(cuts []SiblingCut, a AgentID) int {
	return slices.IndexFunc(cuts, func(c SiblingCut) bool { return c.Agent == a })
}

// followCuts completes cuts of which only the changed ones were written. Lines
// without a change share their cuts: nobody may write into them.
func (l *Line) followCuts(before []SiblingCut) error {
	if len(before) == 0 {
		return fmt.Errorf("%w: cuts that follow no others", ErrMalformed)
	}
	changed := l.Cuts
	if l.Cuts = slices.Clip(before); len(changed) == 0 {
		return nil
	}
	l.Cuts = slices.Clone(before)
	for _, c := range changed {
		i := agentAt(before, c.Agent)
		if i < 0 {
			return fmt.Errorf("%w: a cut over %s follows none", ErrMalformed, c.Agent)
		}
		l.Cuts[i] = c
	}
	return nil
}

func (l *Line) decodeCut(b []byte) error {
	if len(l.Cuts) == CutsMax {
		return fmt.Errorf("%w: more than %d cuts", ErrMalformed, CutsMax)
	}
	a, err := cutMessage.journalAt(b)
	if err != nil {
		return err
	}
	l.Cuts = append(l.Cuts, SiblingCut{Agent: a.Origin.Agent, Epoch: a.Epoch, Seq: a.Seq})
	return nil
}

func (e *Event) decodeAck(b []byte) error {
	if len(e.Acks) == AcksMax {
		return fmt.Errorf("%w: more than %d acknowledged journals", ErrMalformed, AcksMax)
	}
	a, err := ackMessage.journalAt(b)
	if err != nil {
		return err
	}
	if a.Origin.Store == "" {
		return fmt.Errorf("%w: an acknowledged journal without its store", ErrMalformed)
	}
	e.Acks = append(e.Acks, a)
	return nil
}
