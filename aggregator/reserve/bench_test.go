package reserve

import (
	"fmt"
	"runtime"
	"testing"

	"tillwire/protocol"
)

// endless has more of everything than anybody asks for.
type endless struct{ shelf }

func (*endless) Free(Key, string) protocol.Quantity                { return protocol.QuantityMax }
func (*endless) OnHand(Key) protocol.Quantity                      { return protocol.QuantityMax }
func (*endless) Explode(protocol.SKU) []protocol.KitComponent      { return nil }
func (*endless) Candidates(protocol.SKU, string) (out []Candidate) { return nil }

// full is a book with n live holds on 400 stores and 5,000 articles, one a
// microsecond.
func full(b testing.TB, n int) (*Book, *endless, []*protocol.ReservationRequest) {
	s, book := &endless{}, New()
	reqs := make([]*protocol.ReservationRequest, 1<<16)
	for i := range reqs {
		reqs[i] = ask("", want(fmt.Sprintf("%013d", i*7%5000), 1, fmt.Sprintf("S%04d", i%400)))
		reqs[i].TTLS = protocol.ReservationTTLMaxS
	}
	for i := range n {
		q := *reqs[i%len(reqs)]
		q.ReservationID = fmt.Sprintf("web-%09d", i)
		res, p := book.Reserve(&q, s, int64(i+1))
		if p != nil {
			b.Fatal(p)
		}
		book.Apply(res.Change)
	}
	book.TakeTouched()
	return book, s, reqs
}

// BenchmarkReserve holds and applies beside a million that live.
func BenchmarkReserve(b *testing.B) {
	for _, live := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			book, s, reqs := full(b, live)
			ids := make([]string, b.N)
			for i := range ids {
				ids[i] = fmt.Sprintf("new-%09d", i)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				q := *reqs[i%len(reqs)]
				q.ReservationID = ids[i]
				res, p := book.Reserve(&q, s, int64(live+i+1))
				if p != nil {
					b.Fatal(p)
				}
				book.Apply(res.Change)
				if i%256 == 0 { // as a batch ends
					book.TakeTouched()
				}
			}
		})
	}
}

// BenchmarkHot reserves and releases at one position that 100,000 hold.
func BenchmarkHot(b *testing.B) {
	s, book := &endless{}, New()
	for i := range 100_000 {
		res, _ := book.Reserve(ask(fmt.Sprintf("old-%09d", i), want("X", 1, "S1")), s, int64(i+1))
		book.Apply(res.Change)
	}
	keys := []Key{at("S1", "X")}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		id := fmt.Sprintf("new-%09d", i)
		res, _ := book.Reserve(ask(id, want("X", 1, "S1")), s, int64(100_001+i))
		book.Apply(res.Change)
		book.Conflicts(keys, s, int64(100_001+i))
		res, _ = book.Release(id, int64(100_001+i))
		book.Apply(res.Change)
	}
}

// BenchmarkMemory tells what a live hold takes.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	for range b.N {
		runtime.GC()
		runtime.ReadMemStats(&before)
		book, _, reqs := full(b, 1_000_000)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "B/hold")
		runtime.KeepAlive(book)
		runtime.KeepAlive(reqs)
	}
}

// BenchmarkChunks writes what 10,000 changes among a million holds have touched.
func BenchmarkChunks(b *testing.B) {
	book, _, _ := full(b, 1_000_000)
	none := func(uint32, []byte) {}
	if err := book.Chunks(none); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	bytes := 0
	for i := range b.N {
		b.StopTimer()
		for j := range 10_000 {
			res, p := book.Extend(fmt.Sprintf("web-%09d", j*97), 1000, int64(1_000_001+i))
			if p != nil {
				b.Fatal(p)
			}
			book.Apply(res.Change)
		}
		b.StartTimer()
		if err := book.Chunks(func(_ uint32, data []byte) { bytes += len(data) }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(bytes)/float64(b.N)/1e6, "MB/op")
}

// BenchmarkSourced finds a location for three lines among 400.
func BenchmarkSourced(b *testing.B) {
	for _, how := range []string{protocol.SourcingMostStock, protocol.SourcingLeastSplits} {
		b.Run(how, func(b *testing.B) {
			s := newShelf()
			s.onHand = map[Key]protocol.Quantity{}
			var list []Candidate
			for i := range 400 {
				loc := fmt.Sprintf("S%04d", i)
				s.onHand[at(loc, []string{"A", "B", "C"}[i%3])] = protocol.QuantityMax
				list = append(list, Candidate{Location: protocol.StoreID(loc)})
			}
			book := New()
			b.ReportAllocs()
			for i := range b.N {
				q := ask(fmt.Sprint(i), want("A", 1, ""), want("B", 1, ""), want("C", 1, ""))
				q.Sourcing = how
				res, p := book.Reserve(q, &many{s, list}, int64(i))
				if p != nil {
					b.Fatal(p)
				}
				book.Apply(res.Change)
			}
		})
	}
}

// many is a shelf whose candidates are a list.
type many struct {
	*shelf
	list []Candidate
}

func (m *many) Candidates(protocol.SKU, string) []Candidate { return m.list }

// BenchmarkList looks for a page among a million.
func BenchmarkList(b *testing.B) {
	book, _, _ := full(b, 1_000_000)
	b.ResetTimer()
	for range b.N {
		if n := len(book.List(Filter{State: protocol.ReservationHeld, After: "web-000500000", Limit: 100}, 1)); n != 100 {
			b.Fatal(n)
		}
	}
}
