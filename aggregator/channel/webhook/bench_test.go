package webhook

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/availability"
	"tillwire/aggregator/channel"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// hubOn serves subscriptions over the real read model.
func hubOn(tb testing.TB, m *availability.Model) (h *Hub, stop func()) {
	tb.Helper()
	var mu sync.Mutex
	facts := map[string][]byte{}
	h, err := Open(Options{
		Now: time.Now, Log: zerolog.Nop(), Availability: m, Source: "urn:tillwire:bench", AllowHTTP: true,
		Guard:  channel.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Secret: func(string, int) []byte { return make([]byte, 32) },
		Thresholds: func(ctx context.Context, _ string, _ []protocol.StoreID, _ func(bool, []protocol.StateChange) error) error {
			<-ctx.Done()
			return ctx.Err()
		},
		Touched:    func(context.Context, uint64, func(uint64, int64, []protocol.SKU, bool) error) error { return nil },
		Everything: m.After,
		Facts: channel.Facts{
			Read: func(key string) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				if b, ok := facts[key]; ok {
					return b, nil
				}
				return nil, ledger.ErrNotFound
			},
			Put: func(_ context.Context, key string, v []byte) error {
				mu.Lock()
				defer mu.Unlock()
				facts[key] = v
				return nil
			},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	return h, func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run: %v", err)
		}
	}
}

func subscribeTo(tb testing.TB, h *Hub, url string, batch int) {
	tb.Helper()
	if _, err := h.Create(context.Background(), &protocol.SubscriptionRequest{URL: url, Events: []string{protocol.EventAvailabilityChanged}, BatchMax: batch}, "test"); err != nil {
		tb.Fatal(err)
	}
}

func sell(m *availability.Model, pos *uint64, sku protocol.SKU, left int) {
	m.Apply([]availability.Cell{{Location: "S1", SKU: sku, OnHand: protocol.Quantity(left * 1000)}})
	*pos++
	m.Applied(*pos)
}

// BenchmarkFanOut tells changes to receivers, one of which is away.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("receivers=%d", n), func(b *testing.B) {
			var items, messages atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				messages.Add(1)
			}))
			defer srv.Close()
			m := availability.New(time.Now)
			h, stop := hubOn(b, m)
			defer stop()
			for range n {
				subscribeTo(b, h, srv.URL, 100)
			}
			subscribeTo(b, h, "http://127.0.0.1:1/away", 100)
			pos := uint64(0)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				sell(m, &pos, protocol.SKU(fmt.Sprintf("%014d", i%5000)), i)
			}
			for {
				left := 0
				for _, s := range h.List()[:n] {
					left += s.Pending
				}
				if left == 0 && h.reached.Load() == pos {
					break
				}
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			for _, s := range h.List()[:n] {
				items.Add(int64(s.Items))
			}
			b.ReportMetric(float64(messages.Load())/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(items.Load())/b.Elapsed().Seconds(), "items/s")
		})
	}
}

// TestADeadReceiverCostsItsKeys: changes of more articles than a receiver may be owed
// keep the heap where it is, and when it comes back it hears of every article.
func TestADeadReceiverCostsItsKeys(t *testing.T) {
	const owed, articles, changes = 10_000, 12_000, 24_000
	var up atomic.Bool
	var mu sync.Mutex
	heard := map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, s := range skusIn(b) {
			heard[s] = true
		}
	}))
	defer srv.Close()
	m := availability.New(time.Now)
	h, stop := hubOn(t, m)
	defer stop()
	h.owedMax = owed // as if PendingMax articles were owed, and more changed
	subscribeTo(t, h, srv.URL, 100)
	pos := uint64(0)
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	names := make([]protocol.SKU, articles)
	for i := range names {
		names[i] = protocol.SKU(fmt.Sprintf("%014d", i))
		sell(m, &pos, names[i], 1)
	}
	before := heap()
	for i := range changes {
		sell(m, &pos, names[i%articles], i)
	}
	after := heap()
	if grown := int64(after) - int64(before); grown > 8<<20 {
		t.Errorf("the heap grew by %d MiB while the receiver was away", grown>>20)
	}
	s := h.List()[0]
	if s.Pending > owed+s.BatchMax {
		t.Errorf("%d keys are owed", s.Pending)
	}
	t.Logf("%d changes of %d articles: %d keys owed, heap %d → %d MiB", changes+articles, articles, s.Pending, before>>20, after>>20)
	up.Store(true)
	if _, err := h.Resume(context.Background(), s.ID); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		n := len(heard)
		mu.Unlock()
		if n == articles {
			return
		}
	}
	t.Errorf("it heard of %d articles of %d", len(heard), articles)
}

// skusIn reads which articles a message is about.
func skusIn(b []byte) (out []string) {
	const key = `"sku":"`
	for i := 0; i+len(key)+14 < len(b); i++ {
		if string(b[i:i+len(key)]) == key {
			out = append(out, string(b[i+len(key):i+len(key)+14]))
		}
	}
	return out
}
