package edi

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"tillwire/protocol"
)

// Codes of refusals.
const (
	CodeUnreadable = "edi_unreadable"        // not one of the two syntaxes, or not in a readable encoding
	CodeHalf       = "half_file"             // the envelope does not close
	CodeCounts     = "control_mismatch"      // what an envelope counts or repeats differs from what is there
	CodeUnknown    = "unknown_code"          // a code that the tables do not have
	CodePlace      = "unknown_place"         // a location that the tables do not have
	CodeNowhere    = "unknown_destination"   // goods left, and nothing says whereto
	CodeClockless  = "clockless_time"        // a date without a time of day
	CodeMissing    = "missing_field"         // what the message must say
	CodeReused     = "control_number_reused" // for callers that remember control numbers
)

// Segment is one line of a message.
type Segment struct {
	Tag  string
	elem [][]string // elements by components; a repeated element keeps its first
	from int        // bytes of the text
	to   int
}

// At is a component of an element, both counted as the standards do, from 1; "" where
// there is none.
func (s *Segment) At(element, component int) string {
	if element > len(s.elem) || component > len(s.elem[element-1]) {
		return ""
	}
	return strings.TrimSpace(s.elem[element-1][component-1])
}

// marks are the characters that part a text; 0 where there is none.
type marks struct {
	element, component, repeat, release, end byte
}

// Text turns a file's bytes into text. encoding is what the partner agreed to write:
// "" means as the file declares it, else UTF-8.
func Text(raw []byte, encoding string) ([]byte, *protocol.Problem) {
	switch {
	case bytes.HasPrefix(raw, []byte{0xEF, 0xBB, 0xBF}):
		raw = raw[3:]
	case bytes.HasPrefix(raw, []byte{0xFF, 0xFE}), bytes.HasPrefix(raw, []byte{0xFE, 0xFF}):
		return fromUTF16(raw[2:], raw[0] == 0xFE)
	}
	if bytes.IndexByte(raw, 0) >= 0 {
		return nil, refusal(CodeUnreadable, "", "holds zero bytes: it is UTF-16 without a byte order mark, or no text")
	}
	if utf8.Valid(raw) {
		return raw, nil
	}
	if encoding == "latin1" || encoding == "" && bytes.Contains(raw[:min(len(raw), 64)], []byte("UNOC")) {
		out := make([]rune, len(raw))
		for i, c := range raw {
			out[i] = rune(c)
		}
		return []byte(string(out)), nil
	}
	return nil, refusal(CodeUnreadable, "", `is not in UTF-8 and declares no other encoding; say encoding = "latin1" where the partner writes that`)
}

func fromUTF16(raw []byte, big bool) ([]byte, *protocol.Problem) {
	if len(raw)%2 != 0 {
		return nil, refusal(CodeHalf, "", "is UTF-16 and ends within a character")
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		lo, hi := raw[2*i], raw[2*i+1]
		if big {
			lo, hi = hi, lo
		}
		units[i] = uint16(lo) | uint16(hi)<<8
	}
	return []byte(string(utf16.Decode(units))), nil
}

// x12Marks reads the delimiters from an ISA segment, which has one length.
func x12Marks(t []byte) (marks, *protocol.Problem) {
	if len(t) < isaBytes {
		return marks{}, refusal(CodeHalf, "/ISA", fmt.Sprintf("has %d of its 106 characters", len(t)))
	}
	m := marks{element: t[3], component: t[104], end: t[105], repeat: t[82]}
	if n := bytes.Count(t[:isaBytes-1], []byte{m.element}); n != 16 || t[103] != m.element {
		return m, refusal(CodeUnreadable, "/ISA", "does not have its 16 elements at their places: they have fixed lengths")
	}
	if m.repeat == 'U' || alnum(m.repeat) { // before version 00402 it named the standard
		m.repeat = 0
	}
	return m, m.check("/ISA")
}

// edifactMarks reads the delimiters from UNA, or takes the usual ones; n is how long
// UNA is.
func edifactMarks(t []byte) (m marks, n int, p *protocol.Problem) {
	m = marks{element: '+', component: ':', release: '?', end: '\''}
	if !bytes.HasPrefix(t, []byte("UNA")) {
		return m, 0, nil
	}
	if len(t) < 9 {
		return m, 0, refusal(CodeHalf, "/UNA", "ends early")
	}
	m = marks{component: t[3], element: t[4], release: t[6], repeat: t[7], end: t[8]}
	if m.repeat == ' ' {
		m.repeat = 0
	}
	if m.release == ' ' {
		m.release = 0
	}
	return m, 9, m.check("/UNA")
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

func (m marks) check(ptr string) *protocol.Problem {
	seen := map[byte]bool{0: true}
	for _, c := range []byte{m.element, m.component, m.end} {
		if seen[c] || alnum(c) || c == ' ' || c >= utf8.RuneSelf {
			return refusal(CodeUnreadable, ptr, "declares delimiters that cannot part anything")
		}
		seen[c] = true
	}
	for _, c := range []byte{m.repeat, m.release} {
		if c != 0 && (seen[c] || alnum(c) || c >= utf8.RuneSelf) {
			return refusal(CodeUnreadable, ptr, "declares one delimiter for two things")
		}
		seen[c] = true
	}
	return nil
}

// segments parts a text. What is left without a terminator means that the file ends
// early.
func (m marks) segments(t []byte, at int) ([]Segment, *protocol.Problem) {
	var out []Segment
	for at < len(t) {
		for at < len(t) && (t[at] == '\r' || t[at] == '\n' || t[at] == ' ' || t[at] == '\t') {
			at++
		}
		if at == len(t) {
			break
		}
		s, next, p := m.segment(t, at)
		if p != nil {
			return nil, p
		}
		if out = append(out, s); len(out) > segmentsMax {
			return nil, refusal(CodeUnreadable, "", fmt.Sprintf("has more than %d segments", segmentsMax))
		}
		at = next
		if (s.Tag == "IEA" || s.Tag == "UNZ") && at < len(t) && nextIsHead(t[at:]) {
			break // another interchange, which may have delimiters of its own
		}
	}
	return out, nil
}

func nextIsHead(t []byte) bool {
	t = bytes.TrimLeft(t, "\r\n\t ")
	for _, head := range []string{"ISA", "UNA", "UNB"} {
		if bytes.HasPrefix(t, []byte(head)) {
			return true
		}
	}
	return false
}

// segment reads one, up to and with its terminator.
func (m marks) segment(t []byte, from int) (s Segment, next int, p *protocol.Problem) {
	s = Segment{from: from}
	var part []byte
	parts := []string{}
	repeated, named := false, false
	closePart := func() {
		if !repeated && len(parts) < componentsMax {
			parts = append(parts, string(part))
		}
		part = part[:0]
	}
	closeElement := func() {
		closePart()
		switch {
		case !named && len(parts) > 0:
			s.Tag, named = strings.ToUpper(strings.TrimSpace(parts[0])), true
		case len(s.elem) < elementsMax:
			s.elem = append(s.elem, parts)
		}
		parts, repeated = []string{}, false
	}
	isa := bytes.HasPrefix(t[from:], []byte("ISA")) && m.release == 0
	for at := from; at < len(t); at++ {
		switch c := t[at]; {
		case m.release != 0 && c == m.release && at+1 < len(t):
			at++
			part = append(part, t[at])
		case c == m.end:
			closeElement()
			s.to = at + 1
			if s.Tag == "" {
				return s, 0, refusal(CodeUnreadable, "", fmt.Sprintf("has a segment without a name at byte %d", from))
			}
			return s, at + 1, nil
		case c == m.element:
			closeElement()
		case c == m.component && !isa:
			closePart()
		case m.repeat != 0 && c == m.repeat && !isa:
			closePart()
			repeated = true
		default:
			part = append(part, c)
		}
	}
	return s, 0, refusal(CodeHalf, "", fmt.Sprintf("ends within a segment that begins at byte %d", from))
}

func refusal(code, ptr, msg string) *protocol.Problem {
	detail := msg
	if ptr != "" {
		detail = ptr + " " + msg
	}
	p := protocol.NewProblem(422, code, "The EDI file cannot be taken", detail, "Mend what it names, at the partner or in the tables of the feed, and retry: what was taken counts once.")
	p.Errors = []protocol.FieldError{{Pointer: ptr, Message: msg}}
	return p
}
