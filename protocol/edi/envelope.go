package edi

import (
	"bytes"
	"fmt"
	"strconv"

	"tillwire/protocol"
)

// Interchange is one envelope with what it holds.
type Interchange struct {
	Syntax   string // x12 or edifact
	Sender   string
	Receiver string
	Control  string
	Date     string // as it stands: YYMMDD or YYYYMMDD, and HHMM
	Time     string
	Raw      []byte
	Messages []Message
	Problem  *protocol.Problem // nothing of it may be used
}

// Message is one transaction set, or message.
type Message struct {
	Type     string // 944, DESADV
	Version  string // 004010, D96A
	Control  string
	Segments []Segment // without its own head and tail
	Raw      []byte    // an interchange that holds nothing but it
	Problem  *protocol.Problem
}

// Split parts a text into interchanges. The problem is of the text as a whole.
func Split(t []byte) ([]Interchange, *protocol.Problem) {
	var out []Interchange
	for {
		t = bytes.TrimLeft(t, "\r\n\t ")
		if len(t) == 0 {
			break
		}
		if len(out) == interchangesMax {
			return nil, refusal(CodeUnreadable, "", fmt.Sprintf("has more than %d interchanges", interchangesMax))
		}
		var m marks
		var p *protocol.Problem
		at := 0
		x12 := bytes.HasPrefix(t, []byte("ISA"))
		switch {
		case x12:
			m, p = x12Marks(t)
		case bytes.HasPrefix(t, []byte("UNA")), bytes.HasPrefix(t, []byte("UNB")):
			m, at, p = edifactMarks(t)
		default:
			p = refusal(CodeUnreadable, "", "begins with none of ISA, UNA and UNB")
		}
		if p != nil {
			return nil, p
		}
		segs, p := m.segments(t, at)
		if p != nil {
			return nil, p
		}
		if len(segs) == 0 {
			return nil, refusal(CodeHalf, "", "ends after its delimiters")
		}
		e := envelope{t: t, una: t[:at], segs: segs, names: edifactNames}
		if x12 {
			e.names = x12Names
		}
		out = append(out, e.read())
		t = t[segs[len(segs)-1].to:]
	}
	if len(out) == 0 {
		return nil, refusal(CodeHalf, "", "is empty")
	}
	return out, nil
}

// names are a syntax's envelope segments, and where their elements stand.
type names struct {
	syntax                                           string
	head, tail, group, groupTail, message, endOf     string
	headControl, tailControl, tailCount              int
	groupControl, groupTailControl, groupTailCount   int
	messageControl, endControl, endCount, messageTyp int
}

var (
	x12Names = names{
		syntax: "x12", head: "ISA", tail: "IEA", group: "GS", groupTail: "GE", message: "ST", endOf: "SE",
		headControl: 13, tailCount: 1, tailControl: 2, groupControl: 6, groupTailCount: 1, groupTailControl: 2,
		messageTyp: 1, messageControl: 2, endCount: 1, endControl: 2,
	}
	edifactNames = names{
		syntax: "edifact", head: "UNB", tail: "UNZ", group: "UNG", groupTail: "UNE", message: "UNH", endOf: "UNT",
		headControl: 5, tailCount: 1, tailControl: 2, groupControl: 5, groupTailCount: 1, groupTailControl: 2,
		messageTyp: 2, messageControl: 1, endCount: 1, endControl: 2,
	}
)

type envelope struct {
	names
	t, una []byte
	segs   []Segment
	out    Interchange
	group  *Segment // the group that is open
	inIt   int      // messages of the group
	groups int
	open   *Segment // the message that is open
	first  int      // of its segments
}

func (e *envelope) read() Interchange {
	head, tail := &e.segs[0], &e.segs[len(e.segs)-1]
	o := &e.out
	o.Syntax, o.Control, o.Raw = e.syntax, head.At(e.headControl, 1), e.t[:tail.to]
	if e.syntax == "x12" {
		o.Sender, o.Receiver, o.Date, o.Time = head.At(6, 1), head.At(8, 1), head.At(9, 1), head.At(10, 1)
	} else {
		o.Sender, o.Receiver, o.Date, o.Time = head.At(2, 1), head.At(3, 1), head.At(4, 1), head.At(4, 2)
	}
	if head.Tag != e.head {
		o.Problem = refusal(CodeUnreadable, "/"+head.Tag, "stands where "+e.head+" belongs")
		return e.out
	}
	if tail.Tag != e.tail {
		o.Problem = refusal(CodeHalf, "/"+e.tail, "is missing: the interchange does not end")
		return e.out
	}
	for i := 1; i < len(e.segs)-1 && o.Problem == nil; i++ {
		o.Problem = e.step(i)
	}
	if o.Problem == nil {
		o.Problem = e.closed(tail)
	}
	return e.out
}

// step goes over one segment between head and tail.
func (e *envelope) step(i int) *protocol.Problem {
	s := &e.segs[i]
	switch s.Tag {
	case e.head, e.tail:
		return refusal(CodeHalf, "/"+s.Tag, "stands within an interchange: a part of the file is missing")
	case e.names.group:
		if e.group != nil || e.open != nil {
			return refusal(CodeHalf, "/"+s.Tag, "begins while "+e.groupTail+" of the last is missing")
		}
		e.group, e.inIt = s, 0
		e.groups++
	case e.groupTail:
		if e.group == nil || e.open != nil {
			return refusal(CodeHalf, "/"+s.Tag, "closes what is not open")
		}
		if p := counted(s, e.groupTailCount, e.inIt, e.groupTailControl, e.group.At(e.groupControl, 1)); p != nil {
			return p
		}
		e.group = nil
	case e.message:
		if e.open != nil {
			return refusal(CodeHalf, "/"+s.Tag, "begins while "+e.endOf+" of the last is missing")
		}
		if e.syntax == "x12" && e.group == nil {
			return refusal(CodeHalf, "/"+s.Tag, "stands outside of a group: GS is missing")
		}
		e.open, e.first = s, i
	case e.endOf:
		if e.open == nil {
			return refusal(CodeHalf, "/"+s.Tag, "closes what is not open")
		}
		if len(e.out.Messages) == messagesMax {
			return refusal(CodeUnreadable, "", fmt.Sprintf("has more than %d messages", messagesMax))
		}
		e.message1(i)
	default:
		if e.open == nil {
			return refusal(CodeHalf, "/"+s.Tag, "stands outside of a message")
		}
	}
	return nil
}

// message1 closes the open message with its tail at i.
func (e *envelope) message1(i int) {
	s, open := &e.segs[i], e.open
	m := Message{Type: open.At(e.messageTyp, 1), Control: open.At(e.messageControl, 1), Segments: e.segs[e.first+1 : i]}
	if e.syntax == "x12" {
		m.Version = e.group.At(8, 1)
	} else {
		m.Version = open.At(2, 2) + open.At(2, 3)
	}
	m.Problem = counted(s, e.endCount, i-e.first+1, e.endControl, m.Control)
	m.Raw = e.alone(open.from, s.to)
	e.out.Messages = append(e.out.Messages, m)
	e.inIt++
	e.open = nil
}

// closed compares the tail with what was there.
func (e *envelope) closed(tail *Segment) *protocol.Problem {
	switch {
	case e.open != nil:
		return refusal(CodeHalf, "/"+e.endOf, "is missing: a message does not end")
	case e.group != nil:
		return refusal(CodeHalf, "/"+e.groupTail, "is missing: a group does not end")
	}
	n := e.groups
	if e.syntax == "edifact" && n == 0 {
		n = len(e.out.Messages)
	}
	return counted(tail, e.tailCount, n, e.tailControl, e.out.Control)
}

// counted holds a tail against what it closes.
func counted(s *Segment, countAt, is, controlAt int, control string) *protocol.Problem {
	if n, err := strconv.Atoi(s.At(countAt, 1)); err != nil || n != is {
		return refusal(CodeCounts, "/"+s.Tag, fmt.Sprintf("counts %.20q where %d are there: something is missing or doubled", s.At(countAt, 1), is))
	}
	if got := s.At(controlAt, 1); got != control {
		return refusal(CodeCounts, "/"+s.Tag, fmt.Sprintf("repeats the control number as %.40q, the head says %.40q", got, control))
	}
	return nil
}

// alone wraps one message in the envelope that it came in, so that it can be read
// again by itself.
func (e *envelope) alone(from, to int) []byte {
	head := &e.segs[0]
	sep, end := string(e.t[head.from+3]), string(e.t[head.to-1])
	out := append([]byte{}, e.una...)
	out = append(out, e.t[head.from:head.to]...)
	if e.group != nil {
		out = append(out, e.t[e.group.from:e.group.to]...)
	}
	out = append(out, e.t[from:to]...)
	if e.group != nil {
		out = append(out, e.groupTail+sep+"1"+sep+e.group.At(e.groupControl, 1)+end...)
	}
	return append(out, e.tail+sep+"1"+sep+e.out.Control+end...)
}
