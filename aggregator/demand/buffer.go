package demand

import (
	"math"

	"tillwire/protocol"
)

// The widening of the buffer by the age of the last count: the book's own error
// grows with what has moved since, so demand's variance is taken as mean × (1 +
// 0.02 per day), at most doubled.
const (
	widenPerDay = 0.02
	widenMost   = 2
	exactMean   = 200 // above it the normal law with its skewness is close enough
)

// Buffer is Q_α of the demand between two moments at a position: the least whole
// number of base units that demand stays within with probability alpha, in
// thousandths. rate is in base units per hour, profile the hours of the week in
// the zone of offsetMin (nil: flat), countAgeDays since the last count. alpha 0
// asks for none.
func Buffer(rate float32, profile *[profileHours]float32, offsetMin int, fromUS, toUS int64, alpha, countAgeDays float64) protocol.Quantity {
	if rate <= 0 || toUS <= fromUS || alpha <= 0 {
		return 0
	}
	mean := float64(rate) * hoursOf(profile, offsetMin, fromUS, toUS)
	if mean <= -math.Log(alpha) { // P(nothing) ≥ α already for Poisson, and more so when it is wider
		return 0
	}
	widen := min(1+widenPerDay*max(countAgeDays, 0), widenMost)
	return protocol.Units(int64(Quantile(mean, mean*widen, alpha)))
}

// hoursOf integrates the profile between two moments, in hours of mean demand.
// Whole weeks count 168 each.
func hoursOf(profile *[profileHours]float32, offsetMin int, fromUS, toUS int64) float64 {
	const hourUS, weekUS = 3_600_000_000, profileHours * 3_600_000_000
	if profile == nil {
		return float64(toUS-fromUS) / hourUS
	}
	weeks := (toUS - fromUS) / weekUS
	sum := float64(weeks * profileHours)
	for at := fromUS + weeks*weekUS; at < toUS; {
		end := min(at-at%hourUS+hourUS, toUS)
		sum += float64(profile[HourOfWeek(at, offsetMin)]) * float64(end-at) / hourUS
		at = end
	}
	return sum
}

// Quantile is the least n with P(D ≤ n) ≥ alpha, for D Poisson, or negative
// binomial where the variance is above the mean.
func Quantile(mean, variance, alpha float64) float64 {
	if mean <= 0 {
		return 0
	}
	if mean > exactMean {
		return wide(mean, max(variance, mean), alpha)
	}
	if variance <= mean*1.0001 {
		p := math.Exp(-mean)
		for n, sum := 0.0, p; ; n++ {
			if sum >= alpha || p < 1e-18 && n > mean {
				return n
			}
			p *= mean / (n + 1)
			sum += p
		}
	}
	success := mean / variance
	r := mean * success / (1 - success)
	p := math.Pow(success, r)
	for n, sum := 0.0, p; ; n++ {
		if sum >= alpha || p < 1e-18 && n > mean {
			return n
		}
		p *= (n + r) / (n + 1) * (1 - success)
		sum += p
	}
}

// wide is the normal law with the first correction for skewness (Cornish and
// Fisher), rounded up.
func wide(mean, variance, alpha float64) float64 {
	z := math.Sqrt2 * math.Erfinv(2*alpha-1)
	sd := math.Sqrt(variance)
	skew := (2*variance/mean - 1) / sd
	return max(0, math.Ceil(mean+sd*(z+(z*z-1)*skew/6)-0.5))
}
