// Package httphead reads the head of an HTTP/1.1 request where it leaves no question
// open. The programs answer their hottest calls without net/http; what is no plain
// request of a few known fields goes to net/http, which knows the rest. So it decides
// nothing but that: it is stricter than RFC 9112 allows, and two programs are strict in
// the same way.
package httphead

import "bytes"

// End is the empty line behind a head, with the line break before it.
var End = []byte("\r\n\r\n")

// Version ends a request line.
var Version = []byte(" HTTP/1.1\r\n")

// Fields are what a short way looks at of a head; slices point into what was read.
type Fields struct {
	Host          []byte // nil: none
	Authorization []byte // nil: none
	Traceparent   []byte // nil: none
	Length        int    // of the body; 0: none is stated
	JSON          bool   // the body is said to be application/json
}

// lengthDigits are what a Content-Length may have: bodies that fit into memory.
const lengthDigits = 9

// Read takes whole header lines and tells whether it knows what each means. False is
// net/http's to judge: a field that stands twice or changes what the request is, another
// coding or kind of body, a browser's own fields, a line that is not plain ASCII.
func (f *Fields) Read(lines []byte) bool {
	for len(lines) > 0 {
		n := bytes.IndexByte(lines, '\n')
		if n < 2 || lines[n-1] != '\r' {
			return false
		}
		line := lines[:n-1]
		lines = lines[n+1:]
		colon := bytes.IndexByte(line, ':')
		if colon < 1 || !token(line[:colon]) || !printable(line[colon+1:]) || !f.take(line[:colon], bytes.Trim(line[colon+1:], " \t")) {
			return false
		}
	}
	return true
}

// take reads one field. Most names are ruled out by their length alone.
func (f *Fields) take(name, value []byte) bool {
	switch len(name) {
	case len("host"):
		if is(name, "host") {
			return once(&f.Host, value) && len(value) > 0
		}
	case len("authorization"):
		if is(name, "authorization") {
			return once(&f.Authorization, value)
		}
	case len("traceparent"):
		if is(name, "traceparent") {
			return once(&f.Traceparent, value)
		}
	case len("content-type"):
		if is(name, "content-type") {
			first := !f.JSON
			f.JSON = true
			return first && is(value, "application/json")
		}
	case len("content-length"):
		if is(name, "content-length") {
			return f.length(value)
		}
	case len("connection"):
		if is(name, "connection") {
			return is(value, "keep-alive")
		}
	}
	return !judged(name)
}

// judged tells the fields that change what a request means, or that a browser sends.
func judged(name []byte) bool {
	for _, word := range [...]string{"origin", "transfer-encoding", "content-encoding", "expect", "upgrade", "trailer", "te", "sec-fetch-site", "sec-fetch-mode"} {
		if is(name, word) {
			return true
		}
	}
	return false
}

// once sets a field that may stand only once.
func once(to *[]byte, value []byte) bool {
	if *to != nil {
		return false
	}
	if *to = value; value == nil {
		*to = []byte{}
	}
	return true
}

func (f *Fields) length(value []byte) bool {
	if f.Length != 0 || len(value) == 0 || len(value) > lengthDigits {
		return false
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
		f.Length = f.Length*10 + int(c-'0')
	}
	return f.Length > 0
}

// Plain tells the characters that stand for themselves wherever they stand in an address
// (RFC 3986's unreserved ones but the tilde).
func Plain(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_' || c == '.'
}

func token(b []byte) bool {
	for _, c := range b {
		if !Plain(c) {
			return false
		}
	}
	return true
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// is compares with a lower-case ASCII word, whatever the case.
func is(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}
