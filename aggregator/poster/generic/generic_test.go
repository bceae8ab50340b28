package generic

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/aggregator/poster"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

func sale() *posting.Doc {
	return &posting.Doc{
		Key: "0123456789ABCDEF", Store: "S1", Day: 20415, PostDay: 20416, Class: posting.ClassSale, Quantity: -2455, Count: 2,
		Lines: []posting.Line{{SKU: "A", Qty: -2000}, {SKU: "B", Qty: -455}},
	}
}

func TestEveryAnswerHasOneMeaning(t *testing.T) {
	for _, c := range []struct {
		name    string
		status  int
		header  http.Header
		body    string
		id      string // of a receipt; "" = refused
		code    string
		remedy  poster.Remedy
		unknown []protocol.SKU
		closed  bool
	}{
		{name: "created", status: 201, body: `{"id":"4900001"}`, id: "4900001"},
		{name: "created, no body", status: 200, id: "0123456789ABCDEF"},
		{name: "a duplicate that names the first", status: 409, body: `{"id":"4900001"}`, id: "4900001"},
		{name: "NetSuite's duplicate", status: 400, header: http.Header{"Location": {"/record/77"}}, id: "/record/77"},
		{name: "a conflict that names nothing", status: 409, code: "erp_http_409", remedy: poster.Park},
		{name: "unknown articles", status: 422, body: `{"code":"product_unknown","reason":"no B","unknown":["B"]}`, code: "product_unknown", remedy: poster.Park, unknown: []protocol.SKU{"B"}},
		{name: "closed", status: 422, body: `{"code":"period_closed","reason":"10/2026"}`, code: "period_closed", remedy: poster.Park, closed: true},
		{name: "failed after staging", status: 200, body: `{"state":"failed","code":"no_cost_centre","reason":"x"}`, code: "no_cost_centre", remedy: poster.Park},
		{name: "the token is wrong", status: 401, code: "erp_http_401", remedy: poster.Fatal},
		{name: "the address is wrong", status: 404, code: "erp_http_404", remedy: poster.Fatal},
		{name: "too fast", status: 429, header: http.Header{"Retry-After": {"7"}}, code: "erp_http_429", remedy: poster.Retry},
		{name: "broken", status: 502, body: "<html>", code: "erp_http_502", remedy: poster.Retry},
		{name: "elsewhere", status: 202, header: http.Header{"Location": {"http://evil.example/1"}}, code: "erp_answer", remedy: poster.Park},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range c.header {
					w.Header()[k] = v
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer srv.Close()
			got, err := New(Options{URL: srv.URL}).Post(context.Background(), sale())
			var r *poster.Refusal
			switch {
			case c.id != "" && (err != nil || got.ID != c.id):
				t.Errorf("%+v, %v", got, err)
			case c.id == "" && !errors.As(err, &r):
				t.Errorf("%+v, %v", got, err)
			case c.id == "" && (r.Code != c.code || r.Remedy != c.remedy || r.Closed != c.closed || !slices.Equal(r.Unknown, c.unknown)):
				t.Errorf("%+v", r)
			}
		})
	}
}

// ledgerService books each key once, as the contract asks, stages documents first
// and loses every other answer.
func ledgerService(t *testing.T) (url string, booked map[string]document) {
	t.Helper()
	booked = map[string]document{}
	asked, n := map[string]int{}, 0
	var mu sync.Mutex // guards the three: a call may be repeated while the first is answered
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost {
			var d document
			dec := json.NewDecoder(r.Body)
			dec.DisallowUnknownFields()
			if err := dec.Decode(&d); err != nil || d.ID != r.Header.Get("Idempotency-Key") {
				t.Errorf("%v: %+v", err, d)
			}
			if _, again := booked[d.ID]; !again {
				booked[d.ID] = d
			}
			if n++; n%2 == 1 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(http.StatusAccepted)
			return
		}
		key := r.URL.Path[len("/erp/postings/"):]
		if _, ok := booked[key]; !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if asked[key]++; asked[key] == 1 {
			_, _ = w.Write([]byte(`{"state":"pending"}`))
			return
		}
		_, _ = w.Write([]byte(`{"state":"posted","id":"4900007"}`))
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/erp/", booked
}

func TestALostAnswerIsAskedFor(t *testing.T) {
	for _, lookup := range []bool{true, false} {
		url, booked := ledgerService(t)
		c := New(Options{URL: url, Token: "secret", Lookup: lookup, Stores: map[protocol.StoreID]string{"S1": "P100"}})
		_, err := c.Post(context.Background(), sale())
		var r *poster.Refusal
		if err != nil && (!errors.As(err, &r) || !r.Down || r.Remedy != poster.Retry) || err == nil && !lookup {
			t.Fatalf("a lost answer: %v", err) // net/http itself repeats a call with a key on a used connection
		}
		got, err := c.Post(context.Background(), sale())
		if err != nil || got.ID != "4900007" {
			t.Errorf("%+v, %v", got, err)
		}
		want := document{
			ID: "0123456789ABCDEF", Reference: "0123456789ABCDEF S1 2025-11-23 sale", Store: "S1", Warehouse: "P100", Class: "sale", Direction: "out",
			Day: "2025-11-23", PostDay: "2025-11-24", Lines: []line{{1, "A", 2000}, {2, "B", 455}},
		}
		if d := cmp.Diff(map[string]document{want.ID: want}, booked); d != "" {
			t.Error(d)
		}
	}
}

func TestClosedTo(t *testing.T) {
	for body, want := range map[string]int32{`{"closed_to":"2025-11-23"}`: 20415, `{}`: 0} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		if got, err := New(Options{URL: srv.URL}).ClosedTo(context.Background()); err != nil || got != want {
			t.Errorf("%s: %d, %v", body, got, err)
		}
		srv.Close()
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	if got, err := New(Options{URL: srv.URL}).ClosedTo(context.Background()); err != nil || got != 0 {
		t.Errorf("no periods: %d, %v", got, err)
	}
}
