package demand

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"tillwire/protocol"
)

const hourUS = int64(3_600_000_000)

var monday = protocol.Stamp{US: 1_795_392_000_000_000} // 2026-11-23, a Monday, at 0:00 UTC

func TestHourOfWeek(t *testing.T) {
	for _, c := range []struct {
		us   int64
		off  int
		want int
	}{{monday.US, 0, 0}, {monday.US + 25*hourUS, 0, 25}, {monday.US, -60, 167}, {monday.US, 60, 1}, {0, 0, 72}} {
		if got := HourOfWeek(c.us, c.off); got != c.want {
			t.Errorf("%d at %d: hour %d, want %d", c.us, c.off, got, c.want)
		}
	}
}

// TestRateIsLearnt sells two units an hour for eight weeks and finds it back; and
// a young position does not claim what it has not shown.
func TestRateIsLearnt(t *testing.T) {
	l := New()
	at := monday
	l.Observe(7, "S1", protocol.Units(1), at)
	if got := l.Rate(7, "S1", at.US+2*hourUS); got > 0.1 {
		t.Errorf("one sale in two hours claims %.3f an hour", got)
	}
	if got := l.Rate(7, "S1", at.US+7*24*hourUS); got > 0.01 {
		t.Errorf("one sale in a week claims %.3f an hour", got)
	}
	for range 8 * 168 {
		at.US += hourUS
		l.Observe(7, "S1", protocol.Units(2), at)
	}
	if got := l.Rate(7, "S1", at.US); math.Abs(float64(got)-2) > 0.5 {
		t.Errorf("rate %.3f, want about 2", got)
	}
	if got := l.Rate(7, "S1", at.US+60*24*hourUS); got > 1 {
		t.Errorf("two months later still %.3f", got)
	}
	if l.Rate(8, "S1", at.US) != 0 || l.Rate(7, "S2", at.US) != 0 {
		t.Error("what never sold has a rate")
	}
}

func TestOrderOfSalesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 50).Draw(t, "n")
		times := make([]int64, n)
		for i := range times {
			times[i] = monday.US + rapid.Int64Range(0, 600*24).Draw(t, "hour")*hourUS
		}
		a, b := New(), New()
		for i := range n {
			a.Observe(1, "S1", protocol.Units(1), protocol.Stamp{US: times[i]})
			b.Observe(1, "S1", protocol.Units(1), protocol.Stamp{US: times[n-1-i]})
		}
		now := monday.US + 610*24*hourUS
		x, y := float64(a.Rate(1, "S1", now)), float64(b.Rate(1, "S1", now))
		if math.Abs(x-y) > 1e-4*x {
			t.Fatalf("%g and %g", x, y)
		}
		if p, q := a.Profile("S1"), b.Profile("S1"); !alike(p, q) {
			t.Fatalf("profiles differ: %v, %v", p, q)
		}
		back := New()
		if err := a.Chunks(func(no uint32, data []byte) {
			if err := back.Restore(no, data); err != nil {
				t.Fatal(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if back.Rate(1, "S1", now) != a.Rate(1, "S1", now) || *back.Profile("S1") != *a.Profile("S1") || *back.Profile("S9") != *a.Profile("S9") {
			t.Fatal("restored differs")
		}
	})
}

func alike(p, q *[profileHours]float32) bool {
	for h := range p {
		if math.Abs(float64(p[h]-q[h])) > 1e-4*float64(1+p[h]) {
			return false
		}
	}
	return true
}

func TestProfileHasMeanOne(t *testing.T) {
	l := New()
	for w := range 40 {
		for h := 9; h < 20; h++ {
			for range 20 {
				l.Observe(1, "S1", protocol.Units(1), protocol.Stamp{US: monday.US + int64(w*168+h)*hourUS})
			}
		}
	}
	for _, loc := range []protocol.StoreID{"S1", "new"} {
		p := l.Profile(loc)
		sum := 0.0
		for _, x := range p {
			sum += float64(x)
		}
		if math.Abs(sum-168) > 0.1 || p[10] < 4*p[30] {
			t.Errorf("%s: sum %.2f, Monday at ten %.2f, Tuesday at six %.2f", loc, sum, p[10], p[30])
		}
	}
}

func TestQuantileIsExact(t *testing.T) {
	for _, mean := range []float64{0.01, 0.0513, 0.3, 1, 4.5, 40, 180} {
		for _, alpha := range []float64{0.5, 0.9, 0.95, 0.99} {
			n := Quantile(mean, mean, alpha)
			if cdf(mean, n) < alpha || n > 0 && cdf(mean, n-1) >= alpha {
				t.Errorf("Q(%g, %g) = %g: %g below, %g at", mean, alpha, n, cdf(mean, n-1), cdf(mean, n))
			}
			if w := Quantile(mean, 2*mean, alpha); alpha >= 0.9 && mean >= 0.3 && w < n {
				t.Errorf("wider demand of mean %g has a smaller %g-quantile: %g < %g", mean, alpha, w, n)
			}
		}
	}
	for _, alpha := range []float64{0.5, 0.95, 0.99} { // where the normal law takes over nothing jumps
		if a, b := Quantile(199.9, 199.9, alpha), Quantile(200.1, 200.1, alpha); math.Abs(a-b) > 2 {
			t.Errorf("at 200 the %g-quantile jumps from %g to %g", alpha, a, b)
		}
	}
}

func cdf(mean, n float64) float64 {
	p, sum := math.Exp(-mean), 0.0
	for k := 0.0; k <= n; k++ {
		sum += p
		p *= mean / (k + 1)
	}
	return sum
}

func poisson(rng *rand.Rand, mean float64) int64 {
	n, p := int64(0), math.Exp(-mean)
	for sum, u := p, rng.Float64(); sum < u; sum += p {
		n++
		p *= mean / float64(n)
	}
	return n
}

func TestBufferRules(t *testing.T) {
	week := [168]float32{}
	for h := range week {
		week[h] = 0
		if h%24 == 12 {
			week[h] = 24
		}
	}
	noon, one := monday.US+12*hourUS, monday.US+13*hourUS
	for _, c := range []struct {
		name string
		got  protocol.Quantity
		zero bool
	}{
		{"fresh knowledge needs none", Buffer(5, nil, 0, noon, noon, 0.95, 100), true},
		{"what does not sell needs none", Buffer(0, nil, 0, noon, one, 0.95, 0), true},
		{"none is asked for", Buffer(5, nil, 0, noon, one, 0, 0), true},
		{"a closed shop sells nothing", Buffer(1, &week, 0, one, one+10*hourUS, 0.95, 0), true},
		{"its busy hour does", Buffer(1, &week, 0, noon, one, 0.95, 0), false},
		{"in its own zone", Buffer(1, &week, 60, noon-hourUS, noon, 0.95, 0), false},
	} {
		if (c.got == 0) != c.zero {
			t.Errorf("%s: %s", c.name, c.got)
		}
	}
	if a, b := Buffer(1, nil, 0, 0, 20*hourUS, 0.95, 0), Buffer(1, nil, 0, 0, 20*hourUS, 0.95, 40); b <= a {
		t.Errorf("an old count does not widen: %s, %s", a, b)
	}
}

func BenchmarkBufferTiny(b *testing.B) {
	p := New().Profile("S1")
	for b.Loop() {
		_ = Buffer(0.01, p, 60, monday.US, monday.US+2_000_000, 0.95, 3)
	}
}

func BenchmarkBufferHours(b *testing.B) {
	p := New().Profile("S1")
	for b.Loop() {
		_ = Buffer(1, p, 60, monday.US, monday.US+4*hourUS, 0.95, 3)
	}
}

func BenchmarkObserve(b *testing.B) {
	l := New()
	b.ReportAllocs()
	for i := range b.N {
		l.Observe(uint32(i%100_000), "S1", protocol.Units(1), protocol.Stamp{US: monday.US + int64(i)*1000})
	}
}

// BenchmarkObserveDocument takes the three lines of a sale, as the merge does.
func BenchmarkObserveDocument(b *testing.B) {
	l := New()
	b.ReportAllocs()
	for i := range b.N {
		for n := range 3 {
			l.Observe(uint32((i*3+n)%100_000), "S1", protocol.Units(1), protocol.Stamp{US: monday.US + int64(i)*1000})
		}
	}
}
