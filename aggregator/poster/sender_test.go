package poster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// memory is a ledger's postings without its disk: the real book.
type memory struct {
	mu   sync.Mutex
	book *posting.Book
	at   uint64
	now  func() time.Time
}

func (m *memory) apply(c *posting.Change) {
	m.at++
	m.book.Apply(c, m.at)
}

func (m *memory) CutPostings(_ context.Context, erp string, w posting.Window, limit int) (due []posting.Doc, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.book.Held() {
		return nil, posting.ErrHeld
	}
	w.NowUS = m.now().UnixMicro()
	for _, c := range m.book.Cut(erp, w, func(cell uint32) protocol.SKU { return protocol.SKU(fmt.Sprint("A", cell)) }) {
		m.apply(c)
	}
	for _, d := range m.book.Due(erp, limit) {
		due = append(due, *d)
	}
	return due, nil
}

func (m *memory) PostingDone(_ context.Context, c *posting.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.NowUS = m.now().UnixMicro()
	m.apply(c)
	return nil
}

func (m *memory) SplitPosting(_ context.Context, key string, skus []protocol.SKU, code, reason string) (posting.Doc, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.book.Split(key, skus, code, reason, m.now().UnixMicro()); c != nil {
		m.apply(c)
	}
	d, _ := m.book.Get(key)
	return *d, nil
}

// script is an ERP whose answers a test writes.
type script struct {
	closed int32
	post   func(d *posting.Doc) error
	booked []string
}

func (s *script) Post(_ context.Context, d *posting.Doc) (Receipt, error) {
	if err := s.post(d); err != nil {
		return Receipt{}, err
	}
	var skus []string
	for _, l := range d.Lines {
		skus = append(skus, string(l.SKU)+"×"+l.Qty.String())
	}
	s.booked = append(s.booked, fmt.Sprintf("%s %s %s→%s %s", d.Store, d.Class, protocol.DayText(d.Day)[8:], protocol.DayText(d.PostDay)[8:], strings.Join(skus, ",")))
	return Receipt{ID: "erp-" + d.Key[:4]}, nil
}

func (s *script) ClosedTo(context.Context) (int32, error) { return s.closed, nil }

// TestSender runs a sender in a bubble's time against answers of an ERP.
func TestSender(t *testing.T) {
	day := int32(10_957) // 2000-01-01: where a bubble's clock begins
	for _, c := range []struct {
		name   string
		closed int32
		redate bool
		post   func(*posting.Doc) error
		move   []posting.Movement
		booked []string
		states map[string]int // state and code of what is left
		stats  Stats
	}{
		{
			name: "goods in before goods out, days in their order",
			move: []posting.Movement{
				{Cell: 1, Class: posting.ClassSale, Day: day, Moved: -2000, Changed: -2000},
				{Cell: 1, Class: posting.ClassReceipt, Day: day, Moved: 9000, Changed: 9000},
				{Cell: 2, Class: posting.ClassSale, Day: day - 1, Moved: -1000, Changed: -1000},
				{Cell: 2, Class: posting.ClassSale, Day: day, Moved: -500, Changed: -500},
			},
			booked: []string{"S1 sale 31→31 A2×-1", "S1 receipt 01→01 A1×9", "S1 sale 01→01 A1×-2,A2×-0.5"},
			stats:  Stats{Posted: 3},
		},
		{
			name: "what cancels out is not posted", booked: nil,
			move: []posting.Movement{{Cell: 1, Class: posting.ClassSale, Day: day, Moved: -2000, Changed: -2000}, {Cell: 1, Class: posting.ClassSale, Day: day, Moved: 2000, Changed: 2000}},
		},
		{
			name: "a closed period is left for the first open day", closed: day - 1, redate: true,
			move:   []posting.Movement{{Cell: 1, Class: posting.ClassSale, Day: day - 3, Moved: -1000, Changed: -1000}},
			booked: []string{"S1 sale 29→01 A1×-1"}, stats: Stats{Posted: 1, Redated: 1},
		},
		{
			name: "or its documents are parked", closed: day - 1,
			move:   []posting.Movement{{Cell: 1, Class: posting.ClassSale, Day: day - 3, Moved: -1000, Changed: -1000}},
			states: map[string]int{"parked period_closed": 1}, stats: Stats{Parked: 1},
		},
		{
			name: "an unknown article is parked alone",
			move: []posting.Movement{{Cell: 1, Class: posting.ClassSale, Day: day, Moved: -1000, Changed: -1000}, {Cell: 7, Class: posting.ClassSale, Day: day, Moved: -1000, Changed: -1000}},
			post: func(d *posting.Doc) error {
				if slices.ContainsFunc(d.Lines, func(l posting.Line) bool { return l.SKU == "A7" }) {
					return &Refusal{Remedy: Park, Code: "product_unknown", Reason: "no A7", Unknown: []protocol.SKU{"A7"}}
				}
				return nil
			},
			booked: []string{"S1 sale 01→01 A1×-1"}, states: map[string]int{"parked product_unknown": 1}, stats: Stats{Posted: 1, Split: 1},
		},
		{
			name:   "what is refused again and again is parked",
			move:   []posting.Movement{{Cell: 1, Class: posting.ClassSale, Day: day, Moved: -1000, Changed: -1000}},
			post:   func(*posting.Doc) error { return &Refusal{Remedy: Retry, Code: "locked", Reason: "in use"} },
			states: map[string]int{"parked locked": 1}, stats: Stats{Parked: 1, Retries: attemptsMax},
		},
		{
			name: "an ERP that is down is waited for, however long", move: []posting.Movement{{Cell: 1, Class: posting.ClassSale, Day: day, Moved: -1000, Changed: -1000}},
			post:   failing(40, &Refusal{Remedy: Retry, Code: "away", Reason: "away", Down: true}),
			booked: []string{"S1 sale 01→01 A1×-1"}, stats: Stats{Posted: 1, Retries: 40},
		},
		{
			name: "an ERP that takes nothing is asked again until it does", move: []posting.Movement{{Cell: 1, Class: posting.ClassSale, Day: day, Moved: -1000, Changed: -1000}},
			post:   failing(3, &Refusal{Remedy: Fatal, Code: "login_refused", Reason: "no"}),
			booked: []string{"S1 sale 01→01 A1×-1"}, stats: Stats{Posted: 1, Retries: 3},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{book: posting.New(), now: time.Now, at: 1}
				for _, x := range m.book.Opened(map[protocol.StoreID]string{"S1": "erp"}, nil, 0) {
					m.apply(x)
				}
				for i := range c.move {
					m.book.Account("S1").Add(uint64(10+i), day, false, false, &c.move[i])
				}
				erp := &script{closed: c.closed, post: c.post}
				if c.post == nil {
					erp.post = func(*posting.Doc) error { return nil }
				}
				s := NewSender(Options{
					ERP: "erp", Outbox: m, Connector: erp, Calendar: Calendar{Zone: time.UTC, Every: time.Second}, Lines: 50, Redate: c.redate, Now: time.Now,
					Log: zerolog.Nop(), Down: func(string, bool) {},
				})
				ctx, stop := context.WithTimeout(t.Context(), 6*time.Hour)
				defer stop()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				states := map[string]int{}
				for _, d := range m.book.List(posting.Filter{Limit: 100}) {
					if d.State != protocol.PostingPosted {
						states[string(d.State)+" "+d.Code]++
					}
				}
				if c.states == nil {
					c.states = map[string]int{}
				}
				if d := cmp.Diff(c.booked, erp.booked); d != "" {
					t.Errorf("booked: %s", d)
				}
				if d := cmp.Diff(c.states, states); d != "" {
					t.Errorf("left: %s", d)
				}
				if d := cmp.Diff(c.stats, s.Stats()); d != "" {
					t.Errorf("counted: %s", d)
				}
			})
		})
	}
}

// TestSure holds that a store counts as clear only while no document of it may be
// booked without our knowing.
func TestSure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{book: posting.New(), now: time.Now, at: 1}
		for _, x := range m.book.Opened(map[protocol.StoreID]string{"S1": "erp", "S2": "erp"}, nil, 0) {
			m.apply(x)
		}
		m.book.Account("S1").Add(10, 10_957, false, false, &posting.Movement{Cell: 1, Class: posting.ClassSale, Day: 10_957, Moved: -1000, Changed: -1000})
		if _, err := m.CutPostings(t.Context(), "erp", posting.Window{Through: 10_957, Lines: 50}, 10); err != nil { // by the process before
			t.Fatal(err)
		}
		var s *Sender
		sure := func() string { return fmt.Sprint(s.Sure("S1"), s.Sure("S2")) }
		var seen []string
		lost := failing(2, &Refusal{Remedy: Retry, Code: "no_answer", Reason: "lost", Down: true})
		erp := &script{post: func(d *posting.Doc) error {
			seen = append(seen, "post "+sure())
			return lost(d)
		}}
		s = NewSender(Options{
			ERP: "erp", Outbox: m, Connector: erp, Calendar: Calendar{Zone: time.UTC}, Lines: 50, Now: time.Now, Log: zerolog.Nop(), Down: func(string, bool) {},
			Between: func(context.Context) { seen = append(seen, sure()) },
		})
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		want := []string{"false false", "post false true", "false true", "post false true", "false true", "post false true", "true true"}
		if d := cmp.Diff(want, seen[:min(len(seen), len(want))]); d != "" {
			t.Error(d)
		}
	})
}

// TestNothingIsSureAfterARestore holds that when postings go on after a restore, what
// is due is in doubt before any stock is compared: the ERP may have it from before.
func TestNothingIsSureAfterARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{book: posting.New(), now: time.Now, at: 1}
		m.apply(m.book.Generation(1, 0))
		for _, x := range m.book.Opened(map[protocol.StoreID]string{"S1": "erp", "S2": "erp"}, nil, 0) {
			m.apply(x)
		}
		m.book.Account("S1").Add(10, 10_957, false, false, &posting.Movement{Cell: 1, Class: posting.ClassSale, Day: 10_957, Moved: -1000, Changed: -1000})
		if _, err := m.CutPostings(t.Context(), "erp", posting.Window{Through: 10_957, Lines: 50}, 10); err != nil {
			t.Fatal(err)
		}
		m.apply(m.book.Generation(2, 0))
		var s *Sender
		var seen []string
		rounds := 0
		s = NewSender(Options{
			ERP: "erp", Outbox: m, Connector: &script{post: func(*posting.Doc) error { seen = append(seen, "post"); return nil }}, Calendar: Calendar{Zone: time.UTC}, Lines: 50, Now: time.Now, Log: zerolog.Nop(), Down: func(string, bool) {},
			Between: func(context.Context) {
				if rounds++; rounds == 3 { // a person, between two rounds
					resumed, _ := m.book.Resume("ann", "looked", 0)
					m.apply(resumed)
				}
				seen = append(seen, fmt.Sprint(s.Sure("S1"), s.Sure("S2")))
			},
		})
		ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
		defer stop()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		want := []string{"false false", "false false", "false false", "post", "true true"}
		if d := cmp.Diff(want, seen[:min(len(seen), len(want))]); d != "" {
			t.Error(d)
		}
	})
}

func failing(times int, r *Refusal) func(*posting.Doc) error {
	return func(*posting.Doc) error {
		if times--; times >= 0 {
			return r
		}
		return nil
	}
}

func TestDailyWindows(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here")
	}
	c := Calendar{Zone: berlin, Ends: 4 * time.Hour, Grace: 2 * time.Hour, Daily: true}
	for at, through := range map[string]string{
		"2026-03-01T05:59:00+01:00": "2026-02-27", // the 28th ends at 04:00, and is due at 06:00
		"2026-03-01T06:00:00+01:00": "2026-02-28",
		"2026-03-02T05:59:59+01:00": "2026-02-28",
	} {
		now, _ := time.Parse(time.RFC3339, at)
		if got := protocol.DayText(c.window(now, 1).Through); got != through {
			t.Errorf("at %s days up to %s are due, not up to %s", at, through, got)
		}
	}
}
