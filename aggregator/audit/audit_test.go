package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// book is a trail in a real ledger.
func book(t *testing.T, l *bolt.Ledger, kept int) *Trail {
	t.Helper()
	at := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	trail, err := Open(Options{
		Now: func() time.Time { at = at.Add(time.Second); return at }, Fact: l.Fact, Kept: kept,
		Put: func(ctx context.Context, f ...ledger.Fact) error { return l.Commit(ctx, &ledger.Batch{Facts: f}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return trail
}

func open(t *testing.T, path string) *bolt.Ledger {
	t.Helper()
	l, err := bolt.Open(bolt.Options{Path: path, Now: time.Now, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTheTrailIsKeptAndBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, path)
	trail := book(t, l, 10)
	var wg sync.WaitGroup
	for i := range 25 {
		wg.Go(func() {
			e := protocol.AuditEntry{Who: "ann", Via: protocol.ViaUI, Action: "exception.discard", Object: fmt.Sprint("x", i), Note: "training", Before: json.RawMessage(`{"state":"open"}`), After: json.RawMessage(`{"state":"discarded"}`)}
			if i%5 == 0 {
				e.Who, e.Action, e.Refused = "bob", "account.add", "a viewer may not"
			}
			if err := trail.Record(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	before := trail.List(protocol.AuditFilter{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path)
	defer func() { _ = l.Close() }()
	trail = book(t, l, 10)
	after := trail.List(protocol.AuditFilter{})
	if fmt.Sprint(before) != fmt.Sprint(after) || len(after) != 10 || after[0].No != 25 || after[9].No != 16 {
		t.Fatalf("over a restart: %d entries, then %d: %v", len(before), len(after), after)
	}
	if _, err := l.Fact(key(15)); !errors.Is(err, ledger.ErrNotFound) {
		t.Error("an old entry stays in the ledger:", err)
	}
	for _, c := range []struct {
		f    protocol.AuditFilter
		want string
	}{
		{protocol.AuditFilter{Limit: 2}, "25 24"},
		{protocol.AuditFilter{Limit: 2, Before: 24}, "23 22"},
		{protocol.AuditFilter{Who: "nobody"}, ""},
		{protocol.AuditFilter{Object: "no"}, ""},
	} {
		var got []string
		for _, e := range trail.List(c.f) {
			got = append(got, fmt.Sprint(e.No))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%+v: %s, want %s", c.f, s, c.want)
		}
	}
	for _, f := range []protocol.AuditFilter{{Action: "account"}, {Action: "account.add"}, {Who: "bob"}} {
		for _, e := range trail.List(f) {
			if e.Who != "bob" || e.Refused == "" {
				t.Errorf("%+v lists %+v", f, e)
			}
		}
	}
}

func TestWhatIsTooLargeIsLeftOut(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "ledger.db"))
	defer func() { _ = l.Close() }()
	trail := book(t, l, 0)
	big := json.RawMessage(`"` + strings.Repeat("x", stateBytesMax) + `"`)
	if err := trail.Record(t.Context(), protocol.AuditEntry{Who: strings.Repeat("ä", textBytesMax), After: big}); err != nil {
		t.Fatal(err)
	}
	e := trail.List(protocol.AuditFilter{})[0]
	if len(e.Who) > textBytesMax+3 || string(e.After) != `"left out: 4098 bytes"` {
		t.Errorf("%d %s", len(e.Who), e.After)
	}
}

func TestAnEntryThatIsNotKeptIsNotShown(t *testing.T) {
	disk := errors.New("disk full")
	trail, err := Open(Options{Now: time.Now, Fact: func(string) ([]byte, error) { return nil, ledger.ErrNotFound }, Put: func(context.Context, ...ledger.Fact) error { return disk }})
	if err != nil {
		t.Fatal(err)
	}
	if err := trail.Record(t.Context(), protocol.AuditEntry{Who: "ann"}); !errors.Is(err, disk) || len(trail.List(protocol.AuditFilter{})) != 0 {
		t.Error(err)
	}
	for _, bad := range []string{"{", `{"first":1,"next":3}`} {
		_, err := Open(Options{Now: time.Now, Fact: func(k string) ([]byte, error) {
			if k == factRange {
				return []byte(bad), nil
			}
			return nil, ledger.ErrNotFound
		}})
		if err == nil {
			t.Errorf("a trail with a hole was opened: %s", bad)
		}
	}
}
