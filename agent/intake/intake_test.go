package intake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
	"tillwire/store/journal"
)

func TestEachKindOnceAndAgain(t *testing.T) {
	s := newShop(t)
	seq := uint64(0)
	for path, k := range writePaths {
		seq++
		first := s.mustPost(path, goodDocs[path])
		if first.Seq != seq || first.Duplicate || first.EventID != protocol.MakeEventID("S0042", k, "D1") || first.JournaledAt.IsZero() {
			t.Errorf("%s: %+v", path, first)
		}
		w := s.post(path, strings.Replace(goodDocs[path], `"register"`, ` "register"`, 1)) // the same content, other bytes
		again := decode[protocol.WriteResult](t, w.Body)
		if w.Code != http.StatusOK || !again.Duplicate || again.Seq != seq || again.EventID != first.EventID {
			t.Errorf("%s again: %d %+v", path, w.Code, again)
		}
		if cl := w.Header().Get("Content-Length"); cl == "" {
			t.Errorf("%s: no Content-Length", path)
		}
		w = s.post(path, strings.Replace(goodDocs[path], `"R1"`, `"R2"`, 1))
		p := decode[protocol.Problem](t, w.Body)
		if w.Code != http.StatusConflict || p.Code != "id_reused" || !strings.Contains(p.Detail, strconv.FormatUint(seq, 10)) || p.Errors[0].Pointer != "/document_id" {
			t.Errorf("%s reused: %d %+v", path, w.Code, p)
		}
	}
	if head := s.j.State().Head; head != seq {
		t.Errorf("head %d, want %d", head, seq)
	}
}

func TestJournalErrorsAreTold(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  bool
	}{
		{journal.ErrFull, 507, "disk_floor", true},
		{journal.ErrQueueFull, 429, "queue_full", true},
		{journal.ErrRecovering, 503, "recovering", true},
		{journal.ErrClosed, 503, "stopping", true},
		{context.Canceled, 503, "cancelled", true},
		{&journal.IDReusedError{Seq: 7}, 409, "id_reused", false},
		{errors.New("strange"), 503, "journal_failed", true},
	} {
		b := &brokenJournal{err: fmt.Errorf("append: %w", c.err)}
		s := newShop(t, func(o *Options) { b.Journal = o.Journal.(*journal.Journal); o.Journal = b })
		w := s.post("/v1/sales", goodDocs["/v1/sales"])
		p := decode[protocol.Problem](t, w.Body)
		if w.Code != c.status || p.Code != c.code || p.Hint == "" || (w.Header().Get("Retry-After") != "") != c.retry {
			t.Errorf("%v: got %d %+v %v", c.err, w.Code, p, w.Header())
		}
		doc := strings.Replace(goodDocs["/v1/sales"], `{`, `{"kind":"sale",`, 1)
		w = s.post("/v1/events", `[`+doc+`]`)
		if !c.retry {
			a := decode[bulkAnswer](t, w.Body)
			if w.Code != 200 || a.Refused != 1 || a.Results[0].Status != c.status || a.Results[0].Problem.Code != c.code {
				t.Errorf("%v in bulk: %d %+v", c.err, w.Code, a)
			}
		} else if w.Code != c.status || w.Header().Get("Retry-After") == "" {
			t.Errorf("%v in bulk: got %d", c.err, w.Code)
		}
	}
}

func TestBulkAnswersEachDocument(t *testing.T) {
	s := newShop(t)
	sale := strings.Replace(goodDocs["/v1/sales"], `{`, `{"kind":"sale",`, 1)
	bad := strings.Replace(sale, `"quantity":2`, `"quantity":-2`, 1)
	other := strings.Replace(sale, `"R1"`, `"R2"`, 1)
	ret := strings.Replace(goodDocs["/v1/returns"], `{`, `{"kind":"return",`, 1)
	want := []string{"201 0", "422 invalid_field", "200 1", "409 id_reused", "201 0"}
	for name, body := range map[string]string{
		"application/json":     "[" + strings.Join([]string{sale, bad, sale, other, ret}, ",\n") + "]",
		"application/x-ndjson": strings.Join([]string{sale, bad, sale, other, ret}, "\n") + "\n",
	} {
		s = newShop(t)
		w := s.do(http.MethodPost, "/v1/events", name, body)
		a := decode[bulkAnswer](t, w.Body)
		var got []string
		for i, it := range a.Results {
			word := map[bool]string{true: "1", false: "0"}[it.Duplicate]
			if it.Problem != nil {
				word = it.Problem.Code
			}
			got = append(got, fmt.Sprint(it.Status, " ", word))
			if it.Index != i {
				t.Errorf("item %d has index %d", i, it.Index)
			}
		}
		if d := cmp.Diff(want, got); d != "" || w.Code != 200 || a.Accepted != 2 || a.Duplicates != 1 || a.Refused != 2 {
			t.Errorf("%s: %d %+v %s", name, w.Code, a, d)
		}
		if head := s.j.State().Head; head != 2 {
			t.Errorf("%s: head %d", name, head)
		}
	}
	w := s.do(http.MethodPost, "/v1/events", "application/x-ndjson", "{\n"+strings.Replace(sale, "D1", "D2", 1))
	if a := decode[bulkAnswer](t, w.Body); a.Results[0].Status != 400 || a.Results[1].Status != 201 {
		t.Errorf("a broken line stops the next: %+v", a)
	}
}

func TestPOSLogTwice(t *testing.T) {
	b, err := os.ReadFile("../../protocol/poslog/testdata/ncr.xml")
	if err != nil {
		t.Fatal(err)
	}
	s := newShop(t)
	w := s.do(http.MethodPost, "/v1/poslog", "application/xml", string(b))
	a := decode[bulkAnswer](t, w.Body)
	if w.Code != 200 || a.Accepted != 4 || a.Refused != 1 || a.Dialect != "ncr-acs-2.1" || a.Transactions != 5 || a.Skipped.Control != 1 {
		t.Errorf("%d %+v", w.Code, a)
	}
	w = s.do(http.MethodPost, "/v1/poslog", "text/xml; charset=utf-8", string(b))
	if a := decode[bulkAnswer](t, w.Body); a.Duplicates != 4 || a.Accepted != 0 || s.j.State().Head != 4 {
		t.Errorf("again: %+v", a)
	}
	w = s.do(http.MethodGet, "/v1/stock/54409", "", "")
	if it := decode[StockItem](t, w.Body); it.OnHand != 0 {
		t.Errorf("the post-void left %+v", it)
	}
}

func TestWarningsAndTrace(t *testing.T) {
	s := newShop(t)
	ahead := strings.Replace(goodDocs["/v1/sales"], "2026-11-23T10:15:02Z", "2031-01-01T00:00:00Z", 1)
	if r := s.mustPost("/v1/sales", ahead); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `"R1"`) {
		t.Errorf("a wrong clock: %+v", r)
	}
	const tp = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	doc := strings.Replace(goodDocs["/v1/counts"], `"scope":"sku"`, `"scope":"zone","zone":"4111111111111111"`, 1)
	w := s.do(http.MethodPost, "/v1/counts", "application/json; charset=UTF-8", doc, "Traceparent", tp)
	if r := decode[protocol.WriteResult](t, w.Body); w.Code != 201 || len(r.Warnings) != 1 {
		t.Errorf("masking: %d %+v", w.Code, r)
	}
	var e protocol.Event
	if err := s.j.Scan(2, func(_ uint64, _ int64, rec []byte) error { _, err := protocol.DecodeRecord(rec, &e); return err }); err != nil {
		t.Fatal(err)
	}
	if e.Traceparent != tp || e.Zone != "************1111" || e.Lines[0].Cut != s.j.CutAt(e.EventTime.US) {
		t.Errorf("journaled %+v", e)
	}
	if m := s.do(http.MethodGet, "/metrics", "", "").Body.String(); !strings.Contains(m, "tillwire_agent_pan_masked_total 1") ||
		!strings.Contains(m, "tillwire_agent_clock_ahead_total 1") || !strings.Contains(m, `documents_total{kind="count",result="journaled"} 1`) {
		t.Error(m)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	s := newShop(t)
	s.post("/v1/sales", strings.Replace(goodDocs["/v1/sales"], "D1", "4111111111111111", 1))
	s.post("/v1/sales", "{")
	s.do(http.MethodPost, "/v1/sales", "text/plain", "{}")
	want := map[string]uint64{"http_pan_detected": 1, "http_malformed_json": 1, "http_guard_content_type": 1}
	if d := cmp.Diff(want, s.in.Counters()); d != "" {
		t.Error(d)
	}
	if m := s.do(http.MethodGet, "/metrics", "", "").Body.String(); !strings.Contains(m, `tillwire_agent_refused_total{kind="sale",code="pan_detected"} 1`) || strings.Contains(m, "4111") {
		t.Error(m)
	}
}

func TestTokens(t *testing.T) {
	s := newShop(t, func(o *Options) { o.Tokens = []string{"one", "two"} })
	for auth, want := range map[string]int{"": 401, "Bearer": 401, "Bearer ": 401, "Bearer three": 401, "Basic one": 401, "Bearer one": 201, "Bearer two": 200} {
		if want == 200 {
			continue
		}
		if w := s.do(http.MethodPost, "/v1/sales", "application/json", goodDocs["/v1/sales"], "Authorization", auth); w.Code != want {
			t.Errorf("%q: %d", auth, w.Code)
		}
	}
	if w := s.do(http.MethodPost, "/v1/sales", "application/json", goodDocs["/v1/sales"], "Authorization", "Bearer two"); w.Code != 200 {
		t.Errorf("second token: %d", w.Code)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/openapi.json": 200, "/": 200, "/v1/status": 401, "/metrics": 401, "/v1/stock/A": 401} {
		if w := s.do(http.MethodGet, path, "", ""); w.Code != want {
			t.Errorf("%s without token: %d", path, w.Code)
		}
	}
}

func TestPageAndHosts(t *testing.T) {
	link := LinkStatus{Since: testNow.Add(-3 * time.Hour), Broker: "mqtt://x", LastError: "dial <b>: refused"}
	s := newShop(t, func(o *Options) {
		o.AllowedHosts = []string{"Kasse.Local"}
		o.Link = func() LinkStatus { return link }
		o.Dev = true
	})
	s.in.started = testNow.Add(-4 * time.Hour)
	s.mustPost("/v1/sales", goodDocs["/v1/sales"])
	for _, host := range []string{"127.0.0.1", "localhost:7410", "[::1]:7410", "KASSE.local:7410", "[::1]"} {
		w := s.do(http.MethodGet, "/", "", "", "Host", host)
		if w.Code != 200 {
			t.Errorf("%s: %d", host, w.Code)
		}
	}
	w := s.do(http.MethodGet, "/", "", "")
	page := w.Body.String()
	for _, word := range []string{"Not connected since 07:20", "Check the router", "1 document waits", "S0042", "Development mode", "R1", `class="bad"`, "dial &lt;b&gt;"} {
		if !strings.Contains(page, word) {
			t.Errorf("the page lacks %q", word)
		}
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'self'") {
		t.Error(csp)
	}
	for _, forbidden := range []string{"<script", "style=", "onload", "javascript:", "http://", "https://", "data:"} {
		if strings.Contains(page, forbidden) {
			t.Errorf("the page has %q, which its policy forbids", forbidden)
		}
	}
	if w := s.do(http.MethodGet, "/page.css", "", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "prefers-color-scheme: dark") {
		t.Error("no style")
	}
}

func TestAdvice(t *testing.T) {
	long := testNow.Add(-2 * time.Hour)
	up := LinkStatus{Connected: true, Since: long}
	run := journal.State{Phase: "running", DiskFree: 50, DiskTotal: 100}
	with := func(f func(*journal.State)) journal.State { s := run; f(&s); return s }
	for name, c := range map[string]struct {
		st    journal.State
		link  LinkStatus
		level string
		head  string
	}{
		"well":       {run, up, "ok", "All well"},
		"full":       {with(func(s *journal.State) { s.Phase = "full" }), up, "bad", "The disk is full: tills cannot write"},
		"recovering": {with(func(s *journal.State) { s.Phase = "recovering" }), up, "bad", "The journal is being checked"},
		"closed":     {with(func(s *journal.State) { s.Phase = "closed" }), up, "bad", "The agent is stopping"},
		"refused":    {run, LinkStatus{Connected: true, Refused: "another process speaks for it"}, "bad", "The chain does not take this shop's sales"},
		"off":        {run, LinkStatus{Off: true}, "warn", "No connection to the chain is set up"},
		"short cut":  {run, LinkStatus{Since: testNow.Add(-5 * time.Minute)}, "warn", "Not connected since 10:15"},
		"long cut":   {run, LinkStatus{Since: long}, "bad", "Not connected since 08:20"},
		"backlog": {with(func(s *journal.State) {
			s.OldestUnackedUS, s.BacklogEvents = testNow.Add(-5*time.Minute).UnixMicro(), 5
		}), up, "ok", "Catching up"},
		"old backlog": {with(func(s *journal.State) { s.OldestUnackedUS, s.BacklogEvents = long.UnixMicro(), 5 }), up, "warn", "Catching up"},
		"disk low":    {with(func(s *journal.State) { s.DiskFree = 5 }), up, "warn", "All well, but the disk is filling up"},
	} {
		a := advise(c.st, c.link, long, testNow)
		if a.Level != c.level || a.Headline != c.head || a.Detail == "" || a.Level != "ok" && a.Action == "" {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := advise(run, LinkStatus{Since: testNow}, testNow, testNow); a.Headline != "Starting" {
		t.Errorf("%+v", a)
	}
	for d, want := range map[time.Duration]string{-1: "0 s", 59 * time.Second: "59 s", 61 * time.Minute: "1 h 1 min", 49 * time.Hour: "2 days 1 h"} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %s", d, got)
		}
	}
}

func TestReadyFollowsTheJournal(t *testing.T) {
	s := newShop(t)
	if w := s.do(http.MethodGet, "/readyz", "", ""); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	if err := s.j.Close(); err != nil {
		t.Fatal(err)
	}
	w := s.do(http.MethodGet, "/readyz", "", "")
	if p := decode[protocol.Problem](t, w.Body); w.Code != 503 || p.Code != "not_ready" || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %+v", w.Code, p)
	}
	if w := s.post("/v1/sales", goodDocs["/v1/sales"]); w.Code != 503 {
		t.Errorf("a closed journal answers %d %s", w.Code, w.Body)
	}
	if w := s.do(http.MethodGet, "/healthz", "", ""); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
}
