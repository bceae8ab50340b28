package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// fail writes a problem.
func fail(w http.ResponseWriter, p *protocol.Problem) {
	b, err := json.Marshal(p)
	if err != nil { // a problem always marshals
		b = []byte(`{"code":"internal"}`)
	}
	h := w.Header()
	h.Set("Content-Type", protocol.ContentTypeProblem)
	h.Set("Cache-Control", "no-store")
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(b)
}

// problem finds the problem in an error; what has none is ours and is logged.
func (a *API) problem(err error) *protocol.Problem {
	var p *protocol.Problem
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &large):
		p = protocol.NewProblem(http.StatusRequestEntityTooLarge, "body_too_large", "The body is too large",
			"at most "+strconv.FormatInt(large.Limit, 10)+" bytes are read", "split the request")
	case errors.Is(err, ledger.ErrNotFound):
		p = notFound("unknown_id", "Nothing is known under this id", "", "list what there is: the path without the id")
	case a.o.Busy(err):
		p = protocol.NewProblem(http.StatusServiceUnavailable, "busy", "The aggregator is busy", err.Error(), "send the same request again after Retry-After; nothing was taken, and ids dedupe if it was")
	default:
		a.o.Log.Error().Err(err).Msg("request failed")
		p = protocol.NewProblem(http.StatusInternalServerError, "internal", "The aggregator failed", "", "send the same request again; ops see the cause in the log")
	}
	return p
}

func notFound(code, title, detail, hint string) *protocol.Problem {
	return protocol.NewProblem(http.StatusNotFound, code, title, detail, hint)
}

func invalid(pointer, message, hint string) *protocol.Problem {
	p := protocol.NewProblem(http.StatusUnprocessableEntity, "invalid_field", "A field is not acceptable", pointer+" "+message, hint)
	p.Errors = []protocol.FieldError{{Pointer: pointer, Message: message}}
	return p
}

// reply writes v as JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return replyBytes(w, status, b)
}

func replyBytes(w http.ResponseWriter, status int, b []byte) error {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) //nolint:gosec // JSON under its own type; an error means that the caller is gone
	return nil
}

var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
)

func wantJSON(r *http.Request) *protocol.Problem {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && (kind != "application/ld+json" || !strings.HasPrefix(r.URL.Path, "/epcis/")) {
		return protocol.NewProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "The body must be JSON",
			"Content-Type is "+strconv.Quote(r.Header.Get("Content-Type")), "send Content-Type: application/json")
	}
	return nil
}

// decode reads a small strict JSON body into the struct that into points to.
func decode(r *http.Request, into any) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err = dec.Decode(into)
	if err == nil && dec.More() {
		err = errors.New("more follows the JSON value")
	}
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &kind):
		return invalid("/"+strings.ReplaceAll(kind.Field, ".", "/"), "is a "+kind.Value+", want "+typeWord(kind.Type), "see /openapi.json")
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		name, _ := strconv.Unquote(strings.TrimPrefix(err.Error(), "json: unknown field "))
		p := invalid("/"+name, "is not a field of this request", "remove it, or mend its spelling; see /openapi.json")
		p.Code, p.Type = "unknown_field", "urn:tillwire:problem:unknown_field"
		return p
	default:
		return protocol.NewProblem(http.StatusBadRequest, "malformed_json", "The body is not JSON", err.Error(), "send one JSON object in UTF-8")
	}
}

// typeWord names a Go type as JSON calls it.
func typeWord(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() { //nolint:exhaustive // the rest are objects to a caller
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}

// rates limits each key.
type rates struct {
	now func() time.Time
	mu  sync.Mutex
	m   map[string]*rate.Limiter
}

func newRates(now func() time.Time) *rates { return &rates{now: now, m: map[string]*rate.Limiter{}} }

// ratePolicy tells callers what is counted, see the RateLimit header fields.
var ratePolicy = `"key";q=` + strconv.Itoa(rateBurst) + `;w=2`

// spend takes one request off a key's rate and tells what is left.
func (r *rates) spend(name string, now time.Time) (left int, ok bool) {
	r.mu.Lock()
	l := r.m[name]
	if l == nil {
		if len(r.m) >= keysTracked {
			clear(r.m) // keys are ours to issue: this many is a flood of names
		}
		l = rate.NewLimiter(ratePerSecond, rateBurst)
		r.m[name] = l
	}
	r.mu.Unlock()
	ok = l.AllowN(now, 1)
	return int(max(0, l.TokensAt(now))), ok
}

func (r *rates) take(w http.ResponseWriter, name string) *protocol.Problem {
	left, ok := r.spend(name, r.now())
	w.Header().Set("RateLimit-Policy", ratePolicy)
	w.Header().Set("RateLimit", `"key";r=`+strconv.Itoa(left))
	if ok {
		return nil
	}
	return protocol.NewProblem(http.StatusTooManyRequests, "rate_limited", "Too many requests", "", "wait for Retry-After; ask for up to 1,000 SKUs at once with POST /v1/availability/query")
}
