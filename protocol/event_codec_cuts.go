package protocol

import (
	"fmt"

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
	for len(b) > 0 {
		f, rest, err := m.next(b)
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
