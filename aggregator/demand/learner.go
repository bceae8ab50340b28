package demand

import (
	"math"
	"strings"

	"tillwire/protocol"
)

// A sum is kept as it would stand at its origin, a whole number k of half-lives
// since 1970: a sale at t adds qty × 2^(t/H − k). Sums of weights that depend on
// nothing but the sale do not care for the order of sales. When time has run far
// from an origin the sums move to a later one: a factor of a power of two, which
// is exact.
func weight(us int64, origin int32) float64 {
	return math.Exp2(float64(us-int64(origin)*halfLifeUS) / halfLifeUS)
}

// weights remembers the weights of one moment, by origin: all lines of a document
// share their time, all rates of a batch theirs, and an Exp2 for each was a tenth
// of the merge.
type weights struct {
	us   int64
	of   [4]float64 // by the origin's last two bits; 0 = not worked out
	from [4]int32
}

func (m *weights) at(us int64, origin int32) float64 {
	if m.us != us {
		*m = weights{us: us}
	}
	n := origin & 3
	if m.of[n] == 0 || m.from[n] != origin {
		m.of[n], m.from[n] = weight(us, origin), origin
	}
	return m.of[n]
}

// exposures remembers, for one moment, how long positions count as exposed that
// were first seen in the same tick: those of one delivery, or of one opening.
type exposures struct {
	us    int64
	hours [256]float64 // 0 = not worked out
	from  [256]int64   // when first seen
}

func (m *exposures) at(us, first int64) float64 {
	if m.us != us {
		m.us = us
		clear(m.hours[:])
	}
	n := uint64(first) / tickUS % uint64(len(m.hours))
	if m.hours[n] == 0 || m.from[n] != first {
		m.hours[n], m.from[n] = exposureMostH*(1-math.Exp2(-float64(max(us-first, 0))/halfLifeUS)), first
	}
	return m.hours[n]
}

// shard holds 1,024 positions, six bytes each.
type shard struct {
	units [shardCells]float32 // sold, in base units, as at the origin
	first [shardCells]uint16  // ticks of 15 minutes since 16 half-lives before the origin, from 1; 0 = never seen
}

type shardAt struct {
	*shard
	origin int32
	dirty  bool
}

// week is how a location's sale lines fall into the hours of the week.
type week struct {
	name     protocol.StoreID
	origin   int32
	offset   int16 // of the newest event
	newestUS int64
	lines    [profileHours]float32
}

// Learner learns. One goroutine uses it; profiles that it hands out are copies.
type Learner struct {
	shards []shardAt
	weeks  []*week // in order of their first event
	byName map[protocol.StoreID]int
	dirty  []bool // groups of weeks
	newest struct {
		name protocol.StoreID
		week int
	} // the location asked for last: documents come in runs of one
	sold  weights // of the sale at work
	now   weights // of the moment that rates are asked for
	seen  exposures
	chain struct {
		origin   int32
		newestUS int64
		lines    [profileHours]float64
		dirty    bool
	}
	nowUS int64
}

// New makes an empty learner.
func New() *Learner { return &Learner{byName: map[protocol.StoreID]int{}} }

// weekOf finds a location's week by its number.
func (l *Learner) weekOf(loc protocol.StoreID) (int, bool) {
	if l.newest.name == loc && loc != "" {
		return l.newest.week, true
	}
	i, known := l.byName[loc]
	if known {
		l.newest.name, l.newest.week = l.weeks[i].name, i
	}
	return i, known
}

// Advance tells the aggregator's time at which what follows was merged, live or on
// replay. No sale is taken to be later, so that a till whose clock is years ahead
// cannot make all real sales look old. Without it event times are trusted.
func (l *Learner) Advance(mergedUS int64) { l.nowUS = max(l.nowUS, mergedUS) }

// Observe takes one sold line: lines count for the week of the location, in the
// zone in which the event was told, quantities for the position. Quantity 0 says
// that the position exists (a receipt, a count), so that its exposure begins. A
// return or void is no negative demand: below 0 is passed over.
func (l *Learner) Observe(cell uint32, loc protocol.StoreID, qty protocol.Quantity, at protocol.Stamp) {
	if qty < 0 || cell >= cellsMax {
		return
	}
	us := min(max(at.US, 0), eventMaxUS)
	if l.nowUS > 0 {
		us = min(us, l.nowUS)
	}
	no, i := int(cell/shardCells), cell%shardCells
	s := l.shard(no, us)
	if tick := tickOf(us, s.origin); s.first[i] == 0 || tick < s.first[i] {
		s.first[i], s.dirty = tick, true
	}
	if qty == 0 {
		return
	}
	s.units[i] = float32(float64(s.units[i]) + float64(qty)/1000*l.sold.at(us, s.origin))
	s.dirty = true
	l.line(loc, us, at)
}

// shard finds or makes a shard, with an origin that reaches us.
func (l *Learner) shard(no int, us int64) *shardAt {
	for len(l.shards) <= no {
		l.shards = append(l.shards, shardAt{})
	}
	s, origin := &l.shards[no], int32(us/halfLifeUS)
	if s.shard == nil {
		s.shard, s.origin = &shard{}, origin
	}
	if by := origin - s.origin; by > aheadMost {
		scale, ticks := math.Ldexp(1, -int(by)), int64(by)*ticksOfHalf
		for i := range s.units {
			s.units[i] = float32(float64(s.units[i]) * scale)
			if s.first[i] != 0 {
				s.first[i] = uint16(max(1, int64(s.first[i])-ticks))
			}
		}
		s.origin, s.dirty = origin, true
	}
	return s
}

// tickOf is when a position was seen; long ago is 1, when nothing depends on it.
func tickOf(us int64, origin int32) uint16 {
	return uint16(min(max((us-(int64(origin)-behindMost)*halfLifeUS)/tickUS+1, 1), math.MaxUint16))
}

// line counts a sale line for the week of its location, and of the chain.
func (l *Learner) line(loc protocol.StoreID, us int64, at protocol.Stamp) {
	h, origin := HourOfWeek(us, int(at.OffsetMin)), int32(us/halfLifeUS)
	c := &l.chain
	if by := origin - c.origin; by > aheadMost {
		for i := range c.lines {
			c.lines[i] = math.Ldexp(c.lines[i], -int(by))
		}
		c.origin = origin
	}
	c.lines[h] += l.sold.at(us, c.origin)
	c.newestUS, c.dirty = max(c.newestUS, us), true
	i, known := l.weekOf(loc)
	if !known {
		if i = len(l.weeks); i >= locationsMax {
			return
		}
		loc = protocol.StoreID(strings.Clone(string(loc))) // kept: not the whole record with it
		l.byName[loc] = i
		l.weeks = append(l.weeks, &week{name: loc, origin: origin})
	}
	w := l.weeks[i]
	if by := origin - w.origin; by > aheadMost {
		for i := range w.lines {
			w.lines[i] = float32(math.Ldexp(float64(w.lines[i]), -int(by)))
		}
		w.origin = origin
	}
	w.lines[h] = float32(float64(w.lines[h]) + l.sold.at(us, w.origin))
	if us > w.newestUS || us == w.newestUS && at.OffsetMin > w.offset {
		w.newestUS, w.offset = us, at.OffsetMin
	}
	g := i / locationsChunk
	for len(l.dirty) <= g {
		l.dirty = append(l.dirty, false)
	}
	l.dirty[g] = true
}

// HourOfWeek is 0 for Monday's first hour, in the zone of offsetMin.
func HourOfWeek(us int64, offsetMin int) int {
	hours := (us/1_000_000 + int64(offsetMin)*60) / 3600
	return int(((hours+72)%profileHours + profileHours) % profileHours) // 1970-01-01 was a Thursday
}

// Rate is a position's mean demand in base units per hour of the week, nights
// included: the mean of a Gamma posterior with decayed sales and decayed exposure
// since the position was first seen. nowUS should not be before its newest sale.
// 0 where the position, or any sale of the location, was never seen.
func (l *Learner) Rate(cell uint32, loc protocol.StoreID, nowUS int64) float32 {
	no, i := int(cell/shardCells), cell%shardCells
	if _, known := l.weekOf(loc); !known || no >= len(l.shards) || l.shards[no].shard == nil || l.shards[no].first[i] == 0 {
		return 0
	}
	s := &l.shards[no]
	units := float64(s.units[i]) / l.now.at(nowUS, s.origin)
	hours := l.seen.at(nowUS, (int64(s.origin)-behindMost)*halfLifeUS+(int64(s.first[i])-1)*tickUS)
	return float32((units + priorUnits) / (hours + priorHours))
}

// Offset is a location's zone in minutes east of UTC, as its newest sale told it.
func (l *Learner) Offset(loc protocol.StoreID) int {
	if i, known := l.byName[loc]; known {
		return int(l.weeks[i].offset)
	}
	return 0
}

// Profile is how a location's demand runs over the hours of the week, with mean
// 1: its own, shrunk to the chain's while it has told little, and that to flat.
// Each call works it out anew (about a microsecond): keep it for a while.
func (l *Learner) Profile(loc protocol.StoreID) *[profileHours]float32 {
	p := new([profileHours]float32)
	for h := range p {
		p[h] = 1
	}
	if c := &l.chain; c.newestUS > 0 {
		shrink(p, func(h int) float64 { return c.lines[h] }, weight(c.newestUS, c.origin))
	}
	if i, known := l.byName[loc]; known {
		w := l.weeks[i]
		shrink(p, func(h int) float64 { return float64(w.lines[h]) }, weight(w.newestUS, w.origin))
	}
	return p
}

// shrink blends lines, which are unit times what counts, with the prior in p.
func shrink(p *[profileHours]float32, lines func(int) float64, unit float64) {
	total := 0.0
	for h := range p {
		total += lines(h) / unit
	}
	for h := range p {
		p[h] = float32((lines(h)/unit*profileHours + shrinkLines*float64(p[h])) / (total + shrinkLines))
	}
}
