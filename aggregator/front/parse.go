package front

import "bytes"

// Request is a recognised request. Its slices point into the read buffer.
type Request struct {
	SKU           []byte
	Location      []byte // nil: all
	Host          []byte
	Authorization []byte // nil: none
	Body          []byte // of a query for many SKUs, JSON says its sender; nil: one SKU is asked for

	bulk   bool
	typed  bool
	length int // of the body
}

// verdict of parse.
type verdict uint8

const (
	mine    verdict = iota // answer it
	partial                // read on
	notMine                // net/http's
)

var (
	path     = []byte("GET /v1/availability/")
	bulk     = []byte("POST /v1/availability/query HTTP/1.1\r\n")
	query    = []byte("?location=")
	protocol = []byte(" HTTP/1.1\r\n")
)

// parse recognises the request at the start of b and tells its length. It is
// stricter than HTTP allows: net/http is there for everything else.
func parse(b []byte) (r Request, size int, v verdict) {
	start := path
	if len(b) > 0 && b[0] == bulk[0] {
		start, r.bulk = bulk, true
	}
	if len(b) < len(start) {
		if bytes.HasPrefix(start, b) {
			return Request{}, 0, partial
		}
		return Request{}, 0, notMine
	}
	if !bytes.HasPrefix(b, start) {
		return Request{}, 0, notMine
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 { // judge the lines that are there: net/http answers bad ones at once
		if lines := bytes.LastIndexByte(b, '\n') + 1; lines > 0 && !r.lines(b[len(start):max(lines, len(start))]) {
			return Request{}, 0, notMine
		}
		return Request{}, 0, partial
	}
	if !r.lines(b[len(start):max(end+2, len(start))]) || r.Host == nil {
		return Request{}, 0, notMine
	}
	size = end + 4
	if r.bulk {
		if !r.typed || r.length == 0 || size+r.length > bufferBytes {
			return Request{}, 0, notMine
		}
		if size += r.length; size > len(b) {
			return Request{}, 0, partial
		}
		r.Body = b[size-r.length : size : size]
	}
	return r, size, mine
}

// lines reads whole lines from the SKU on, or the headers of a query for many.
func (r *Request) lines(rest []byte) bool {
	if r.bulk {
		return r.headers(rest)
	}
	if r.SKU, rest = word(rest); r.SKU == nil || isRoute(r.SKU) {
		return false
	}
	if after, ok := bytes.CutPrefix(rest, query); ok {
		if r.Location, rest = word(after); r.Location == nil {
			return false
		}
	}
	rest, ok := bytes.CutPrefix(rest, protocol)
	return ok && r.headers(rest)
}

// isRoute: what stands in a SKU's place but is another call.
func isRoute(sku []byte) bool {
	switch string(sku) {
	case "changes", "stream", "query":
		return true
	}
	return false
}

// word takes a run of unreserved characters; nil where there is none, or it is
// too long.
func word(b []byte) (w, rest []byte) {
	i := 0
	for i < len(b) && plain(b[i]) {
		i++
	}
	if i == 0 || i > wordBytesMax || string(b[:i]) == "." || string(b[:i]) == ".." {
		return nil, b
	}
	return b[:i:i], b[i:]
}

func plain(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_' || c == '.'
}

// headers reads the header lines and tells whether they leave no question open.
func (r *Request) headers(b []byte) bool {
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\n')
		if n < 2 || b[n-1] != '\r' {
			return false
		}
		line := b[:n-1]
		b = b[n+1:]
		colon := bytes.IndexByte(line, ':')
		if colon < 1 || !token(line[:colon]) || !printable(line[colon+1:]) {
			return false
		}
		name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
		switch {
		case equalFold(name, "host"):
			if r.Host != nil || len(value) == 0 {
				return false
			}
			r.Host = value
		case equalFold(name, "authorization"):
			if r.Authorization != nil {
				return false
			}
			r.Authorization = value
		case equalFold(name, "connection"):
			if !equalFold(value, "keep-alive") {
				return false
			}
		case r.bulk && equalFold(name, "content-type"):
			if r.typed || !equalFold(value, "application/json") {
				return false
			}
			r.typed = true
		case r.bulk && equalFold(name, "content-length"):
			if r.length != 0 || !r.contentLength(value) {
				return false
			}
		case equalFold(name, "content-encoding"), equalFold(name, "content-length"), equalFold(name, "transfer-encoding"), equalFold(name, "expect"),
			equalFold(name, "upgrade"), equalFold(name, "trailer"), equalFold(name, "te"):
			return false
		}
	}
	return true
}

// contentLength takes a length that fits into the buffer, and is not 0.
func (r *Request) contentLength(value []byte) bool {
	if len(value) == 0 || len(value) > lengthDigits {
		return false
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
		r.length = r.length*10 + int(c-'0')
	}
	return r.length > 0
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
