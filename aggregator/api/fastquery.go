package api

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
)

// fastSKUs is what a query answered without net/http may name; it is bounded by the
// front's buffer anyway.
const fastSKUs = 256

// asked is a query's body taken apart; its words are parts of the body. It is used
// again and again.
type asked struct {
	words, places []string
	channel       string
	skus          []protocol.SKU
	at            []protocol.StoreID
}

var askedPool = sync.Pool{New: func() any { return new(asked) }}

// AppendQuery appends a whole HTTP/1.1 answer to POST /v1/availability/query, or
// tells that it must be answered the long way.
func (a *API) AppendQuery(b, body, host, authorization []byte) ([]byte, bool) {
	began := time.Now()
	q := askedPool.Get().(*asked)
	defer askedPool.Put(q)
	if !a.knownHost(host) || !q.read(string(body)) || !q.name() {
		return b, false
	}
	start := len(b)
	b, length, ok := a.appendHead(b, authorization, a.o.Now())
	if !ok {
		return b[:start], false
	}
	b = a.appendList(b, q.words, q.skus, q.at, q.channel)
	length.close(b)
	a.timings.fastQuery.done(http.StatusOK, began)
	return b, true
}

// name takes the words for what they name. False where a SKU is refused.
func (q *asked) name() bool {
	q.skus, q.at = q.skus[:0], q.at[:0]
	for _, s := range q.words {
		sku, err := protocol.NormalizeSKU(s)
		if err != nil {
			return false
		}
		q.skus = append(q.skus, sku)
	}
	for _, l := range q.places {
		q.at = append(q.at, protocol.StoreID(l))
	}
	return true
}

// read takes a body apart if it is what nearly every caller sends: an object of
// "skus", "locations" and "channel", each once, of plain words. It never judges:
// what it does not read is read, or refused, by encoding/json.
func (q *asked) read(b string) bool {
	q.words, q.places, q.channel = q.words[:0], q.places[:0], ""
	b, ok := strings.CutPrefix(blank(b), "{")
	for more := ok; more; {
		var name string
		if name, b, ok = plainWord(b); !ok {
			return false
		}
		if b, ok = strings.CutPrefix(blank(b), ":"); !ok {
			return false
		}
		switch {
		case name == "skus" && len(q.words) == 0:
			q.words, b, ok = plainWords(q.words, b, fastSKUs)
		case name == "locations" && len(q.places) == 0:
			q.places, b, ok = plainWords(q.places, b, locationsMax)
		case name == "channel" && q.channel == "":
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
	return ok && len(blank(b)) == 0 && len(q.words) > 0
}

// plainWords reads an array of 1 to most words.
func plainWords(into []string, b string, most int) (words []string, rest string, ok bool) {
	b, ok = strings.CutPrefix(blank(b), "[")
	for ok {
		var w string
		if w, b, ok = plainWord(b); !ok || len(into) == most {
			return into, b, false
		}
		into = append(into, w)
		if b = blank(b); len(b) == 0 {
			return into, b, false
		}
		switch b[0] {
		case ']':
			return into, b[1:], true
		case ',':
			b = b[1:]
		default:
			return into, b, false
		}
	}
	return into, b, false
}

// plainWord reads a string of printable ASCII without escapes, not empty.
func plainWord(b string) (w, rest string, ok bool) {
	b, ok = strings.CutPrefix(blank(b), `"`)
	if !ok {
		return "", b, false
	}
	for i := range len(b) {
		c := b[i]
		if c == '"' {
			return b[:i], b[i+1:], i > 0
		}
		if c < ' ' || c > '~' || c == '\\' {
			break
		}
	}
	return "", b, false
}

func blank(b string) string {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}
