package simulator

import (
	"math"
	"time"
)

// The rhythm of a grocery chain, in thousandths, rounded by us to the shape of
// real till data: the "transactions_sample" of Complete Journey 2.0 by
// 84.51°, 75,000 lines of 293 stores in 2017, published under CC0 in the R
// package completejourney.
var (
	hourShare    = [24]int{7, 3, 2, 2, 1, 1, 3, 7, 13, 25, 44, 63, 72, 77, 78, 82, 95, 105, 99, 80, 63, 42, 25, 11}
	weekdayShare = [7]int{144, 127, 123, 123, 135, 167, 182} // Monday first
	// storeShare is a store's sales beside the mean store's, by rank, at every
	// twentieth of the chain from the largest to the smallest. The smallest
	// are kept at 2 %: a store that never sells shows nothing.
	storeShare = [21]int{8317, 3770, 3196, 2910, 2356, 1961, 1664, 961, 321, 143, 93, 60, 42, 32, 28, 25, 24, 23, 22, 21, 20}
)

// rhythm is sales intensity at t beside the weekly mean (1.0), interpolated
// between the hours so that load has no steps.
func rhythm(t time.Time) float64 {
	h := t.Hour()
	frac := float64(t.Minute())/60 + float64(t.Second())/3600
	a, b := hourShare[h], hourShare[(h+1)%24]
	hour := (float64(a)*(1-frac) + float64(b)*frac) * 24 / 1000
	day := float64(weekdayShare[(int(t.Weekday())+6)%7]) * 7 / 1000
	return hour * day
}

// shares gives each of n stores its weight; they add up to n.
func shares(n int) []float64 {
	out := make([]float64, n)
	sum := 0.0
	for i := range out {
		at := 0.0
		if n > 1 {
			at = float64(i) / float64(n-1) * float64(len(storeShare)-1)
		}
		k := min(int(math.Floor(at)), len(storeShare)-2)
		f := at - float64(k)
		out[i] = float64(storeShare[k])*(1-f) + float64(storeShare[k+1])*f
		sum += out[i]
	}
	for i := range out {
		out[i] *= float64(n) / sum
	}
	return out
}
