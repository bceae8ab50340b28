package marketplace_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/aggregator/availability"
	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/gateway"
	"tillwire/aggregator/channel/marketplace"
	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// rig is a connector over the real read model and a real ledger.
type rig struct {
	t     *testing.T
	model *availability.Model
	stub  *stub
	c     *marketplace.Connector
	stop  func()
	pos   uint64
	facts channel.Facts
	cfg   marketplace.Config
}

func start(t *testing.T, s *stub, change func(*marketplace.Config)) *rig {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	l, err := bolt.Open(bolt.Options{Path: t.TempDir() + "/ledger.db", Now: time.Now, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var one sync.Mutex // the ledger has one writer
	r := &rig{t: t, model: availability.New(time.Now), stub: s, facts: channel.Facts{Read: l.Fact, Put: func(ctx context.Context, key string, value []byte) error {
		one.Lock()
		defer one.Unlock()
		return l.Commit(ctx, &ledger.Batch{Facts: []ledger.Fact{{Key: key, Value: value}}})
	}}}
	r.cfg = marketplace.Config{
		Name: "amazon", Kind: marketplace.KindListings, Endpoint: srv.URL, Account: "A1", Marketplace: "A1PA6795UKMFR9", ProductType: "PRODUCT", TargetS: 60,
		Places: map[protocol.StoreID]string{"DC1": "EXSB", "S1": "EXSC"},
	}
	if change != nil {
		change(&r.cfg)
	}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	c, err := marketplace.New(r.cfg, marketplace.Options{
		Now: time.Now, Log: zerolog.Nop(), Facts: r.facts,
		Source: channel.Source{Now: time.Now, Model: r.model, Everything: r.model.After, Touched: func(context.Context, uint64, func(uint64, int64, []protocol.SKU, bool) error) error { return nil }},
		Available: func(sku protocol.SKU, at []protocol.StoreID, ch string) (protocol.Quantity, bool) {
			v, ok := r.model.GetFor(sku, at, ch)
			return v.Totals.Available, ok
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	r.c = c
	r.stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			r.t.Errorf("run: %v", err)
		}
		r.stop = func() {}
	}
	r.t.Cleanup(func() { r.stop() })
}

// stock sets what there is at a place.
func (r *rig) stock(sku protocol.SKU, loc protocol.StoreID, pieces int64) {
	r.model.Apply([]availability.Cell{{Location: loc, SKU: sku, OnHand: protocol.Quantity(pieces * 1000)}})
	r.pos++
	r.model.Applied(r.pos)
}

func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	r.t.Fatalf("not in 30 s: %s; %+v", what, r.c.Status())
}

// TestListingsWithinTheRate has more changes than Amazon's plan lets through: not one
// call too many, and the newest numbers in the end.
func TestListingsWithinTheRate(t *testing.T) {
	s := newStub(t, 5, 5)
	r := start(t, s, nil)
	want := map[string]int64{}
	began := time.Now()
	for n := range 400 {
		sku := fmt.Sprintf("SKU %d", n%12)
		r.stock(protocol.SKU(sku), "DC1", int64(n))
		want[sku] = int64(n)
		time.Sleep(5 * time.Millisecond)
	}
	got := map[string]int64{}
	r.eventually("the newest numbers", func() bool {
		_, _, got = s.state("patchListingsItem")
		return cmp.Equal(want, got)
	})
	r.eventually("nothing is owed", func() bool { return r.c.Status().Pending == 0 })
	calls, over, _ := s.state("patchListingsItem")
	took := time.Since(began).Seconds()
	if op := s.find("patchListingsItem"); over > 0 || float64(calls) > op.burst+op.rate*took {
		t.Errorf("%d calls in %.1f s, %d of them too many", calls, took, over)
	}
	st := r.c.Status()
	if st.SLA == nil || st.SLA.P50S <= 0 || st.Coalesced == 0 || !st.Rates[0].Learnt || st.Throttled != 0 || st.State != protocol.ConnectorOK {
		t.Errorf("status: %+v %+v", st, st.SLA)
	}
	t.Logf("%d calls in %.1f s at %g/s, burst %d; 400 changes, %d coalesced; age p50 %.2f s, p99 %.2f s", calls, took, st.Rates[0].PerS, st.Rates[0].Burst, st.Coalesced, st.SLA.P50S, st.SLA.P99S)
}

// TestPartialSuccess has some of a batch fail: they alone go again, and what is wrong
// for good becomes a dead letter that a person may retry.
func TestPartialSuccess(t *testing.T) {
	s := newStub(t, 50, 10)
	var mu sync.Mutex
	failed, alone := 0, 0
	broken := true
	s.chaos = func(_ string, n int, body map[string]any) (int, any) {
		mu.Lock()
		defer mu.Unlock()
		list, _ := body["requests"].([]any)
		op := s.find("batchInventory")
		var good map[string]any
		answers := []any{}
		for i, q := range list {
			uri := q.(map[string]any)["uri"].(string)
			one := op.inventory(q.(map[string]any), map[string]any{"body": map[string]any{}})
			good = one.(map[string]any)
			switch {
			case strings.Contains(uri, "skuId=B") && broken:
				good = map[string]any{"status": map[string]any{"statusCode": 400, "reasonPhrase": "Invalid Input"}, "body": map[string]any{"skuId": "B", "actionableErrors": []any{map[string]any{"errorType": "INVALID_SKU", "errorSubType": "not listed"}}}}
			case strings.Contains(uri, "skuId=C") && failed < 2:
				failed++
				delete(op.values, "C@EXSB")
				good = map[string]any{"status": map[string]any{"statusCode": 500, "reasonPhrase": "Internal"}, "body": map[string]any{"skuId": "C"}, "novelty": i}
			}
			answers = append(answers, good)
		}
		if n > 1 && len(list) == 1 {
			alone++
		}
		return http.StatusMultiStatus, map[string]any{"responses": answers}
	}
	r := start(t, s, func(c *marketplace.Config) {
		c.Kind, c.Limit = marketplace.KindFulfillment, gateway.Limit{Rate: 50, Burst: 10}
		c.Places = map[protocol.StoreID]string{"DC1": "EXSB"}
	})
	for _, sku := range []protocol.SKU{"A", "B", "C", "D"} {
		r.stock(sku, "DC1", 7)
	}
	r.eventually("A, C and D", func() bool {
		_, _, v := s.state("batchInventory")
		return v["A@EXSB"] == 7 && v["C@EXSB"] == 7 && v["D@EXSB"] == 7 && r.c.Letters().Len() == 1
	})
	d := r.c.Letters().List()[0]
	if !strings.Contains(d.Reason, "INVALID_SKU") || d.Keys[0] != "B @ DC1" {
		t.Errorf("dead letter: %+v", d)
	}
	if dr := r.c.Status().Drift; len(dr) != 1 || dr[0].Field != "/responses/*/novelty" || dr[0].Count != 2 {
		t.Errorf("drift: %+v", dr)
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	if err := r.c.Retry(context.Background(), &d); err != nil {
		t.Fatal(err)
	}
	r.eventually("B", func() bool { _, _, v := s.state("batchInventory"); return v["B@EXSB"] == 7 })
	mu.Lock()
	defer mu.Unlock()
	if alone < 2 {
		t.Errorf("C went alone %d times", alone)
	}
}

// TestAnswersThatAreWrong: an answer that lacks what it must have is a dead letter; a
// marketplace that refuses for the rate, or fails, is asked again.
func TestAnswersThatAreWrong(t *testing.T) {
	s := newStub(t, 5, 5)
	s.chaos = func(_ string, n int, _ map[string]any) (int, any) {
		switch n {
		case 1:
			return http.StatusTooManyRequests, map[string]any{}
		case 2:
			return http.StatusServiceUnavailable, map[string]any{}
		case 3:
			return http.StatusOK, map[string]any{"sku": "A", "status": "ACCEPTED"}
		}
		return 0, nil
	}
	r := start(t, s, nil)
	r.stock("A", "DC1", 3)
	r.eventually("a dead letter", func() bool { return r.c.Letters().Len() == 1 })
	if d := r.c.Letters().List()[0]; !strings.Contains(d.Reason, "lacks /submissionId") {
		t.Errorf("dead letter: %+v", d)
	}
	r.stock("A", "DC1", 4)
	r.eventually("a newer number", func() bool { _, _, v := s.state("patchListingsItem"); return v["A"] == 4 })
	if st := r.c.Status(); st.Throttled != 1 || st.Retries != 2 {
		t.Errorf("status: %+v", st)
	}
}

// TestLogin trades the refresh token once, and again when a token is not accepted.
func TestLogin(t *testing.T) {
	s := newStub(t, 50, 50)
	var mu sync.Mutex
	logins, wrong := 0, 0
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.FormValue("refresh_token") != "r" || r.FormValue("grant_type") != "refresh_token" {
			wrong++
		}
		logins++
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","expires_in":3600}`, logins)
	}))
	t.Cleanup(login.Close)
	s.chaos = func(_ string, n int, _ map[string]any) (int, any) {
		if n == 2 {
			return http.StatusForbidden, map[string]any{"errors": []any{}}
		}
		return 0, nil
	}
	r := start(t, s, func(c *marketplace.Config) {
		c.Login = marketplace.Login{TokenURL: login.URL, ClientID: "c", ClientSecret: "s", RefreshToken: "r"}
	})
	r.stock("A", "DC1", 1)
	r.eventually("1", func() bool { _, _, v := s.state("patchListingsItem"); return v["A"] == 1 })
	r.stock("A", "DC1", 2)
	r.eventually("2", func() bool { _, _, v := s.state("patchListingsItem"); return v["A"] == 2 })
	mu.Lock()
	defer mu.Unlock()
	if logins != 2 || wrong != 0 {
		t.Errorf("logged in %d times, %d of them wrongly", logins, wrong)
	}
}
