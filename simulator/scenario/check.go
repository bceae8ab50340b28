package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The bounds of a story.
const (
	storesMax   = 4000
	speedMax    = 20_000
	articlesMax = 900 // a store counts them in one document
	faultsMax   = 100
	textMax     = 2000
)

// Check names everything that is wrong with a story, and how to mend it.
func (s *Scenario) Check() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(s.Title != "" && len(s.Title) <= textMax, "title is missing; it is the headline of the report")
	want(len(s.About) <= textMax, "about is longer than %d bytes", textMax)
	want(s.Lasts > 0, "lasts is %s; a story takes some time, e.g. lasts = \"15h\"", s.Lasts)
	want(s.Stores >= 1 && s.Stores <= storesMax, "stores is %d; between 1 and %d can run", s.Stores, storesMax)
	want(s.Speed > 0 && s.Speed <= speedMax, "speed is %g; it must be above 0 and at most %d", s.Speed, speedMax)
	s.Shop.check(want)
	s.Web.check(want)
	want(s.Warehouse.Every >= 0 && s.Warehouse.Lines >= 1 && s.Warehouse.Lines <= articlesMax,
		"warehouse: every is %s and lines %d; every must not be below 0, lines between 1 and %d", s.Warehouse.Every, s.Warehouse.Lines, articlesMax)
	for i, r := range s.Rushes {
		want(r.At >= 0 && r.Lasts > 0 && r.Times > 0 && r.Times <= 100 && r.Web >= 0 && r.Web <= 1000 && r.Articles >= 0,
			"rush %d: needs lasts, and times above 0 and at most 100, e.g. at = \"4h\", lasts = \"45m\", times = 5", i+1)
		want(r.At < s.Lasts, "rush %d: begins at %s, after the story's end (lasts = %s)", i+1, r.At, s.Lasts)
	}
	want(len(s.Faults) <= faultsMax, "%d faults are more than %d", len(s.Faults), faultsMax)
	for i := range s.Faults {
		if err := s.Faults[i].check(); err != nil {
			errs = append(errs, fmt.Errorf("fault %d (%s): %w", i+1, s.Faults[i].Kind, err))
		}
		want(s.Faults[i].At < s.Lasts, "fault %d: begins at %s, after the story's end (lasts = %s)", i+1, s.Faults[i].At, s.Lasts)
	}
	return errors.Join(errs...)
}

func (p *Shop) check(want func(bool, string, ...any)) {
	want(p.Opens <= p.Closes, "shop: closes before it opens; a night's opening is not told apart, use the same hour for both: never closed")
	want(p.Baskets > 0 && p.Baskets <= 5000, "shop: baskets_per_hour is %g; between 0 and 5000", p.Baskets)
	want(p.Lines >= 1 && p.Lines <= 40, "shop: lines_per_basket is %g; between 1 and 40", p.Lines)
	want(p.Articles >= 20 && p.Articles <= articlesMax, "shop: articles is %d; between 20 and %d", p.Articles, articlesMax)
	want(p.Zipf >= 0 && p.Zipf <= 3, "shop: zipf is %g; between 0 (all the same) and 3", p.Zipf)
	sum := 0
	for _, n := range []int{p.Returns, p.Voids, p.Counts, p.Adjustments, p.Transfers} {
		want(n >= 0, "shop: a share of %d per mille is below 0", n)
		sum += n
	}
	for _, n := range []int{p.Thefts, p.CutOffs, p.Repeats, p.Doubles, p.BadDocuments} {
		want(n >= 0 && n <= 500, "shop: a share of %d per mille is not between 0 and 500", n)
	}
	want(sum <= 800, "shop: returns, voids, counts, adjustments and transfers make up %d per mille; at most 800 leave room for sales", sum)
}

func (w *Web) check(want func(bool, string, ...any)) {
	want(w.Orders >= 0 && w.Orders <= 1000, "web: orders_per_store_hour is %g; between 0 and 1000", w.Orders)
	for _, v := range []float64{w.Ship, w.Abandoned, w.Cancelled} {
		want(v >= 0 && v <= 1, "web: a share of %g is not between 0 and 1", v)
	}
	want(w.Abandoned+w.Cancelled <= 1, "web: abandoned_share and cancelled_share make more than 1")
	want(w.TTL.D().Seconds() >= 60, "web: ttl is %s; give at least 1m", w.TTL)
	want(w.CollectAfter >= 0, "web: collect_after is below 0")
}

// needs are the keys that a kind cannot do without, and takes those that it may
// have besides name, at, stores and region.
var needs = map[string]struct{ needs, takes []string }{
	"outage":    {[]string{"lasts"}, []string{"silent"}},
	"brownout":  {[]string{"lasts"}, []string{"delay", "kbits", "per_hour"}},
	"weather":   {[]string{"lasts", "per_hour"}, []string{"silent", "every"}},
	"clock":     {[]string{"lasts", "shift"}, []string{"every"}},
	"upgrade":   {[]string{"version"}, []string{"lasts"}},
	"late":      {[]string{"lasts", "every"}, nil},
	"poison":    {[]string{"lasts", "share"}, nil},
	"stocktake": {nil, []string{"lasts"}},
}

func (f *Fault) check() error {
	k, ok := needs[f.Kind]
	if !ok {
		return fmt.Errorf("kind %q is not known; use outage, brownout, weather, clock, upgrade, late, poison or stocktake", f.Kind)
	}
	for _, key := range []struct {
		name string
		set  bool
	}{
		{"lasts", f.Lasts != 0},
		{"silent", f.Silent != 0},
		{"delay", f.Delay != 0},
		{"kbits", f.KBits != 0},
		{"per_hour", f.PerHour != 0},
		{"shift", f.Shift != 0},
		{"every", f.Every != 0},
		{"share", f.Share != 0},
		{"version", f.Version != ""},
	} {
		needed := slices.Contains(k.needs, key.name)
		if needed && !key.set {
			return fmt.Errorf("%s is missing; `tillwire-simulator fleet --keys` tells what it means", key.name)
		}
		if key.set && !needed && !slices.Contains(k.takes, key.name) {
			return fmt.Errorf("%s means nothing here; it takes %s", key.name, strings.Join(append(k.needs, k.takes...), ", "))
		}
	}
	if f.At < 0 || f.Lasts < 0 || f.Delay < 0 || f.KBits < 0 || f.PerHour < 0 || f.Shift < 0 || f.Every < 0 || f.Share < 0 || f.Share > 1 || f.Silent < 0 || f.Silent > 1 {
		return errors.New("a value is below 0, or a share above 1")
	}
	if f.Region != "" && f.Stores != "" {
		return errors.New("stores and region exclude each other; name one of them")
	}
	if f.Region == "" {
		if _, err := f.Struck(100); err != nil {
			return err
		}
	}
	return nil
}

// Struck is how many of n stores a fault strikes.
func (f *Fault) Struck(n int) (int, error) {
	bad := fmt.Errorf("stores = %q is neither all, nor a number like \"3\", nor a share like \"10%%\"", f.Stores)
	switch p, share := strings.CutSuffix(f.Stores, "%"); {
	case f.Stores == "" || f.Stores == "all":
		return n, nil
	case share:
		v, err := strconv.ParseFloat(p, 64)
		if err != nil || v <= 0 || v > 100 {
			return 0, bad
		}
		return max(1, int(float64(n)*v/100+0.5)), nil
	default:
		v, err := strconv.Atoi(f.Stores)
		if err != nil || v < 1 {
			return 0, bad
		}
		return min(v, n), nil
	}
}
