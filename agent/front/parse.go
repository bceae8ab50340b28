package front

import "bytes"

// Request is a recognised request. Its slices point into the read buffer.
type Request struct {
	Path          []byte // as in the address; nothing in it is escaped
	Host          []byte
	Authorization []byte // nil: none
	Traceparent   []byte // nil: none
	Body          []byte // JSON, says its sender

	length int // of the body; -1: not stated yet
	typed  bool
}

// verdict of parse.
type verdict uint8

const (
	mine    verdict = iota // answer it
	partial                // read on
	notMine                // net/http's
)

var (
	call     = []byte("POST /v1/")
	protocol = []byte(" HTTP/1.1\r\n")
	headEnd  = []byte("\r\n\r\n")
)

// parse recognises the request at the start of b and tells its length. It is
// stricter than HTTP allows: net/http is there for everything else.
func parse(b []byte) (r Request, size int, v verdict) {
	if len(b) < len(call) {
		if bytes.HasPrefix(call, b) {
			return r, 0, partial
		}
		return r, 0, notMine
	}
	if !bytes.HasPrefix(b, call) {
		return r, 0, notMine
	}
	r.length = -1
	end := bytes.Index(b, headEnd)
	if end < 0 { // judge the lines that are there: net/http answers bad ones at once
		if lines := bytes.LastIndexByte(b, '\n') + 1; lines > 0 && !r.lines(b[:lines]) {
			return Request{}, 0, notMine
		}
		return Request{}, 0, partial
	}
	if !r.lines(b[:end+2]) || r.Host == nil || r.length < 0 || !r.typed {
		return Request{}, 0, notMine
	}
	size = end + len(headEnd) + r.length
	switch {
	case size > bufferBytes:
		return Request{}, 0, notMine
	case size > len(b):
		return Request{}, 0, partial
	}
	r.Body = b[size-r.length : size : size]
	return r, size, mine
}

// lines reads whole lines, the first included, and tells whether they leave no
// question open.
func (r *Request) lines(b []byte) bool {
	b = b[len("POST "):]
	i := 0
	for i < len(b) && (plain(b[i]) || b[i] == '/') {
		i++
	}
	r.Path = b[:i:i]
	b, ok := bytes.CutPrefix(b[i:], protocol)
	for ok && len(b) > 0 {
		n := bytes.IndexByte(b, '\n')
		if n < 2 || b[n-1] != '\r' {
			return false
		}
		line := b[:n-1]
		b = b[n+1:]
		colon := bytes.IndexByte(line, ':')
		ok = colon > 0 && token(line[:colon]) && printable(line[colon+1:]) && r.header(line[:colon], bytes.Trim(line[colon+1:], " \t"))
	}
	return ok
}

// header takes one header; false where it is net/http's to judge.
func (r *Request) header(name, value []byte) bool {
	switch len(name) { // most names are ruled out by their length alone
	case len("host"):
		if equalFold(name, "host") {
			return once(&r.Host, value) && len(value) > 0
		}
	case len("authorization"):
		if equalFold(name, "authorization") {
			return once(&r.Authorization, value)
		}
	case len("traceparent"):
		if equalFold(name, "traceparent") {
			return once(&r.Traceparent, value)
		}
	case len("content-type"):
		if equalFold(name, "content-type") {
			first := !r.typed
			r.typed = true
			return first && equalFold(value, "application/json")
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			return r.contentLength(value)
		}
	case len("connection"):
		if equalFold(name, "connection") {
			return equalFold(value, "keep-alive")
		}
	}
	return !judged(name)
}

// judged tells the headers that change what a request means, or that a browser
// sends: they are for net/http and the guards behind it.
func judged(name []byte) bool {
	for _, word := range [...]string{"origin", "transfer-encoding", "content-encoding", "expect", "upgrade", "trailer", "te", "sec-fetch-site", "sec-fetch-mode"} {
		if equalFold(name, word) {
			return true
		}
	}
	return false
}

// once sets a header that may stand only once.
func once(to *[]byte, value []byte) bool {
	if *to != nil {
		return false
	}
	if *to = value; value == nil {
		*to = []byte{}
	}
	return true
}

func (r *Request) contentLength(value []byte) bool {
	if r.length >= 0 || len(value) == 0 || len(value) > lengthDigits {
		return false
	}
	n := 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	r.length = n
	return n > 0
}

func plain(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_' || c == '.'
}

func token(b []byte) bool {
	for _, c := range b {
		if !plain(c) {
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

// equalFold compares with a lower-case ASCII word.
func equalFold(b []byte, word string) bool {
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
