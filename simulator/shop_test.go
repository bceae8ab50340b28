package simulator

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"tillwire/protocol"
)

// A shop lives for a day of made-up time. The oracle, told of documents in the
// order in which an agent would hear of them, must know the shelf but for what
// was stolen and not yet counted: never less than the shelf, never a fraction
// of a theft more.
func TestOracleKnowsTheShelf(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := newShop(places(2)[0], newAssortment(articles(300), 80, rng), rng, []protocol.StoreID{"S0002"})
		o := newOracle()
		seq := uint64(0)
		kinds := map[string]int{}
		late := 0
		tell := func(d *document, now time.Time) {
			seq++
			kinds[d.kind]++
			if now.Sub(d.at) > time.Second {
				late++
			}
			o.record(s.Store, d, seq)
		}
		now := time.Unix(1_700_000_000, 0)
		tell(s.open(now), now)
		for range 4000 {
			now = now.Add(time.Duration(rng.ExpFloat64() * float64(15*time.Second)))
			for _, d := range s.backlog(now) {
				if d.kind != kindCount && now.Sub(d.at) < cutOffMin {
					t.Fatalf("a withheld sale is posted after %s: neither prompt nor late", now.Sub(d.at))
				}
				tell(d, now)
			}
			if d := s.next(now); d != nil && !s.isWithheld(d) {
				tell(d, now)
			}
		}
		for _, d := range s.closing() {
			tell(d, now)
		}
		missing := protocol.Quantity(0)
		for _, row := range o.shelves() {
			diff := row.OnHand - s.shelf[s.index(row.SKU)]
			if diff < 0 {
				t.Fatalf("seed %d: %s has %s by the oracle, %s on the shelf", seed, row.SKU, row.OnHand, s.shelf[s.index(row.SKU)])
			}
			missing += diff
		}
		if missing == 0 || missing > protocol.Units(4000*int64(s.habits.Thefts)/1000*2) {
			t.Errorf("seed %d: %s units differ; about %d were stolen", seed, missing, 4000*s.habits.Thefts/1000)
		}
		for _, k := range []string{kindSale, kindReturn, kindVoid, kindCount, kindReceipt, kindAdjustment, kindTransfer} {
			if kinds[k] == 0 {
				t.Errorf("seed %d: no %s in %v", seed, k, kinds)
			}
		}
		if late == 0 {
			t.Errorf("seed %d: nothing arrived late", seed)
		}
	}
}

// Every document that is made up must be one that an agent takes, and every
// poison one that it refuses, by the protocol's own decoder.
func TestShopSpeaksTheContract(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	s := newShop(places(2)[0], newAssortment(articles(300), 80, rng), rng, []protocol.StoreID{"S0002"})
	now := time.Now()
	check := func(d *document) {
		t.Helper()
		b, err := d.body()
		if err != nil {
			t.Fatal(err)
		}
		e, p := protocol.DecodeDocument(b, protocol.Source{Store: s.Store, Kind: protocol.ParseKind(d.kind)})
		if p != nil {
			t.Fatalf("%s is refused: %v %v\n%s", d.kind, p, p.Errors, b)
		}
		if d.kind != kindVoid && len(e.Lines) != len(d.Lines) {
			t.Fatalf("%d lines became %d", len(d.Lines), len(e.Lines))
		}
	}
	check(s.open(now))
	for range 3000 {
		now = now.Add(time.Duration(rng.ExpFloat64() * float64(15*time.Second)))
		if d := s.next(now); d != nil {
			check(d)
			if d.Direction == "out" {
				check(s.receive(d, "S0002", now))
			}
		}
	}
	for range 200 {
		kind, body := poison(s, time.Now(), rng)
		if _, p := protocol.DecodeDocument(body, protocol.Source{Store: s.Store, Kind: protocol.ParseKind(kind)}); p == nil {
			t.Fatalf("poison is taken: %s", body)
		} else if p.Status/100 != 4 {
			t.Fatalf("poison gives %d: %s", p.Status, body)
		}
	}
}

func TestBulkBodyNamesKinds(t *testing.T) {
	b, err := bulkBody([]*document{{kind: kindSale, DocumentID: "A"}, {kind: kindVoid, DocumentID: "B", Voids: "A"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(b, &got); err != nil || len(got) != 2 || got[0]["kind"] != "sale" || got[1]["kind"] != "void" {
		t.Errorf("%s, %v", b, err)
	}
}
