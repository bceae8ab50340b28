package demand

import (
	"math"
	"math/rand/v2"
	"testing"

	"tillwire/protocol"
)

// direct is P(D ≤ n) from the density in logarithms, another way than the code's.
func direct(mean, variance, n float64) float64 {
	total := 0.0
	for k := 0.0; k <= n; k++ {
		g := func(x float64) float64 { v, _ := math.Lgamma(x); return v }
		if variance <= mean {
			total += math.Exp(k*math.Log(mean) - mean - g(k+1))
			continue
		}
		p := mean / variance
		r := mean * p / (1 - p)
		total += math.Exp(g(k+r) - g(r) - g(k+1) + r*math.Log(p) + k*math.Log1p(-p))
	}
	return total
}

func TestQuantileAgreesWithDirectSums(t *testing.T) {
	for _, mean := range []float64{0.02, 0.055, 0.7, 3, 17, 90, 199, 201, 700, 3000} {
		for _, wide := range []float64{1, 1.3, 2, 1 + 0.02*mean, 2 + 0.02*mean} {
			for _, alpha := range []float64{0.5, 0.8, 0.95, 0.99, 0.999} {
				n, tol := Quantile(mean, mean*wide, alpha), 0.0
				if mean > exactMean {
					tol = max(1, n/1000)
				}
				const slack = 1e-9 // where both are as good as equal
				if direct(mean, mean*wide, n+tol) < alpha-slack || n-tol-1 >= 0 && direct(mean, mean*wide, n-tol-1) >= alpha+slack {
					t.Errorf("Q(mean %g, variance %g, %g) = %g", mean, mean*wide, alpha, n)
				}
			}
		}
	}
}

func TestWhatIsNoNumberEnds(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range [][3]float64{{nan, 1, 0.9}, {1, nan, 0.9}, {1, 1, nan}, {1, inf, 0.9}, {1, 1, 1}, {1, 1, 2}, {150, 1e300, 0.99}} {
		if n := Quantile(c[0], c[1], c[2]); math.IsNaN(n) || n < 0 {
			t.Errorf("Quantile(%v) = %g", c, n)
		}
	}
	for _, rate := range []float32{float32(nan), float32(inf), math.MaxFloat32, -1} {
		if q := Buffer(rate, nil, 0, 0, 5*hourUS, 0.95, nan); q < 0 || q > protocol.QuantityMax {
			t.Errorf("rate %g: buffer %d", rate, q)
		}
	}
}

// TestOldCountNeverLessensTheBuffer: at small means a wider law has more of its
// weight at nothing, and its quantile would fall below Poisson's.
func TestOldCountNeverLessensTheBuffer(t *testing.T) {
	for mean := float32(0.01); mean < 60; mean *= 1.03 {
		for _, alpha := range []float64{0.5, 0.7, 0.8, 0.9, 0.95, 0.99} {
			plain := protocol.Units(int64(Quantile(float64(mean), float64(mean), alpha)))
			for _, days := range []float64{0, 1, 10, 50, 365, math.Inf(1)} {
				if q := Buffer(mean, nil, 0, 0, hourUS, alpha, days); q < plain {
					t.Errorf("mean %g, α %g, counted %g days ago: %s, Poisson's is %s", mean, alpha, days, q, plain)
				}
			}
		}
	}
}

func TestHoursBeginOnTheShopsClock(t *testing.T) {
	week := [profileHours]float32{}
	week[12] = 168
	for _, c := range []struct {
		name     string
		off      int
		from, to int64
		want     float64
	}{
		{"whole hour in UTC", 0, 12 * 60, 13 * 60, 168},
		{"half past in India", 330, 6*60 + 30, 7*60 + 30, 168},
		{"half of it", 330, 7 * 60, 8 * 60, 84},
		{"a week and the hour again", 0, 12 * 60, 13*60 + 168*60, 336},
		{"across Sunday night", 0, -60, 12*60 + 30, 84},
	} {
		if got := hoursOf(&week, c.off, monday.US+c.from*60_000_000, monday.US+c.to*60_000_000); math.Abs(got-c.want) > 1e-3 {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
}

// gamma draws by Marsaglia and Tsang.
func gamma(rng *rand.Rand, shape float64) float64 {
	d := shape - 1.0/3
	for {
		x := rng.NormFloat64()
		v := math.Pow(1+x/math.Sqrt(9*d), 3)
		if v > 0 && math.Log(rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// TestBufferIsCalibrated draws demand, even and uneven, and sees that the buffer
// covers it as often as was asked, and is not wastefully above.
func TestBufferIsCalibrated(t *testing.T) {
	const draws = 20_000
	rng := rand.New(rand.NewPCG(1, 2))
	for _, alpha := range []float64{0.8, 0.95, 0.99} {
		for _, mean := range []float64{0.1, 0.7, 4.2, 21, 90} {
			b := Buffer(float32(mean), nil, 0, 0, hourUS, alpha, 0)
			even, uneven := 0, 0
			for range draws {
				if protocol.Units(poisson(rng, mean)) <= b {
					even++
				}
				if protocol.Units(poisson(rng, mean*gamma(rng, 1/unevenness)*unevenness)) <= b {
					uneven++
				}
			}
			if float64(even) < (alpha-0.01)*draws || float64(uneven) < (alpha-0.01)*draws {
				t.Errorf("α %g, mean %g: buffer %s covers %d even and %d uneven of %d", alpha, mean, b, even, uneven, draws)
			}
			if tight := Quantile(mean, mean*(1+unevenness*mean), alpha); b > protocol.Units(int64(tight)+1) {
				t.Errorf("α %g, mean %g: buffer %s, %g are enough for uneven demand", alpha, mean, b, tight)
			}
			if tight := Quantile(mean, mean, alpha); mean <= 21 && float64(b)/1000 > 1.2*tight+1 {
				t.Errorf("α %g, mean %g: buffer %s, %g are enough for even demand", alpha, mean, b, tight)
			}
		}
	}
}

func BenchmarkBufferBusy(b *testing.B) {
	p := New().Profile("S1")
	for b.Loop() {
		_ = Buffer(20, p, 60, monday.US, monday.US+4*hourUS, 0.95, 30)
	}
}

func BenchmarkBufferLogarithm(b *testing.B) {
	p := New().Profile("S1")
	for b.Loop() {
		_ = Buffer(0.0512, p, 60, monday.US, monday.US+hourUS-1, 0.95, 30)
	}
}

func BenchmarkRate(b *testing.B) {
	l := New()
	sell(l, 1, 1, 1, monday.US)
	for b.Loop() {
		_ = l.Rate(1, "S1", monday.US+hourUS)
	}
}

func BenchmarkProfile(b *testing.B) {
	l := New()
	sell(l, 1, 1, 1, monday.US)
	b.ReportAllocs()
	for b.Loop() {
		_ = l.Profile("S1")
	}
}
