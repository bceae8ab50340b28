package intake

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"tillwire/protocol"
)

// A clock that was a year fast is set right: what is recorded from then on says that
// its record time tells nothing, and a retry of what was sent before is a repeat.
func TestDocumentsAfterTheClockWasSetBack(t *testing.T) {
	t.Run("running on", func(t *testing.T) { documentsAfterTheClockWasSetBack(t, false) })
	t.Run("the agent is restarted before one comes late", func(t *testing.T) { documentsAfterTheClockWasSetBack(t, true) })
}

func documentsAfterTheClockWasSetBack(t *testing.T, restarts bool) {
	now := testNow
	clock := func() time.Time { return now }
	path := filepath.Join(t.TempDir(), "journal.db")
	j := openJournalAt(t, path, clock)
	s := newShop(t, func(o *Options) { o.Now, o.Journal = clock, j })
	sale := func(n int) string {
		return fmt.Sprintf(`{"document_id":"D%d","register":"R1","occurred_at":%q,"lines":[{"line":1,"sku":"ART-1","quantity":1}]}`, n, testNow.AddDate(-1, 0, 0).Format(time.RFC3339))
	}
	s.mustPost("/v1/sales", sale(1))
	now = testNow.AddDate(-1, 0, 0)
	s.mustPost("/v1/sales", sale(2))
	if w := s.post("/v1/sales", sale(1)); w.Code != http.StatusOK {
		t.Errorf("a retry over the change is answered with %d %s", w.Code, w.Body)
	}
	now = testNow
	if w := s.post("/v1/sales", sale(2)); w.Code != http.StatusOK {
		t.Errorf("a retry with the clock before is answered with %d %s", w.Code, w.Body)
	}
	if restarts {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = openJournalAt(t, path, clock)
		s = newShop(t, func(o *Options) { o.Now, o.Journal = clock, j })
	}
	s.mustPost("/v1/sales", sale(3)) // posted late, and the clock has shown its time twice
	if t0 := time.Now(); protocol.ClockSet(t0, t0.Add(time.Hour)) != 0 || protocol.ClockSet(time.Time{}, t0) != 0 {
		t.Error("time that went by is taken for a clock that was set")
	}
	var flags []bool
	err := j.Scan(1, func(_ uint64, _ int64, rec []byte) error {
		var e protocol.Event
		_, err := protocol.DecodeRecord(rec, &e)
		flags = append(flags, e.Flags&protocol.FlagClockSetBack != 0)
		return err
	})
	if err != nil || len(flags) != 3 || flags[0] || !flags[1] || !flags[2] {
		t.Errorf("marked: %v (%v), want all but the first", flags, err)
	}
}
