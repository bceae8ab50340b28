package intake

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/protocol"
)

const benchWriters = 64

func basket(n uint64) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"document_id":"S0042-R03-%09d","register":"R03","occurred_at":"2026-11-23T10:15:02.123+01:00","business_date":"2026-11-23","lines":[`, n)
	for i := range 10 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"line":%d,"sku":"04006381333931","quantity":2,"uom":"EA"}`, i+1)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// postAll sends b.N baskets over real loopback connections.
func postAll(b *testing.B, h *http.Server, want int) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = h.Serve(ln); close(done) }()
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchWriters}}
	var n atomic.Uint64
	url := "http://" + ln.Addr().String() + "/v1/sales"
	b.SetParallelism(benchWriters / 2)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := c.Post(url, "application/json", bytes.NewReader(basket(n.Add(1))))
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if err := resp.Body.Close(); err != nil || resp.StatusCode != want {
				b.Errorf("%d %v", resp.StatusCode, err)
				return
			}
		}
	})
	b.StopTimer()
	c.CloseIdleConnections()
	if err := h.Close(); err != nil {
		b.Error(err)
	}
	<-done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sales/s")
}

// BenchmarkPostSale is the whole way: HTTP, decode, fsync, 201.
func BenchmarkPostSale(b *testing.B) {
	postAll(b, newShop(b).in.Server(), http.StatusCreated)
}

// BenchmarkBareHTTP is net/http and the decoder without a journal: one of the
// two bounds of BenchmarkPostSale.
func BenchmarkBareHTTP(b *testing.B) {
	postAll(b, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.Error(err)
		}
		if _, p := protocol.DecodeDocument(body, protocol.Source{Store: "S0042", Kind: protocol.KindSale}); p != nil {
			b.Error(p)
		}
		answer(w, http.StatusCreated, "application/json", []byte(`{"event_id":"00000000000000000000000000000000","seq":1,"journaled_at":"2026-11-23T10:15:02Z","duplicate":false}`))
	})}, http.StatusCreated)
}

// BenchmarkJournal is the other bound: the same events into the same journal,
// with as many writers.
func BenchmarkJournal(b *testing.B) {
	j := openJournal(b, func() time.Time { return testNow })
	var n atomic.Uint64
	b.SetParallelism(benchWriters / 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e, p := protocol.DecodeDocument(basket(n.Add(1)), protocol.Source{Store: "S0042", Kind: protocol.KindSale})
			if p != nil {
				b.Error(p)
				return
			}
			if _, err := j.Append(b.Context(), e); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sales/s")
}

// BenchmarkStockRead is a read of the local stock, without the network.
func BenchmarkStockRead(b *testing.B) {
	s := newShop(b)
	s.mustPost("/v1/sales", strings.Replace(goodDocs["/v1/sales"], "D1", "D2", 1))
	r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1/v1/stock/4006381333931", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		s.in.Handler().ServeHTTP(w, r)
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
