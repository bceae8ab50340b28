package demand

import (
	"math"
	"runtime"
	"testing"

	"tillwire/protocol"
)

func sell(l *Learner, cell uint32, perHour, hours int, fromUS int64) int64 {
	for h := range hours {
		for range perHour {
			l.Observe(cell, "S1", protocol.Units(1), protocol.Stamp{US: fromUS + int64(h)*hourUS})
		}
	}
	return fromUS + int64(hours)*hourUS
}

func TestNewArticleInOldStoreIsSeenFromItsOwnFirstDay(t *testing.T) {
	l := New()
	now := sell(l, 1, 1, 60*24, monday.US)
	for _, c := range []struct {
		hours    int
		from, to float32
	}{{24, 4, 10.5}, {72, 7, 10.5}, {14 * 24, 9, 10.5}} {
		end := sell(l, 2+uint32(c.hours), 10, c.hours, now)
		if got := l.Rate(2+uint32(c.hours), "S1", end); got < c.from || got > c.to {
			t.Errorf("10 an hour for %d hours: learnt %.2f", c.hours, got)
		}
	}
}

func TestExposureBeginsWhenAPositionIsFirstSeen(t *testing.T) {
	l := New()
	l.Observe(1, "S1", 0, monday)
	sell(l, 2, 1, 1, monday.US)
	week := monday.US + 168*hourUS
	l.Observe(1, "S1", protocol.Units(1), protocol.Stamp{US: week})
	l.Observe(3, "S1", protocol.Units(1), protocol.Stamp{US: week})
	if seen, fresh := l.Rate(1, "S1", week), l.Rate(3, "S1", week); seen >= fresh/4 {
		t.Errorf("one sale in a week on the shelf %.4f, at once %.4f", seen, fresh)
	}
}

func TestReturnIsNoNegativeDemand(t *testing.T) {
	l := New()
	now := sell(l, 1, 2, 100, monday.US)
	before := l.Rate(1, "S1", now)
	l.Observe(1, "S1", -protocol.Units(50), protocol.Stamp{US: now})
	if got := l.Rate(1, "S1", now); got != before {
		t.Errorf("a return moved the rate from %g to %g", before, got)
	}
}

func TestClockYearsAheadSpoilsNothing(t *testing.T) {
	l := New()
	now := sell(l, 1, 2, 60*24, monday.US)
	l.Advance(now)
	l.Observe(1, "S1", protocol.Units(1), protocol.Stamp{US: now + 70*365*24*hourUS})
	for h := range 30 * 24 {
		l.Advance(now + int64(h)*hourUS)
		l.Observe(1, "S1", protocol.Units(2), protocol.Stamp{US: now + int64(h)*hourUS})
	}
	if got := l.Rate(1, "S1", now+30*24*hourUS); math.Abs(float64(got)-2) > 0.2 {
		t.Errorf("rate %.3f, want 2", got)
	}
}

// TestProfileOfManyLines would stop to grow where float32 counts ones: beyond 2^24.
func TestProfileOfManyLines(t *testing.T) {
	l := New()
	sell(l, 1, 1, 1, monday.US)
	for h := range l.chain.lines {
		l.chain.lines[h] = 1 << 30
	}
	sell(l, 1, 20, 168, monday.US)
	sum := 0.0
	for _, x := range l.Profile("new") {
		sum += float64(x)
	}
	if math.Abs(sum-168) > 0.01 {
		t.Errorf("a profile of many lines sums to %.2f", sum)
	}
}

func TestProfileFollowsNewOpeningHours(t *testing.T) {
	l := New()
	hours := func(weeks, at int, from int64) int64 {
		for w := range weeks {
			for range 300 {
				l.Observe(1, "S1", protocol.Units(1), protocol.Stamp{US: from + int64(w*168+at)*hourUS})
			}
		}
		return from + int64(weeks*168)*hourUS
	}
	now := hours(52, 10, monday.US)
	hours(26, 60, now)
	if p := l.Profile("S1"); p[60] < 10*p[10] {
		t.Errorf("half a year after it moved: new hour %.2f, old %.2f", p[60], p[10])
	}
}

func TestOffsetIsTheNewestSales(t *testing.T) {
	l := New()
	l.Observe(1, "S1", 1000, protocol.Stamp{US: monday.US + hourUS, OffsetMin: 120})
	l.Observe(1, "S1", 1000, protocol.Stamp{US: monday.US, OffsetMin: 60})
	if got := l.Offset("S1"); got != 120 || l.Offset("S2") != 0 {
		t.Errorf("offset %d, want 120", got)
	}
}

func TestMemoryPerPosition(t *testing.T) {
	const cells = 2_000_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, l := heap(), New()
	for c := range uint32(cells) {
		l.Observe(c, "S1", protocol.Units(1), monday)
	}
	perCell := float64(heap()-before) / cells
	t.Logf("%.3f bytes per position", perCell)
	if perCell > 8 {
		t.Errorf("%.2f bytes per position, at most 8 are promised", perCell)
	}
	runtime.KeepAlive(l)
}

func TestChunksCarryWhatChanged(t *testing.T) {
	l := New()
	sell(l, 1, 1, 1, monday.US)
	sell(l, 5000, 1, 1, monday.US)
	var nos []uint32
	emit := func(no uint32, _ []byte) { nos = append(nos, no) }
	if err := l.Chunks(emit); err != nil || len(nos) != 4 {
		t.Errorf("first checkpoint: chunks %v, %v", nos, err)
	}
	nos = nil
	if err := l.Chunks(emit); err != nil || len(nos) != 0 {
		t.Errorf("nothing changed: chunks %v, %v", nos, err)
	}
	l.Observe(5001, "S1", 0, monday)
	if err := l.Chunks(emit); err != nil || len(nos) != 1 || nos[0] != cellChunk+4 {
		t.Errorf("one position seen: chunks %v, %v", nos, err)
	}
}

// FuzzRestore: a chunk that is taken gives rates and profiles that are numbers.
func FuzzRestore(f *testing.F) {
	l := New()
	sell(l, 1, 3, 3, monday.US)
	_ = l.Chunks(func(no uint32, data []byte) { f.Add(no, data) })
	f.Fuzz(func(t *testing.T, no uint32, data []byte) {
		l := New()
		if l.Restore(no%(1<<16), data) != nil {
			return
		}
		if r := float64(l.Rate(no%4096, "S1", monday.US)); math.IsNaN(r) || r < 0 {
			t.Fatalf("rate %g", r)
		}
		for _, x := range l.Profile("S1") {
			if math.IsNaN(float64(x)) || x < 0 {
				t.Fatalf("profile %g", x)
			}
		}
	})
}
