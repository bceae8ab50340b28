package siblings

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

const secret = "a secret of the shop"

// journalOf answers cuts from the record times of a journal, seq 1 first.
func journalOf(recordUS ...int64) func(int64) uint64 {
	return func(us int64) uint64 {
		n := uint64(0)
		for _, at := range recordUS {
			if at <= us {
				n++
			}
		}
		return n
	}
}

type agentOf struct {
	store  protocol.StoreID
	agent  protocol.AgentID
	secret string
	skewUS int64 // of its clock
	cutAt  func(int64) uint64
	peers  []Peer
}

func (a agentOf) make(t *testing.T) *Siblings {
	t.Helper()
	s, err := New(Options{
		Store: a.store, Agent: a.agent, Secret: a.secret, Peers: a.peers, Log: zerolog.Nop(),
		Now:   func() time.Time { return time.Now().Add(time.Duration(a.skewUS) * time.Microsecond) },
		Epoch: func() uint64 { return 7 }, CutAt: a.cutAt,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (a agentOf) serve(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(a.make(t).Server().Handler)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func countAt(us ...int64) *protocol.Event {
	e := &protocol.Event{Kind: protocol.KindCount, EventTime: protocol.Stamp{US: time.Now().UnixMicro()}}
	for i, at := range us {
		e.Lines = append(e.Lines, protocol.Line{Line: i + 1, SKU: "A", CountedAt: protocol.Stamp{US: at}})
	}
	return e
}

// A sibling whose clock is two hours wrong still cuts at the moment of counting.
func TestCutsAreThoseOfTheMomentWhateverTheSiblingsClock(t *testing.T) {
	const skew = 2 * 3600_000_000
	now := time.Now().UnixMicro()
	sold := journalOf(now+skew-60_000_000, now+skew-30_000_000, now+skew-10_000_000)
	addr := agentOf{store: "S1", agent: "till-02", secret: secret, skewUS: skew, cutAt: sold}.serve(t)
	s := agentOf{store: "S1", agent: "till-01", secret: secret, peers: []Peer{{"till-02", addr}}}.make(t)
	e := countAt(now-90_000_000, now-20_000_000, 0, now-40_000_000)
	seen := s.See(context.Background(), e)
	for i, want := range []uint64{0, 2, 3, 1} {
		if got := seen.Lines[i].Cuts; len(got) != 1 || got[0] != (protocol.SiblingCut{Agent: "till-02", Epoch: 7, Seq: want}) {
			t.Errorf("line %d is cut at %v, want seq %d", i+1, got, want)
		}
		if e.Lines[i].Cuts != nil {
			t.Error("the caller's event was changed")
		}
	}
	if st := s.Status(); len(st) != 1 || st[0].LastError != "" || st[0].SeenAt.IsZero() {
		t.Errorf("status %+v", st)
	}
}

func TestMoreMomentsThanOneQuestionHolds(t *testing.T) {
	now := time.Now().UnixMicro()
	addr := agentOf{store: "S1", agent: "b", secret: secret, cutAt: func(us int64) uint64 { return uint64((us - now + 3600_000_000) / 1_000_000) }}.serve(t)
	s := agentOf{store: "S1", agent: "a", secret: secret, peers: []Peer{{"b", addr}}}.make(t)
	e := countAt()
	for i := range MomentsMax + 50 {
		e.Lines = append(e.Lines, protocol.Line{CountedAt: protocol.Stamp{US: now - int64(i+1)*2_000_000}})
	}
	seen := s.See(context.Background(), e)
	for i := range seen.Lines {
		want := uint64(3600 - 2*(i+1))
		if got := seen.Lines[i].Cuts; len(got) != 1 || got[0].Seq != want && got[0].Seq != want-1 && got[0].Seq != want+1 {
			t.Fatalf("line %d is cut at %v, want about %d", i, got, want)
		}
	}
}

func TestWhoCannotBeTrustedIsNotSeen(t *testing.T) {
	one := func(int64) uint64 { return 1 }
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close() //nolint:errcheck // of the test
	unsigned := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"store":"S1","agent":"b","epoch":1,"cuts":[99]}`))
	}))
	defer unsigned.Close()
	for name, c := range map[string]struct{ addr, says string }{
		"another secret":     {agentOf{store: "S1", agent: "b", secret: "another secret!!", cutAt: one}.serve(t), "lan.secret"},
		"another shop":       {agentOf{store: "S2", agent: "b", secret: secret, cutAt: one}.serve(t), "another shop"},
		"another agent":      {agentOf{store: "S1", agent: "c", secret: secret, cutAt: one}.serve(t), "mend lan.siblings"},
		"no signature":       {strings.TrimPrefix(unsigned.URL, "http://"), "signature"},
		"no answer":          {mute.Addr().String(), "deadline"},
		"nobody listens":     {"127.0.0.1:1", "refused"},
		"not even an a host": {"no-such-host.invalid:1", ""},
	} {
		s := agentOf{store: "S1", agent: "a", secret: secret, peers: []Peer{{"b", c.addr}}}.make(t)
		seen := s.See(context.Background(), countAt(1))
		if seen.Lines[0].Cuts != nil {
			t.Errorf("%s: seen as %v", name, seen.Lines[0].Cuts)
		}
		if st := s.Status()[0]; st.LastError == "" || !strings.Contains(st.LastError, c.says) {
			t.Errorf("%s: the status says %q, want %q in it", name, st.LastError, c.says)
		}
	}
}

// A till that is switched off costs one wait, not one per count.
func TestASilentSiblingIsLeftAloneForAWhile(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		http.Error(w, "no", http.StatusInternalServerError)
	}))
	defer srv.Close()
	now := time.Now()
	s := agentOf{store: "S1", agent: "a", secret: secret, peers: []Peer{{"b", strings.TrimPrefix(srv.URL, "http://")}}}.make(t)
	s.o.Now = func() time.Time { return now }
	for range 3 {
		s.See(context.Background(), countAt(1))
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
	now = now.Add(restAfterFailure)
	s.See(context.Background(), countAt(1))
	if asked != 2 {
		t.Errorf("asked %d times after its rest, want twice", asked)
	}
}

func TestOnlyCountsAsk(t *testing.T) {
	s := agentOf{store: "S1", agent: "a", secret: secret, peers: []Peer{{"b", "127.0.0.1:1"}}}.make(t)
	e := countAt(1)
	e.Kind = protocol.KindSale
	if s.See(context.Background(), e) != e || s.Status()[0].LastError != "" {
		t.Error("a sale asked the siblings")
	}
}

func TestQuestionsThatAreRefused(t *testing.T) {
	srv := agentOf{store: "S1", agent: "b", secret: secret, cutAt: func(int64) uint64 { return 1 }}.make(t).Server().Handler
	for body, want := range map[string]int{
		`{"store":"S1","at_us":[1]}`: http.StatusOK,
		`{"store":"S1","at_us":[]}`:  http.StatusBadRequest,
		`{"store":"S2","at_us":[1]}`: http.StatusForbidden,
		`{`:                          http.StatusBadRequest,
		`{"x":"` + strings.Repeat("x", bodyBytesMax) + `"}`: http.StatusRequestEntityTooLarge,
	} {
		r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
		r.Header.Set(signatureHeader, sign(secret, "ask", "", []byte(body)))
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%.40s: %d, want %d", body, w.Code, want)
		}
	}
	r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(`{"store":"S1","at_us":[1]}`))
	w := httptest.NewRecorder()
	if srv.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
		t.Errorf("without a signature: %d", w.Code)
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	for _, o := range []Options{
		{Secret: "short"},
		{Secret: secret, Agent: "a", Peers: []Peer{{"a", "x:1"}}},
		{Secret: secret, Agent: "a", Peers: []Peer{{"b", "x:1"}, {"b", "y:1"}}},
		{Secret: secret, Agent: "a", Peers: make([]Peer, PeersMax+1)},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "lan.") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, s := range []string{"", "till-02", "till 02=x:1", "till-02=x", "=x:1"} {
		if _, err := ParsePeer(s); err == nil {
			t.Errorf("%q was read", s)
		}
	}
}
