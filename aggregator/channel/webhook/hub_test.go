package webhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/aggregator/availability"
	"tillwire/protocol"
)

// TestPassagesFromTheFirst has numbers change between a subscription's answer and the
// moment at which its passages are heard: they are told from where it began.
func TestPassagesFromTheFirst(t *testing.T) {
	var told atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told.Add(1) }))
	defer srv.Close()
	m := availability.New(time.Now)
	h, stop := hubOn(t, m)
	defer stop()
	began, changed := m.AppliedPosition(), make(chan struct{})
	h.o.Thresholds = func(ctx context.Context, _ string, _ []protocol.StoreID, emit func(bool, []protocol.StateChange) error) error {
		<-changed
		if err := emit(true, nil); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	h.o.Touched = func(_ context.Context, after uint64, fn func(uint64, int64, []protocol.SKU, bool) error) error {
		if after != began {
			t.Errorf("the log is read from %d, the subscription began at %d", after, began)
		}
		return fn(after+1, time.Now().UnixMicro(), []protocol.SKU{"A"}, false)
	}
	h.o.State = func(sku protocol.SKU, _ protocol.StoreID, _ string) (protocol.StateChange, bool) {
		return protocol.StateChange{SKU: sku, State: "low"}, true
	}
	ask := &protocol.SubscriptionRequest{URL: srv.URL, Events: []string{protocol.EventThresholdCrossed}, SKUs: []protocol.SKU{"A"}, BatchMax: 10}
	if _, err := h.Create(t.Context(), ask, "test"); err != nil {
		t.Fatal(err)
	}
	pos := began
	sell(m, &pos, "A", 1)
	for until := time.Now().Add(10 * time.Second); h.reached.Load() < pos && time.Now().Before(until); time.Sleep(time.Millisecond) {
	}
	close(changed)
	for until := time.Now().Add(10 * time.Second); told.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the passage is not told")
		}
	}
}
