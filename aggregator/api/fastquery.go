package api

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
)

// fastSKUs is what a query answered without net/http may name; it is bounded by the
// front's buffer anyway.
const fastSKUs = 256

// asked is a query's body taken apart; its words point into the body.
type asked struct {
	skus, locations [][]byte
	channel         []byte
	room            [fastSKUs][]byte
}

// AppendQuery appends a whole HTTP/1.1 answer to POST /v1/availability/query, or
// tells that it must be answered the long way.
func (a *API) AppendQuery(b, body, host, authorization []byte) ([]byte, bool) {
	began := time.Now()
	var q asked
	if !a.knownHost(host) || !q.read(body) {
		return b, false
	}
	at := make([]protocol.StoreID, len(q.locations))
	for i, l := range q.locations {
		at[i] = protocol.StoreID(l)
	}
	start := len(b)
	b, length, ok := a.appendHead(b, authorization, a.o.Now())
	if !ok {
		return b[:start], false
	}
	if b, ok = a.appendItems(b, &q, at); !ok {
		return b[:start], false
	}
	length.close(b)
	a.timings.fastQuery.done(http.StatusOK, began)
	return b, true
}

// appendItems writes what query answers. False where a SKU is refused.
func (a *API) appendItems(b []byte, q *asked, at []protocol.StoreID) ([]byte, bool) {
	b = append(b, `{"items":[`...)
	channel := string(q.channel)
	var unknown []int
	first := true
	for i, s := range q.skus {
		sku, err := protocol.NormalizeSKU(string(s))
		if err != nil {
			return b, false
		}
		n := len(b)
		if !first {
			b = append(b, ',')
		}
		var ok bool
		if b, ok = a.o.Availability.AppendJSONFor(b, sku, at, channel); !ok {
			b = b[:n]
			unknown = append(unknown, i)
			continue
		}
		first = false
	}
	b = append(b, `],"unknown":[`...)
	for i, at := range unknown {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, string(q.skus[at]))
	}
	return append(b, "]}"...), true
}

// read takes a body apart if it is what nearly every caller sends: an object of
// "skus", "locations" and "channel", each once, of plain words. It never judges:
// what it does not read is read, or refused, by encoding/json.
func (q *asked) read(b []byte) bool {
	q.skus = q.room[:0]
	b, ok := bytes.CutPrefix(blank(b), []byte("{"))
	for more := ok; more; {
		var name []byte
		if name, b, ok = plainWord(b); !ok {
			return false
		}
		if b, ok = bytes.CutPrefix(blank(b), []byte(":")); !ok {
			return false
		}
		switch {
		case string(name) == "skus" && len(q.skus) == 0:
			q.skus, b, ok = plainWords(q.skus, b, fastSKUs)
		case string(name) == "locations" && q.locations == nil:
			q.locations, b, ok = plainWords(nil, b, locationsMax)
		case string(name) == "channel" && q.channel == nil:
			q.channel, b, ok = plainWord(b)
		default:
			return false
		}
		if b = blank(b); !ok || len(b) == 0 {
			return false
		}
		more = b[0] == ','
		if !more && b[0] != '}' {
			return false
		}
		b = b[1:]
	}
	return ok && len(blank(b)) == 0 && len(q.skus) > 0
}

// plainWords reads an array of 1 to most words.
func plainWords(into [][]byte, b []byte, most int) (words [][]byte, rest []byte, ok bool) {
	b, ok = bytes.CutPrefix(blank(b), []byte("["))
	for ok {
		var w []byte
		if w, b, ok = plainWord(b); !ok || len(into) == most {
			return nil, b, false
		}
		into = append(into, w)
		if b = blank(b); len(b) == 0 {
			return nil, b, false
		}
		switch b[0] {
		case ']':
			return into, b[1:], true
		case ',':
			b = b[1:]
		default:
			return nil, b, false
		}
	}
	return nil, b, false
}

// plainWord reads a string of printable ASCII without escapes, not empty.
func plainWord(b []byte) (w, rest []byte, ok bool) {
	b, ok = bytes.CutPrefix(blank(b), []byte(`"`))
	if !ok {
		return nil, b, false
	}
	for i, c := range b {
		if c == '"' {
			return b[:i:i], b[i+1:], i > 0
		}
		if c < ' ' || c > '~' || c == '\\' {
			break
		}
	}
	return nil, b, false
}

func blank(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}
