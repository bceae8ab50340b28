package availability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

// following runs a model's follower in a bubble, until the test ends.
func following(t *testing.T, f func(t *testing.T, m *Model)) {
	synctest.Test(t, func(t *testing.T) {
		m := New(time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		synctest.Wait()
		f(t, m)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func subscribe(t *testing.T, m *Model, f Filter) *Subscription {
	t.Helper()
	s, err := m.Subscribe(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if f.After == 0 {
		if d := next(t, s); !d.Reset {
			t.Fatalf("a new subscriber begins with %+v", d)
		}
	}
	return s
}

func next(t *testing.T, s *Subscription) Delivery {
	t.Helper()
	d, err := s.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// quiet tells that nothing comes for a while.
func quiet(t *testing.T, s *Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if d, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("heard %+v, %v", d, err)
	}
}

// told are events in short: "A web S1 in>low 2".
func told(d Delivery) (out []string) {
	for _, e := range d.Events {
		out = append(out, fmt.Sprintf("%s %s %s %s>%s %s", e.SKU, e.Channel, e.Location, e.Was, e.State, e.Available))
	}
	return out
}

func expect(t *testing.T, s *Subscription, want ...string) {
	t.Helper()
	if d := gocmp.Diff(want, told(next(t, s))); d != "" {
		t.Error(d)
	}
}

func TestThresholdsAreExact(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		m.UseRules(plainRules{"A": {Default: protocol.Holdback{LowAt: 2000}}})
		put := func(n protocol.Quantity) { m.Apply([]Cell{{SKU: "A", Location: "S1", OnHand: n}}) }
		put(5000)
		s := subscribe(t, m, Filter{States: true})
		for _, step := range []struct {
			on   protocol.Quantity
			want string
		}{
			{2001, ""},
			{2000, "A   in>low 2"},
			{2001, "A   low>in 2.001"},
			{1999, "A   in>low 1.999"},
			{1, ""},
			{0, "A   low>out 0"},
			{-5000, ""},
			{1, "A   out>low 0.001"},
			{-1, "A   low>out 0"},
			{9000, "A   out>in 9"},
			{9000, ""},
			{0, "A   in>out 0"},
		} {
			put(step.on)
			if step.want == "" {
				quiet(t, s)
				continue
			}
			expect(t, s, step.want)
		}
	})
}

func TestWhatWasNeverThereComesIn(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		s := subscribe(t, m, Filter{States: true})
		m.Apply([]Cell{{SKU: "new", Location: "S1", OnHand: 0}})
		quiet(t, s)
		m.Apply([]Cell{{SKU: "new", Location: "S1", OnHand: 1000}, {SKU: "newer", Location: "S1", OnHand: 1000}})
		expect(t, s, "new   out>in 1", "newer   out>in 1")
	})
}

func TestStatesOfChannelsLocationsAndKits(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		m.UseRules(plainRules{
			"A": {
				Default: protocol.Holdback{LowAt: 1000, Fences: []protocol.Fence{{Channel: "web", Quantity: 3000}}},
				At:      map[protocol.StoreID]*protocol.Holdback{"S2": {LowAt: 4000}},
			},
			"kit": {Default: protocol.Holdback{LowAt: 1000}},
		})
		m.UseKits(func(sku protocol.SKU) []protocol.KitComponent {
			if sku != "kit" {
				return nil
			}
			return []protocol.KitComponent{{SKU: "A", Quantity: 2000}}
		})
		m.UseKitsOf(func(part protocol.SKU) []protocol.SKU {
			if part != "A" {
				return nil
			}
			return []protocol.SKU{"kit"}
		})
		put := func(s1, s2 protocol.Quantity) {
			m.Apply([]Cell{{SKU: "A", Location: "S1", OnHand: s1}, {SKU: "A", Location: "S2", OnHand: s2}})
		}
		put(9000, 9000)
		nobody := subscribe(t, m, Filter{States: true, SKUs: []protocol.SKU{"A"}})
		shop := subscribe(t, m, Filter{States: true, Channel: "shop", SKUs: []protocol.SKU{"A"}})
		web := subscribe(t, m, Filter{States: true, Channel: "web", Locations: []protocol.StoreID{"S1", "S2", "nowhere"}, SKUs: []protocol.SKU{"A"}})
		kit := subscribe(t, m, Filter{States: true, Channel: "shop", SKUs: []protocol.SKU{"kit"}, Locations: []protocol.StoreID{"S2"}})

		put(3500, 500) // shop: 0.5 + 0.5
		expect(t, shop, "A shop  in>low 1")
		expect(t, web, "A web S2 in>low 0.5")
		expect(t, kit, "kit shop  in>out 0", "kit shop S2 in>out 0")
		put(1000, 0)
		expect(t, nobody, "A   in>low 1")
		expect(t, shop, "A shop  low>out 0")
		expect(t, web, "A web  in>low 1", "A web S1 in>low 1", "A web S2 low>out 0")
		quiet(t, kit)
		put(5000, 0) // shop: (5 − 3) / 2
		expect(t, kit, "kit shop  out>low 1")
	})
}

func TestTimeAloneChangesStates(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		m.UseRules(plainRules{"A": {Default: protocol.Holdback{DarkAfterS: 900, Escrow: 5000}}})
		m.SetLocation("S1", LocationState{WatermarkUS: time.Now().UnixMicro()})
		m.Apply([]Cell{{SKU: "A", Location: "S1", OnHand: 5000}})
		s := subscribe(t, m, Filter{States: true, Changes: true})
		began := time.Now()
		expect(t, s, "A   in>out 0")
		if age := time.Since(began); age < 15*time.Minute || age > 17*time.Minute {
			t.Errorf("dark was told after %v", age)
		}
	})
}

func TestChangesAreToldOnce(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		all := subscribe(t, m, Filter{Changes: true})
		some := subscribe(t, m, Filter{Changes: true, SKUs: []protocol.SKU{"B", "B", "C", "never"}})
		m.Apply([]Cell{{SKU: "A", Location: "S"}, {SKU: "B", Location: "S"}, {SKU: "A", Location: "T"}, {SKU: "D", Location: "S"}, {SKU: "E", Location: "S"}, {SKU: "C", Location: "S"}})
		if d := gocmp.Diff([]protocol.SKU{"A", "B", "D", "E", "C"}, next(t, all).Changed); d != "" {
			t.Error(d)
		}
		if d := gocmp.Diff([]protocol.SKU{"B", "C"}, next(t, some).Changed); d != "" {
			t.Error(d)
		}
		m.Apply([]Cell{{SKU: "C", Location: "S"}})
		if d := gocmp.Diff([]protocol.SKU{"C"}, next(t, some).Changed); d != "" {
			t.Error(d)
		}
		m.Touch([]protocol.SKU{"B", "never"})
		if d := gocmp.Diff([]protocol.SKU{"B"}, next(t, some).Changed); d != "" {
			t.Error(d)
		}
	})
}

func TestASlowSubscriberIsToldToReadAnew(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		slow := subscribe(t, m, Filter{Changes: true, States: true})
		quick := subscribe(t, m, Filter{Changes: true})
		for i := range batchesKept + 1 {
			m.Apply([]Cell{{SKU: "A", Location: "S", OnHand: protocol.Quantity(i)}})
			if d := next(t, quick); d.Reset || len(d.Changed) != 1 {
				t.Fatalf("batch %d: %+v", i, d)
			}
		}
		d := next(t, slow)
		if !d.Reset || d.Changed != nil || d.Events != nil {
			t.Errorf("%+v", d)
		}
		quiet(t, slow)
		m.Apply([]Cell{{SKU: "A", Location: "S", OnHand: 0}})
		expect(t, slow, "A   in>out 0")
	})
}

// TestTheFollowerFallsBehind changes more SKUs at once than the ring holds: all
// are told to read anew, and states go on from there.
func TestTheFollowerFallsBehind(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		cells := make([]Cell, changesKept+10)
		for i := range cells {
			cells[i] = Cell{SKU: protocol.SKU(fmt.Sprintf("%06d", i)), Location: "S", OnHand: 1000}
		}
		states := subscribe(t, m, Filter{States: true, SKUs: []protocol.SKU{"000000", "065540"}})
		changes := subscribe(t, m, Filter{Changes: true})
		m.Apply(cells)
		for _, s := range []*Subscription{states, changes} {
			if d := next(t, s); !d.Reset {
				t.Errorf("%+v", d)
			}
		}
		quiet(t, states)
		m.Apply([]Cell{{SKU: "000000", Location: "S"}, {SKU: "065540", Location: "S"}})
		expect(t, states, "000000   in>out 0", "065540   in>out 0")
	})
}

func TestASubscriberGoesOnWhereItWas(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		put := func(n protocol.Quantity) { m.Apply([]Cell{{SKU: "A", Location: "S", OnHand: n}}) }
		put(1000)
		s := subscribe(t, m, Filter{States: true})
		put(0)
		d := next(t, s)
		s.Close()
		put(1000)
		time.Sleep(time.Second)
		put(0)
		time.Sleep(time.Minute)
		again := subscribe(t, m, Filter{States: true, After: d.No})
		expect(t, again, "A   out>in 1")
		expect(t, again, "A   in>out 0")
		again.Close()

		for name, f := range map[string]Filter{
			"another life's number":             {States: true, After: d.No - 1e9},
			"a number that never was":           {States: true, After: d.No + 1e9},
			"a channel that nobody watched yet": {States: true, Channel: "web", After: d.No},
		} {
			s := subscribe(t, m, f)
			if d := next(t, s); !d.Reset {
				t.Errorf("%s: %+v", name, d)
			}
			s.Close()
		}
		time.Sleep(watchIdle + time.Minute)
		s = subscribe(t, m, Filter{States: true, After: d.No})
		if d := next(t, s); !d.Reset {
			t.Errorf("after states were forgotten: %+v", d)
		}
	})
}

func TestSubscribersAndWatchesAreBounded(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		if _, err := m.Subscribe(Filter{SKUs: make([]protocol.SKU, filterSKUsMax+1)}); !errors.Is(err, ErrFilter) {
			t.Error(err)
		}
		var subs []*Subscription
		for i := range watchesMax {
			subs = append(subs, subscribe(t, m, Filter{States: true, Channel: fmt.Sprint("c", i)}))
		}
		one := Filter{States: true, Channel: "one too many"}
		if _, err := m.Subscribe(one); !errors.Is(err, ErrTooManyWatches) {
			t.Error(err)
		}
		subs[7].Close()
		subs[7].Close() // once is enough
		if _, err := m.Subscribe(Filter{States: true, Channel: "two", Locations: []protocol.StoreID{"S"}}); !errors.Is(err, ErrTooManyWatches) {
			t.Error(err)
		}
		subscribe(t, m, one)
		for range subscribersMax - watchesMax {
			subscribe(t, m, Filter{Changes: true})
		}
		if _, err := m.Subscribe(Filter{}); !errors.Is(err, ErrTooManySubscribers) {
			t.Error(err)
		}
	})
}

func TestTheFeedStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- m.Run(ctx) }()
		synctest.Wait()
		if err := m.Run(ctx); err == nil {
			t.Error("two follow")
		}
		s := subscribe(t, m, Filter{Changes: true})
		go func() {
			_, err := s.Next(context.Background())
			done <- err
		}()
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
		}
		bell := m.Wait()
		m.Apply([]Cell{{SKU: "A", Location: "S"}})
		<-bell // without a follower the writer rings
	})
}

// TestStatesAddUpToTheTruth lets stock, holds and subscribers come and go at
// random: whoever applies what it is told to what it read at its reset knows each
// state at the end, and no event repeats a state.
func TestStatesAddUpToTheTruth(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		following(t, func(t *testing.T, m *Model) {
			low := protocol.Quantity(rapid.Int64Range(0, 2).Draw(rt, "low") * 1000)
			rules := plainRules{}
			skus := []protocol.SKU{"A", "B", "C"}
			for _, sku := range skus {
				rules[sku] = &protocol.Holdbacks{Default: protocol.Holdback{LowAt: low, Fences: []protocol.Fence{{Channel: "web", Quantity: 1000}}}}
			}
			m.UseRules(rules)
			type reader struct {
				s       *Subscription
				channel string
				knows   map[protocol.SKU]State
			}
			truth := func(channel string, sku protocol.SKU) State {
				a, _ := m.GetFor(sku, nil, channel)
				return judged(a.Totals.Available, low)
			}
			var readers []*reader
			hear := func(r *reader) {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				for {
					d, err := r.s.Next(ctx)
					if err != nil {
						return
					}
					if d.Reset {
						for _, sku := range skus {
							r.knows[sku] = truth(r.channel, sku)
						}
					}
					for _, e := range d.Events {
						if e.Was == e.State {
							rt.Fatalf("%+v", e)
						}
						r.knows[e.SKU] = e.State
					}
				}
			}
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				switch rapid.IntRange(0, 5).Draw(rt, "step") {
				case 0:
					channel := rapid.SampledFrom([]string{"", "web", "shop"}).Draw(rt, "channel")
					s, err := m.Subscribe(Filter{States: true, Channel: channel})
					if err != nil {
						rt.Fatal(err)
					}
					readers = append(readers, &reader{s, channel, map[protocol.SKU]State{}})
				case 1:
					if len(readers) > 0 {
						hear(readers[rapid.IntRange(0, len(readers)-1).Draw(rt, "who")])
					}
				default:
					m.Apply([]Cell{{
						SKU: rapid.SampledFrom(skus).Draw(rt, "sku"), Location: rapid.SampledFrom([]protocol.StoreID{"S", "T"}).Draw(rt, "loc"),
						OnHand: protocol.Quantity(rapid.Int64Range(-1, 4).Draw(rt, "on hand") * 1000),
					}})
				}
			}
			for _, r := range readers {
				hear(r)
				for _, sku := range skus {
					if want := truth(r.channel, sku); r.knows[sku] != want {
						rt.Fatalf("%q believes %s to be %s, it is %s", r.channel, sku, r.knows[sku], want)
					}
				}
				r.s.Close()
			}
		})
	})
}

func TestEventsReadAsJSON(t *testing.T) {
	in := Event{SKU: "A", Channel: "web", State: StateLow, Was: StateIn, Available: 1500, LowAt: 2000, At: epoch}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"sku":"A","channel":"web","state":"low","was":"in","available":1.5,"low_at":2,"at":"2026-11-23T10:00:00.123456Z"}`
	if string(b) != want {
		t.Errorf("%s", b)
	}
	var out Event
	if err := json.Unmarshal(b, &out); err != nil || gocmp.Diff(in, out) != "" {
		t.Error(err, gocmp.Diff(in, out))
	}
	if err := out.State.UnmarshalText([]byte("full")); err == nil {
		t.Error("took a state that does not exist")
	}
}

// lowRules give the web channel a line of its own.
type lowRules struct{ plainRules }

func (lowRules) LowAt(_ protocol.SKU, loc protocol.StoreID, channel string) protocol.Quantity {
	switch {
	case channel == "web" && loc == "":
		return 8000
	case channel == "web":
		return 6000
	}
	return 2000
}

func TestAChannelsLowLineIsItsOwn(t *testing.T) {
	following(t, func(t *testing.T, m *Model) {
		m.UseRules(lowRules{plainRules{"A": {Default: protocol.Holdback{LowAt: 2000}}}})
		put := func(n protocol.Quantity) { m.Apply([]Cell{{SKU: "A", Location: "S1", OnHand: n}}) }
		put(9000)
		all := subscribe(t, m, Filter{States: true})
		web := subscribe(t, m, Filter{States: true, Channel: "web"})
		here := subscribe(t, m, Filter{States: true, Channel: "web", Locations: []protocol.StoreID{"S1"}})
		put(7000)
		expect(t, web, "A web  in>low 7")
		expect(t, here, "A web  in>low 7") // the chain's; the shop's own line is lower
		quiet(t, all)
		put(5000)
		expect(t, here, "A web S1 in>low 5")
		quiet(t, all)
		put(2000)
		expect(t, all, "A   in>low 2")
	})
}
