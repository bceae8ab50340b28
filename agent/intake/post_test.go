package intake

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// said is an answer without its moment.
type said struct {
	Status int
	Header http.Header
	Body   string
}

func heard(t *testing.T, r *http.Response) said {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	h := r.Header.Clone()
	h.Del("Date")
	return said{r.StatusCode, h, string(b)}
}

// appendPost asks the short way; ok is false where it is net/http's to answer.
func (s *shop) appendPost(p Post) (a said, ok bool) {
	s.t.Helper()
	b, ok := s.in.AppendPost(context.Background(), []byte("x"), &p)
	if !ok {
		if string(b) != "x" {
			s.t.Errorf("not answered, but %q was written", b)
		}
		return said{}, false
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b[1:])), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if d, err := http.ParseTime(resp.Header.Get("Date")); err != nil || d.IsZero() {
		s.t.Errorf("date %q: %v", resp.Header.Get("Date"), err)
	}
	return heard(s.t.(*testing.T), resp), true
}

func goodPost(path, body string) Post {
	return Post{Path: []byte(path), Host: []byte("127.0.0.1:7410"), Body: []byte(body)}
}

// TestBothWaysAnswerTheSame: each kind, first and again, with a warning, and as the
// journal refuses.
func TestBothWaysAnswerTheSame(t *testing.T) {
	long, short := newShop(t), newShop(t)
	same := func(t *testing.T, long, short *shop, path, body string) {
		t.Helper()
		want := heard(t, long.post(path, body).Result())
		got, ok := short.appendPost(goodPost(path, body))
		if !ok {
			t.Fatalf("%s is not answered", path)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-long +short):\n%s", path, diff)
		}
	}
	for _, path := range slices.Sorted(func(yield func(string) bool) {
		for p := range goodDocs {
			if !yield(p) {
				return
			}
		}
	}) {
		same(t, long, short, path, goodDocs[path])
		same(t, long, short, path, goodDocs[path]) // a duplicate
	}
	ahead := `{"document_id":"A1","register":"R1","occurred_at":"2026-11-23T11:15:02Z","lines":[{"sku":"4006381333931","quantity":2}]}`
	same(t, long, short, "/v1/sales", ahead)
	same(t, long, short, "/v1/sales", strings.Replace(ahead, `:2}`, `:3}`, 1)) // the id is used
	for _, err := range []error{journal.ErrFull, journal.ErrQueueFull, journal.ErrRecovering, journal.ErrClosed, context.Canceled, io.ErrUnexpectedEOF} {
		broken := func(o *Options) { o.Journal = &brokenJournal{Journal: o.Journal.(*journal.Journal), err: err} }
		same(t, newShop(t, broken), newShop(t, broken), "/v1/sales", goodDocs["/v1/sales"])
	}
	if diff := cmp.Diff(long.in.Counters(), short.in.Counters()); diff != "" {
		t.Errorf("counted (-long +short):\n%s", diff)
	}
}

// TestShortWayIsNoShortCut: what the guards or the decoder refuse is left to the
// long way, uncounted and not journaled; what they let pass is journaled alike.
func TestShortWayIsNoShortCut(t *testing.T) {
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	doc := goodDocs["/v1/sales"]
	for _, c := range []struct {
		name   string
		change func(*Post)
		want   bool
	}{
		{"as it should be", func(*Post) {}, true},
		{"another name of ours", func(p *Post) { p.Host = []byte("[::1]:7410") }, true},
		{"a trace", func(p *Post) { p.Traceparent = []byte(trace) }, true},
		{"a bad trace", func(p *Post) { p.Traceparent = []byte("x") }, true},
		{"a foreign host", func(p *Post) { p.Host = []byte("evil.example:7410") }, false},
		{"no token", func(p *Post) { p.Authorization = nil }, false},
		{"a wrong token", func(p *Post) { p.Authorization = []byte("Bearer wrong") }, false},
		{"a token without its scheme", func(p *Post) { p.Authorization = []byte("secret-token") }, false},
		{"another address", func(p *Post) { p.Path = []byte("/v1/events") }, false},
		{"a card number", func(p *Post) { p.Body = []byte(strings.Replace(doc, `"R1"`, `"4111111111111111"`, 1)) }, false},
		{"no JSON", func(p *Post) { p.Body = []byte(`{`) }, false},
		{"an unknown field", func(p *Post) { p.Body = []byte(strings.Replace(doc, `"register"`, `"till"`, 1)) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t, func(o *Options) { o.Tokens = []string{"secret-token"} })
			p := goodPost("/v1/sales", doc)
			p.Authorization = []byte("Bearer secret-token")
			if _, ok := s.appendPost(p); !ok { // a host and a token that were good must not vouch for others
				t.Fatal("the good one is not answered")
			}
			p.Body = []byte(strings.Replace(doc, `"D1"`, `"D2"`, 1))
			c.change(&p)
			_, ok := s.appendPost(p)
			if ok != c.want {
				t.Errorf("answered: %t, want %t", ok, c.want)
			}
			head := uint64(1)
			if c.want {
				head = 2
			}
			if got := s.j.State().Head; got != head {
				t.Errorf("%d events journaled, want %d", got, head)
			}
			if n := len(s.in.Counters()); n != 0 {
				t.Errorf("counted already: %v", s.in.Counters())
			}
			if len(s.in.slots) != 0 {
				t.Error("a slot is held")
			}
			if c.name != "a trace" {
				return
			}
			records, _, _, err := s.j.Read(2, 1, 1<<20, nil)
			if err != nil {
				t.Fatal(err)
			}
			var e protocol.Event
			if _, err := protocol.DecodeRecord(records[0], &e); err != nil || e.Traceparent != trace {
				t.Errorf("trace %q, %v", e.Traceparent, err)
			}
		})
	}
}

// BenchmarkAppendPost is the short way without the network and the disk, beside the
// same document through net/http's handler.
func BenchmarkAppendPost(b *testing.B) {
	in := newShop(b, func(o *Options) { o.Journal = &brokenJournal{Journal: o.Journal.(*journal.Journal)} }).in
	p := goodPost("/v1/sales", string(basket(1)))
	b.Run("short", func(b *testing.B) {
		var out []byte
		b.ReportAllocs()
		for b.Loop() {
			var ok bool
			if out, ok = in.AppendPost(b.Context(), out[:0], &p); !ok {
				b.Fatal("not answered")
			}
		}
	})
	b.Run("long", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:7410/v1/sales", bytes.NewReader(p.Body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			if in.Handler().ServeHTTP(w, r); w.Code != http.StatusCreated {
				b.Fatal(w.Code)
			}
		}
	})
}
