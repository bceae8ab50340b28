package front

import (
	"bytes"

	"tillwire/protocol/httphead"
)

// Request is a recognised request. Its slices point into the read buffer.
type Request struct {
	Path          []byte // as in the address; nothing in it is escaped
	Host          []byte
	Authorization []byte // nil: none
	Traceparent   []byte // nil: none
	Body          []byte // JSON, says its sender
}

// verdict of parse.
type verdict uint8

const (
	mine    verdict = iota // answer it
	partial                // read on
	notMine                // net/http's
)

var call = []byte("POST /v1/")

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
	var h httphead.Fields
	end := bytes.Index(b, httphead.End)
	if end < 0 { // judge the lines that are there: net/http answers bad ones at once
		if lines := bytes.LastIndexByte(b, '\n') + 1; lines > 0 && !r.lines(&h, b[:lines]) {
			return Request{}, 0, notMine
		}
		return Request{}, 0, partial
	}
	if !r.lines(&h, b[:end+2]) || h.Host == nil || h.Length == 0 || !h.JSON {
		return Request{}, 0, notMine
	}
	size = end + len(httphead.End) + h.Length
	switch {
	case size > bufferBytes:
		return Request{}, 0, notMine
	case size > len(b):
		return Request{}, 0, partial
	}
	r.Host, r.Authorization, r.Traceparent = h.Host, h.Authorization, h.Traceparent
	r.Body = b[size-h.Length : size : size]
	return r, size, mine
}

// lines reads whole lines, the first included, and tells whether they leave no
// question open.
func (r *Request) lines(h *httphead.Fields, b []byte) bool {
	b = b[len("POST "):]
	i := 0
	for i < len(b) && (httphead.Plain(b[i]) || b[i] == '/') {
		i++
	}
	r.Path = b[:i:i]
	b, ok := bytes.CutPrefix(b[i:], httphead.Version)
	return ok && h.Read(b)
}
