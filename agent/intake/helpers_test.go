package intake

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/journal"
)

var testNow = time.Date(2026, 11, 23, 10, 20, 0, 0, time.UTC)

// shop is a real journal behind a real port.
type shop struct {
	t  testing.TB
	j  *journal.Journal
	in *Intake
}

func openJournal(t testing.TB, now func() time.Time) *journal.Journal {
	t.Helper()
	return openJournalAt(t, filepath.Join(t.TempDir(), "journal.db"), now)
}

func openJournalAt(t testing.TB, path string, now func() time.Time) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Options{
		Path: path, Now: now, Log: zerolog.Nop(), BallastBytes: -1,
		DiskFree: func() (uint64, uint64, error) { return 50 << 30, 100 << 30, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func newShop(t testing.TB, change ...func(*Options)) *shop {
	t.Helper()
	s := &shop{t: t, j: openJournal(t, func() time.Time { return testNow })}
	o := Options{
		Store: "S0042", Agent: "server", Journal: s.j, Log: zerolog.Nop(), Now: func() time.Time { return testNow }, Version: "test",
		Link: func() LinkStatus {
			return LinkStatus{Connected: true, Broker: "mqtt://127.0.0.1:7483", Since: testNow.Add(-time.Hour)}
		},
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	if s.in, err = New(o); err != nil {
		t.Fatal(err)
	}
	return s
}

// do sends one request through the handler. headers are name, value, …
func (s *shop) do(method, path, contentType, body string, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:7410"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:40000"
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.in.Handler().ServeHTTP(w, r)
	return w
}

func (s *shop) post(path, body string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do(http.MethodPost, path, "application/json", body)
}

func (s *shop) mustPost(path, body string) protocol.WriteResult {
	s.t.Helper()
	w := s.post(path, body)
	if w.Code != http.StatusCreated {
		s.t.Fatalf("POST %s: %d %s", path, w.Code, w.Body)
	}
	return decode[protocol.WriteResult](s.t, w.Body)
}

func decode[T any](t testing.TB, r io.Reader) (v T) {
	t.Helper()
	if err := json.NewDecoder(r).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// goodDocs is one document that each address takes.
var goodDocs = map[string]string{
	"/v1/sales":          `{"document_id":"D1","register":"R1","occurred_at":"2026-11-23T10:15:02Z","lines":[{"sku":"4006381333931","quantity":2}]}`,
	"/v1/returns":        `{"document_id":"D1","register":"R1","occurred_at":"2026-11-23T10:15:02Z","lines":[{"sku":"4006381333931","quantity":2,"disposition":"damaged"}]}`,
	"/v1/counts":         `{"document_id":"D1","register":"R1","occurred_at":"2026-11-23T10:15:02Z","scope":"sku","lines":[{"sku":"4006381333931","quantity":2}]}`,
	"/v1/receipts":       `{"document_id":"D1","register":"R1","occurred_at":"2026-11-23T10:15:02Z","source":"DC1","lines":[{"sku":"4006381333931","quantity":2}]}`,
	"/v1/adjustments":    `{"document_id":"D1","register":"R1","occurred_at":"2026-11-23T10:15:02Z","reason":"shrink","lines":[{"sku":"4006381333931","quantity":2}]}`,
	"/v1/transfers":      `{"document_id":"D1","register":"R1","occurred_at":"2026-11-23T10:15:02Z","direction":"in","counterparty":"DC1","transfer_id":"T1","lines":[{"sku":"4006381333931","quantity":2}]}`,
	"/v1/voids":          `{"document_id":"D1","register":"R1","occurred_at":"2026-11-23T10:15:02Z","voids":"D0"}`,
	"/v1/status_changes": `{"document_id":"D1","register":"R1","occurred_at":"2026-11-23T10:15:02Z","from":"sellable","to":"damaged","lines":[{"sku":"4006381333931","quantity":2}]}`,
}

// brokenJournal is a real journal whose appends fail as told.
type brokenJournal struct {
	*journal.Journal
	err error
}

func (b *brokenJournal) Append(context.Context, *protocol.Event) (journal.Receipt, error) {
	return journal.Receipt{}, b.err
}

func (b *brokenJournal) AppendAll(_ context.Context, events []*protocol.Event) ([]journal.Receipt, []error) {
	errs := make([]error, len(events))
	for i := range errs {
		errs[i] = b.err
	}
	return make([]journal.Receipt, len(events)), errs
}
