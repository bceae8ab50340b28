package link

// clock estimates aggregator clock − agent clock as NTP does: of the last eight
// exchanges the one with the shortest round trip says most, and half that round
// trip bounds its error.
type clock struct {
	samples [clockSamples]sample
	n       int // ever taken
}

type sample struct{ offsetUS, rttUS int64 }

// take adds one exchange: sent and got on the agent's clock, received and
// answered on the aggregator's. Microseconds. Nonsense is left out.
func (c *clock) take(sentUS, receivedUS, answeredUS, gotUS int64) {
	held := answeredUS - receivedUS
	rtt := gotUS - sentUS - held
	if sentUS <= 0 || receivedUS <= 0 || held < 0 || rtt < 0 || rtt > clockRTTMax.Microseconds() {
		return
	}
	offset := (receivedUS-sentUS)/2 + (answeredUS-gotUS)/2
	c.samples[c.n%clockSamples] = sample{offset, rtt}
	c.n++
}

// estimate is the offset and its error; ok is false before the first sample.
func (c *clock) estimate() (offsetUS, errorUS int64, ok bool) {
	if c.n == 0 {
		return 0, 0, false
	}
	best := c.samples[0]
	for _, s := range c.samples[1:min(c.n, clockSamples)] {
		if s.rttUS < best.rttUS {
			best = s
		}
	}
	return best.offsetUS, best.rttUS/2 + 1, true
}
