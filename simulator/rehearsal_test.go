package simulator

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/simulator/scenario"
)

// brief lets a story pass in a few real seconds with a handful of stores: its
// times shrink together, and tills get as many customers as a test needs.
func brief(t *testing.T, name string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	const lastS, mostH = 3.0, 12.0
	if by := s.Lasts.D().Hours() / mostH; by > 1 {
		shrink := func(d *scenario.Duration) { *d = scenario.Duration(float64(*d) / by) }
		shrink(&s.Lasts)
		for i := range s.Faults {
			f := &s.Faults[i]
			shrink(&f.At)
			shrink(&f.Lasts)
		}
		for i := range s.Rushes {
			shrink(&s.Rushes[i].At)
			shrink(&s.Rushes[i].Lasts)
		}
	}
	s.Speed = s.Lasts.D().Seconds() / lastS
	s.Shop.EvenStores = true
	s.Shop.Baskets = 90 / s.Lasts.D().Hours()
	s.Shop.Articles = 40
	s.Web.Orders = min(s.Web.Orders, 12/s.Lasts.D().Hours())
	s.Warehouse.Every = scenario.Duration(s.Lasts.D() / 8)
	return s
}

func rehearse(t *testing.T, o RehearsalOptions) (*FleetResult, string) {
	t.Helper()
	ctx := testContext(t, 100*time.Second)
	out := &testLog{t: t}
	log := zerolog.New(zerolog.SyncWriter(&out.logged)).Level(zerolog.InfoLevel).With().Timestamp().Logger()
	o.DataDir, o.HTTP, o.Log, o.Out, o.Seed = t.TempDir(), "127.0.0.1:0", log, out, 5
	r, err := Rehearse(ctx, ctx, o)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.b.String(), out.logged.String())
	}
	r.Print(out)
	return r, out.b.String()
}

// Every ready-made story passes, in a very small form, and what it promises to do
// is done.
func TestReadyMadeStories(t *testing.T) {
	for _, name := range scenario.Names() {
		if name == "demo" {
			continue // TestDemo
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := brief(t, name)
			r, out := rehearse(t, RehearsalOptions{Story: s, Stores: 4})
			if !r.OK() || r.Journaled < 20 || r.Merged != r.Journaled {
				t.Errorf("verdict:\n%s", out)
			}
			if len(r.Happened) != len(s.Faults) {
				t.Errorf("%d of %d faults happened\n%s", len(r.Happened), len(s.Faults), out)
			}
			if problem := happenedAsTold(name, r, out); problem != "" {
				t.Errorf("%s\n%s", problem, out)
			}
			if page := string(r.HTML()); !strings.Contains(page, "<b>Passed.</b> 4 stores wrote") {
				t.Errorf("the page says %.3000s", page)
			}
		})
	}
}

// happenedAsTold names what a story should have shown and did not.
func happenedAsTold(name string, r *FleetResult, out string) string {
	struck := 0
	for i := range r.Happened {
		struck += r.Happened[i].Stores
	}
	switch name {
	case "regional-outage", "dark-store", "reconnect":
		if r.Cuts < struck || struck == 0 {
			return fmt.Sprintf("%d stores struck, %d cuts", struck, r.Cuts)
		}
		if r.Happened[0].Backlog == 0 {
			return "nothing waited when the lines came back"
		}
	case "stocktake":
		if r.Kinds[kindCount] < 4 {
			return fmt.Sprintf("%d counts", r.Kinds[kindCount])
		}
	case "poisonous-pos":
		if r.Poison == 0 {
			return "no bad document was sent"
		}
	case "black-friday":
		if r.Web.Promised == 0 {
			return "nobody ordered"
		}
	case "mixed-versions":
		if struck < 3 {
			return fmt.Sprintf("%d agents were upgraded", struck)
		}
	}
	if r.Failed > 0 {
		return fmt.Sprintf("%d questions failed: %v", r.Failed, r.Errors)
	}
	return ""
}

// As fast as the machine keeps up, a day passes in much less than a day.
func TestVirtualTime(t *testing.T) {
	s := brief(t, "saturday")
	r, out := rehearse(t, RehearsalOptions{Story: s, Stores: 3, Virtual: true, For: 8 * time.Second})
	if !r.OK() || r.Speed < 100 {
		t.Errorf("at %.0f×\n%s", r.Speed, out)
	}
}

// The verdict is put to the proof over the running programs: what is planted must
// turn the page red.
func TestVerdictFailsWhereSomethingIsPlanted(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(context.Context, *rehearsal) error
		want  string
	}{
		{"a sale behind the oracle's back", func(ctx context.Context, r *rehearsal) error {
			s := r.crew.shops[0].shop
			s.shelf[0] += protocol.Units(1)
			d := s.begin(kindSale, r.crew.shops[0].now())
			s.moveLine(d, 0, protocol.Units(1), -protocol.Units(1))
			a, err := r.fleet.Tills[0].post(ctx, d)
			for err == nil && pause(ctx, 50*time.Millisecond) {
				var marks map[protocol.StoreID]protocol.StoreStatus
				if marks, err = r.fleet.Chain.stores(ctx); marks[s.Store].MergedSeq >= a.Seq {
					return nil
				}
			}
			return err
		}, "1 documents counted twice"},
		{"an order that nobody cancelled", func(ctx context.Context, r *rehearsal) error {
			for id, o := range r.pledge.orders {
				if isOpen(o.state) && o.state != protocol.ReservationHeld {
					_, err := r.fleet.Chain.text(ctx, "DELETE", "/v1/reservations/"+id, nil)
					return err
				}
			}
			return fmt.Errorf("none of %d orders is open", len(r.pledge.orders))
		}, "web orders in a wrong state"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := brief(t, "saturday")
			s.Web.Orders, s.Web.Abandoned, s.Web.Cancelled, s.Web.CollectAfter = 3, 0, 0, scenario.Duration(100*time.Hour)
			var planted error
			r, out := rehearse(t, RehearsalOptions{Story: s, Stores: 2, sabotage: func(ctx context.Context, r *rehearsal) { planted = c.plant(ctx, r) }})
			if planted != nil {
				t.Fatalf("%v\n%s", planted, out)
			}
			page := string(r.HTML())
			if r.OK() || !strings.Contains(page, "<b>Failed.</b>") || !strings.Contains(page, c.want) {
				t.Errorf("want %q\n%s", c.want, out)
			}
			for _, d := range r.Diffs {
				if d.SKU != "" && (d.Explanation == nil || !strings.Contains(page, "the chain says")) {
					t.Errorf("%s %s is wrong, and nothing says what it is made of\n%s", d.Store, d.SKU, out)
				}
			}
		})
	}
}

// An aggregator that somebody else runs is spoken to like a stranger's, and a
// second run under the same names is refused: its truth would be another.
func TestFleetAgainstAGivenAggregator(t *testing.T) {
	ctx := testContext(t, 90*time.Second)
	f, err := startFleet(ctx, fleetPlan{Dir: t.TempDir(), HTTP: "127.0.0.1:0", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.stop(); err != nil {
			t.Error(err)
		}
	}()
	there := &elsewhere{HTTP: "http://" + f.Aggregator, Broker: "mqtt://" + f.MQTT}
	s := brief(t, "saturday")
	for _, prefix := range []string{"A", "B"} {
		if prefix == "B" {
			s.Warehouse.Every = 0 // there is one already
		}
		r, out := rehearse(t, RehearsalOptions{Story: s, Stores: 2, Elsewhere: there, Prefix: prefix})
		if !r.OK() || r.Journaled == 0 {
			t.Errorf("stores %s:\n%s", prefix, out)
		}
	}
	_, err = Rehearse(ctx, ctx, RehearsalOptions{Story: s, Stores: 2, Elsewhere: there, Prefix: "B", DataDir: t.TempDir(), Log: zerolog.Nop(), Out: &testLog{t: t}})
	if err == nil || !strings.Contains(err.Error(), "name other stores with --prefix") {
		t.Errorf("a second run under the same names: %v", err)
	}
}

func TestRehearsalRefusesWhatCannotBe(t *testing.T) {
	for _, c := range []struct {
		o    RehearsalOptions
		want string
	}{
		{RehearsalOptions{Stores: 5000}, "--stores 5000 is not between 1 and 4000"},
		{RehearsalOptions{Speed: 1e6}, "at most 20000"},
		{RehearsalOptions{Stores: 3, Process: 4}, "--process 4 is not between 0 and the 3 stores"},
		{RehearsalOptions{Stores: 3, Process: 1, Virtual: true}, "--virtual needs all programs in this process"},
	} {
		s, err := scenario.Load("saturday")
		if err != nil {
			t.Fatal(err)
		}
		c.o.Story = s
		if _, err := Rehearse(t.Context(), t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
