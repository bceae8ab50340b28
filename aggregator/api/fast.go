package api

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tillwire/protocol"
)

// The one hot call without net/http: same checks, same answer, less work around
// it. What it will not answer, net/http answers with all the words.

// keyTrust is how long a verified key is believed without looking again: as
// long as a revocation may take to be noticed anyway.
const keyTrust = time.Second

// trusted is a key that was verified.
type trusted struct {
	name  string
	until time.Time
}

// fastState is what the fast path remembers between requests.
type fastState struct {
	host atomic.Pointer[string] // last Host that was accepted
	keys sync.Map               // token → trusted; bounded, since only good keys get in
	date atomic.Pointer[dated]
}

type dated struct {
	unix int64
	line []byte
}

// lengthRoom is where Content-Length is written once the body is known; HTTP
// allows the blanks before it.
const lengthRoom = "\r\nContent-Length:         "

// AppendAvailability appends a whole HTTP/1.1 answer to GET
// /v1/availability/{sku}[?location=], or tells that it must be answered the
// long way.
func (a *API) AppendAvailability(b, sku, location, host, authorization []byte) ([]byte, bool) {
	now := a.o.Now()
	if !a.knownHost(host) {
		return b, false
	}
	s, err := protocol.NormalizeSKU(string(sku))
	if err != nil {
		return b, false
	}
	start := len(b)
	b, length, ok := a.appendHead(b, authorization, now)
	if !ok {
		return b[:start], false
	}
	var at []protocol.StoreID
	var one [1]protocol.StoreID
	if location != nil {
		one[0] = protocol.StoreID(location)
		at = one[:]
	}
	if b, ok = a.o.Availability.AppendJSON(b, s, at); !ok {
		return b[:start], false
	}
	length.close(b)
	a.timings.fast.Inc()
	return b, true
}

// pendingLength is where Content-Length ends, and where the body begins.
type pendingLength struct{ digits, body int }

// close writes the length of the body that b ends with.
func (p pendingLength) close(b []byte) {
	at := p.digits
	for n := len(b) - p.body; n > 0; n /= 10 {
		at--
		b[at] = byte('0' + n%10)
	}
}

// appendHead appends the head of an answer, its length still open. False where the
// key is refused; what was appended is void then.
func (a *API) appendHead(b, authorization []byte, now time.Time) ([]byte, pendingLength, bool) {
	b = append(b, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nDate: "...)
	b = append(b, a.date(now)...)
	b = a.appendGeneration(b)
	if !a.o.Dev {
		var ok bool
		if b, ok = a.appendLimits(b, authorization, now); !ok {
			return b, pendingLength{}, false
		}
	}
	b = append(b, lengthRoom...)
	p := pendingLength{digits: len(b)}
	b = append(b, "\r\n\r\n"...)
	p.body = len(b)
	return b, p, true
}

func (a *API) knownHost(host []byte) bool {
	if last := a.fast.host.Load(); last != nil && string(host) == *last {
		return true
	}
	h := string(host)
	if !a.HostOK(h) {
		return false
	}
	a.fast.host.Store(&h)
	return true
}

// appendLimits checks key, role and rate, and appends what is left of the rate.
func (a *API) appendLimits(b, authorization []byte, now time.Time) ([]byte, bool) {
	token, ok := bytes.CutPrefix(authorization, []byte("Bearer "))
	if !ok {
		return b, false
	}
	v, ok := a.fast.keys.Load(string(token))
	if !ok || now.After(v.(trusted).until) {
		role, name, err := a.o.Key(string(token))
		if err != nil || !allowed(readers, role) {
			a.fast.keys.Delete(string(token))
			return b, false
		}
		v = trusted{name, now.Add(keyTrust)}
		a.fast.keys.Store(string(token), v)
	}
	left, ok := a.rates.spend(v.(trusted).name, now)
	if !ok {
		return b, false
	}
	b = append(b, "\r\nRateLimit: "...)
	b = append(append(b, `"key";r=`...), strconv.Itoa(left)...)
	return append(append(b, "\r\nRateLimit-Policy: "...), ratePolicy...), true
}

// date is the Date header's value, made once a second.
func (a *API) date(now time.Time) []byte {
	d := a.fast.date.Load()
	if d == nil || d.unix != now.Unix() {
		d = &dated{now.Unix(), []byte(now.UTC().Format(http.TimeFormat))}
		a.fast.date.Store(d)
	}
	return d.line
}
