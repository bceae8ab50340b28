package demand

import (
	"math"

	"tillwire/protocol"
)

// Buffer is Q_α of the demand between two moments at a position: the least whole
// number of base units that demand stays within with probability alpha, in
// thousandths. rate is in base units per hour, profile the hours of the week in
// the zone of offsetMin (nil: flat), countAgeDays since the last count. alpha 0
// asks for none.
//
// The model: demand is Poisson around a rate that is itself uneven from stretch
// to stretch (unevenness, which tells where the mean is some units or more), and
// the book's own error grows with what moved since the last count:
//
//	variance = mean × (1 + 0.02 per day since the count, at most 1) + 0.02 × mean²
//
// A wider law may have a smaller quantile where hardly anything sells; the buffer
// is never below that of plain Poisson, so that an old count never lessens it.
func Buffer(rate float32, profile *[profileHours]float32, offsetMin int, fromUS, toUS int64, alpha, countAgeDays float64) protocol.Quantity {
	if !(rate > 0) || toUS <= fromUS || !(alpha > 0) {
		return 0
	}
	mean := float64(rate) * hoursOf(profile, offsetMin, fromUS, toUS)
	if mean <= 1-alpha || mean <= -math.Log(alpha) { // P(nothing) ≥ α; 1 − α is below −ln α, and cheaper
		return 0
	}
	variance := mean*(1+min(widenPerDay*max(countAgeDays, 0), widenMost)) + unevenness*mean*mean
	n := Quantile(mean, variance, alpha)
	if mean < 2 || alpha < 0.8 {
		n = max(n, Quantile(mean, mean, alpha))
	}
	if n >= float64(protocol.QuantityMax/1000) {
		return protocol.QuantityMax
	}
	return protocol.Units(int64(n))
}

// hoursOf integrates the profile between two moments, in hours of mean demand.
// Whole weeks count 168 each.
func hoursOf(profile *[profileHours]float32, offsetMin int, fromUS, toUS int64) float64 {
	const hourUS, weekUS = 3_600_000_000, profileHours * 3_600_000_000
	if profile == nil {
		return float64(toUS-fromUS) / hourUS
	}
	fromUS, toUS = fromUS+int64(offsetMin)*60_000_000, toUS+int64(offsetMin)*60_000_000 // hours begin as on the shop's clock
	h := HourOfWeek(fromUS, 0)
	end := fromUS - fromUS%hourUS + hourUS
	if toUS <= end {
		return float64(profile[h]) * (float64(toUS-fromUS) / hourUS)
	}
	weeks := (toUS - fromUS) / weekUS
	sum := float64(weeks * profileHours)
	for at := fromUS + weeks*weekUS; at < toUS; {
		end := min(at-at%hourUS+hourUS, toUS)
		sum += float64(profile[h]) * (float64(end-at) / hourUS)
		if at, h = end, h+1; h == profileHours {
			h = 0
		}
	}
	return sum
}

// Quantile is the least n with P(D ≤ n) ≥ alpha, for D Poisson, or negative
// binomial where the variance is above the mean: exact for means up to 200, and
// within 1 or a thousandth, whichever is more, above. What is no number is 0.
func Quantile(mean, variance, alpha float64) float64 {
	if !(mean > 0) || !(alpha > 0) {
		return 0
	}
	alpha = min(alpha, alphaMost)
	if !(variance > mean*1.0001) {
		variance = mean
	}
	if mean > exactMean {
		return wide(mean, variance, alpha)
	}
	if variance == mean {
		return sum(math.Exp(-mean), 0, mean, mean, alpha)
	}
	success := mean / variance
	r := mean * success / (1 - success)
	return sum(math.Pow(success, r), 1-success, r*(1-success), mean, alpha)
}

// sum adds up probabilities from p, that of nothing, until they reach alpha. The
// law's next one is p × (step×n + base) / (n+1), as Poisson's and the negative
// binomial's are (Panjer).
func sum(p, step, base, mean, alpha float64) float64 {
	for n, total := 0.0, p; ; n++ {
		if total >= alpha || p < 1e-18 && n > mean {
			return n
		}
		p *= (step*n + base) / (n + 1)
		total += p
	}
}

// wide is the normal law with the corrections for skewness and kurtosis (Cornish
// and Fisher), rounded up.
func wide(mean, variance, alpha float64) float64 {
	z := math.Sqrt2 * math.Erfinv(2*alpha-1)
	sd, d := math.Sqrt(variance), variance/mean
	skew, excess := (2*d-1)/sd, (6*d*d-6*d+1)/variance
	x := z + (z*z-1)*skew/6 + (z*z*z-3*z)*excess/24 - (2*z*z*z-5*z)*skew*skew/36
	return max(0, math.Ceil(mean+sd*x-0.5))
}
