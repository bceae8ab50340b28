package demand

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"tillwire/protocol"
)

// The model's constants. They are ours, chosen on the experiment in
// simulator/experiment; none is a law.
const (
	halfLifeS    = 28 * 86_400 // what was sold four weeks ago counts half
	priorUnits   = 0.25        // Gamma prior: a quarter unit …
	priorHours   = 168         // … in a week
	profileHours = 168
	shrinkLines  = 2000 // sale lines at which a store's own week outweighs the chain's
	epochS       = 1_577_836_800
	chunkCells   = 4096
	chunkVersion = 1
	localChunk   = 60_000 // number of the chunk that holds the locations
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("demand chunk is damaged")

// rate is a position's sales, decayed to lastS.
type rate struct {
	units float32
	lastS uint32 // seconds since 2020
}

// week is how a location's sale lines fall into the hours of the week.
type week struct {
	firstS uint32
	lines  [profileHours]float32
	total  float32
}

// Learner learns. One goroutine uses it; profiles that it hands out are copies.
type Learner struct {
	rates []rate // by cell number
	weeks map[protocol.StoreID]*week
	chain week
	dirty map[uint32]bool
}

// New makes an empty learner.
func New() *Learner { return &Learner{weeks: map[protocol.StoreID]*week{}, dirty: map[uint32]bool{}} }

func seconds(us int64) uint32 {
	return uint32(min(max(us/1_000_000-epochS, 0), math.MaxUint32))
}

func decay(fromS, toS uint32) float32 {
	return float32(math.Exp2(-float64(toS-fromS) / halfLifeS))
}

// Observe takes one sold line. offsetMin is the zone in which it was told:
// the week's hours are the shop's own.
func (l *Learner) Observe(cell uint32, loc protocol.StoreID, qty protocol.Quantity, at protocol.Stamp) {
	if qty <= 0 {
		return
	}
	for len(l.rates) <= int(cell) {
		l.rates = append(l.rates, make([]rate, int(cell)+1-len(l.rates)+len(l.rates)/4)...)
	}
	t := seconds(at.US)
	r, units := &l.rates[cell], float32(qty)/1000
	if t >= r.lastS {
		r.units, r.lastS = r.units*decay(r.lastS, t)+units, t
	} else {
		r.units += units * decay(t, r.lastS)
	}
	l.dirty[cell/chunkCells] = true
	w := l.weeks[loc]
	if w == nil {
		w = &week{firstS: t}
		l.weeks[loc] = w
	}
	h := HourOfWeek(at.US, int(at.OffsetMin))
	for _, x := range []*week{w, &l.chain} {
		x.firstS = min(x.firstS, t)
		x.lines[h]++
		x.total++
	}
	l.dirty[localChunk] = true
}

// HourOfWeek is 0 for Monday's first hour, in the zone of offsetMin.
func HourOfWeek(us int64, offsetMin int) int {
	hours := (us/1_000_000 + int64(offsetMin)*60) / 3600
	return int(((hours+72)%profileHours + profileHours) % profileHours) // 1970-01-01 was a Thursday
}

// Rate is a position's mean demand in base units per hour: the mean of a Gamma
// posterior, so that two quiet hours after the first sale are not half a unit an
// hour for ever.
func (l *Learner) Rate(cell uint32, loc protocol.StoreID, nowUS int64) float32 {
	w := l.weeks[loc]
	if int(cell) >= len(l.rates) || w == nil {
		return 0
	}
	r := l.rates[cell]
	if r.units == 0 {
		return 0
	}
	now := seconds(nowUS)
	units := float64(r.units)
	if now > r.lastS {
		units *= float64(decay(r.lastS, now))
	}
	seen := float64(max(now, w.firstS)-w.firstS) / halfLifeS
	hours := halfLifeS / 3600 / math.Ln2 * (1 - math.Exp2(-seen)) // of exposure, decayed like the sales
	return float32((units + priorUnits) / (hours + priorHours))
}

// Profile is how a location's demand runs over the hours of the week, with mean
// 1: its own, shrunk to the chain's while it has told little, and that to flat.
func (l *Learner) Profile(loc protocol.StoreID) *[profileHours]float32 {
	chain := shrink(&l.chain, nil)
	if w := l.weeks[loc]; w != nil {
		return shrink(w, chain)
	}
	return chain
}

func shrink(w *week, to *[profileHours]float32) *[profileHours]float32 {
	var p [profileHours]float32
	for h := range p {
		prior := float32(1)
		if to != nil {
			prior = to[h]
		}
		p[h] = (w.lines[h]*profileHours + shrinkLines*prior) / (w.total + shrinkLines)
	}
	return &p
}

// Chunks emits what changed since the last call: positions by 4,096, and the
// locations' weeks in one.
func (l *Learner) Chunks(emit func(no uint32, data []byte)) error {
	for _, no := range slices.Sorted(maps.Keys(l.dirty)) {
		data := []byte{chunkVersion}
		if no == localChunk {
			for _, loc := range slices.Sorted(maps.Keys(l.weeks)) {
				data = appendWeek(data, string(loc), l.weeks[loc])
			}
			emit(no, appendWeek(data, "", &l.chain))
			continue
		}
		from, to := int(no)*chunkCells, min(int(no+1)*chunkCells, len(l.rates))
		for _, r := range l.rates[from:to] {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(r.units))
			data = binary.LittleEndian.AppendUint32(data, r.lastS)
		}
		emit(no, data)
	}
	clear(l.dirty)
	return nil
}

func appendWeek(b []byte, name string, w *week) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	b = binary.LittleEndian.AppendUint32(b, w.firstS)
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(w.total))
	for _, x := range w.lines {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

const weekBytes = 8 + 4*profileHours

// Restore reads a chunk back.
func (l *Learner) Restore(no uint32, data []byte) error {
	if len(data) == 0 || data[0] != chunkVersion || no > localChunk {
		return fmt.Errorf("restore chunk %d: %w: unknown version", no, ErrChunk)
	}
	data = data[1:]
	if no != localChunk {
		if len(data)%8 != 0 || len(data) > 8*chunkCells {
			return fmt.Errorf("restore chunk %d: %w: %d bytes", no, ErrChunk, len(data))
		}
		for i := 0; len(data) > 0; i++ {
			cell := int(no)*chunkCells + i
			for len(l.rates) <= cell {
				l.rates = append(l.rates, rate{})
			}
			l.rates[cell] = rate{math.Float32frombits(binary.LittleEndian.Uint32(data)), binary.LittleEndian.Uint32(data[4:])}
			data = data[8:]
		}
		return nil
	}
	for len(data) > 0 {
		n, k := binary.Uvarint(data)
		if k <= 0 || n > protocol.NameBytesMax || len(data) < k+int(n)+weekBytes {
			return fmt.Errorf("restore chunk %d: %w: cut short", no, ErrChunk)
		}
		name := protocol.StoreID(data[k : k+int(n)])
		data = data[k+int(n):]
		w := &week{firstS: binary.LittleEndian.Uint32(data), total: math.Float32frombits(binary.LittleEndian.Uint32(data[4:]))}
		for h := range w.lines {
			w.lines[h] = math.Float32frombits(binary.LittleEndian.Uint32(data[8+4*h:]))
		}
		if data = data[weekBytes:]; name == "" {
			l.chain = *w
		} else {
			l.weeks[name] = w
		}
	}
	return nil
}
