package front

import (
	"bytes"

	"tillwire/protocol/httphead"
)

// Request is a recognised request. Its slices point into the read buffer.
type Request struct {
	SKU           []byte
	Location      []byte // nil: all
	Host          []byte
	Authorization []byte // nil: none
	Body          []byte // of a query for many SKUs, JSON says its sender; nil: one SKU is asked for

	bulk bool
}

// verdict of parse.
type verdict uint8

const (
	mine    verdict = iota // answer it
	partial                // read on
	notMine                // net/http's
)

var (
	path  = []byte("GET /v1/availability/")
	bulk  = []byte("POST /v1/availability/query HTTP/1.1\r\n")
	query = []byte("?location=")
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
	var h httphead.Fields
	end := bytes.Index(b, httphead.End)
	if end < 0 { // judge the lines that are there: net/http answers bad ones at once
		if lines := bytes.LastIndexByte(b, '\n') + 1; lines > 0 && !r.lines(&h, b[len(start):max(lines, len(start))]) {
			return Request{}, 0, notMine
		}
		return Request{}, 0, partial
	}
	if !r.lines(&h, b[len(start):max(end+2, len(start))]) || h.Host == nil || r.bulk != (h.Length > 0) || r.bulk && !h.JSON {
		return Request{}, 0, notMine
	}
	size = end + len(httphead.End) + h.Length
	switch {
	case size > bufferBytes:
		return Request{}, 0, notMine
	case size > len(b):
		return Request{}, 0, partial
	}
	if r.Host, r.Authorization = h.Host, h.Authorization; r.bulk {
		r.Body = b[size-h.Length : size : size]
	}
	return r, size, mine
}

// lines reads whole lines from the SKU on, or the headers of a query for many.
func (r *Request) lines(h *httphead.Fields, rest []byte) bool {
	if r.bulk {
		return h.Read(rest)
	}
	if r.SKU, rest = word(rest); r.SKU == nil || isRoute(r.SKU) {
		return false
	}
	if after, ok := bytes.CutPrefix(rest, query); ok {
		if r.Location, rest = word(after); r.Location == nil {
			return false
		}
	}
	rest, ok := bytes.CutPrefix(rest, httphead.Version)
	return ok && h.Read(rest)
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
	for i < len(b) && httphead.Plain(b[i]) {
		i++
	}
	if i == 0 || i > wordBytesMax || string(b[:i]) == "." || string(b[:i]) == ".." {
		return nil, b
	}
	return b[:i:i], b[i:]
}
