package gateway

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// partner is the other side: a token bucket that fills while it is not full, and
// counts what came too fast. Calls arrive, and are answered, after times of their own.
type partner struct {
	rate   float64
	burst  float64
	level  float64
	atUS   int64
	over   int
	values map[string]int
	per    map[string]int // calls per key and day
}

func (p *partner) arrive(us int64) bool {
	p.level = math.Min(p.burst, p.level+float64(us-p.atUS)/1e6*p.rate)
	p.atUS = us
	if p.level < 1-1e-6 {
		p.over++
		return false
	}
	p.level--
	return true
}

type flight struct {
	batch          []Owed
	values         map[string]int
	arrive, answer int64
	arrived        bool
	reply          Reply
	verdicts       map[string]Verdict
}

// TestNeverOverTheRate has a partner judged over simulated time: whatever calls take,
// and whatever fails, it never sees a call too many; in the end it has the newest
// value of every key, and no key was told more often than its day allows.
func TestNeverOverTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.SampledFrom([]float64{0.2, 1, 5, 20}).Draw(t, "rate")
		burst := rapid.IntRange(1, 12).Draw(t, "burst")
		limit := Limit{Rate: rate, Burst: burst, BatchMax: rapid.IntRange(1, 10).Draw(t, "batch"), DailyPerItem: rapid.SampledFrom([]int{0, 50}).Draw(t, "daily")}
		slow := rapid.Int64Range(1, 3_000_000).Draw(t, "slow")
		p := &partner{rate: rate, burst: float64(burst), level: rapid.Float64Range(0, float64(burst)).Draw(t, "left"), values: map[string]int{}, per: map[string]int{}}
		l := NewLane(limit, 0)
		truth, out := map[string]int{}, []*flight{}
		keys := rapid.IntRange(1, 30).Draw(t, "keys")
		changes := rapid.SliceOfN(rapid.Int64Range(0, 2_000_000), 10, 40).Draw(t, "pauses")
		next, now := int64(0), int64(0)
		for len(changes) > 0 || l.Len() > 0 || len(out) > 0 {
			if now > 3*usPerDay {
				t.Fatalf("%d keys are owed after days", l.Len())
			}
			if len(changes) > 0 && next <= now {
				k := fmt.Sprint(rapid.IntRange(0, keys-1).Draw(t, "key"))
				truth[k]++
				l.Put(k, now, uint64(truth[k]))
				next, changes = now+changes[0], changes[1:]
			}
			slices.SortFunc(out, func(a, b *flight) int { return cmp.Compare(a.arrive, b.arrive) })
			for _, f := range out {
				if !f.arrived && f.arrive <= now {
					f.arrived = true
					f.take(t, p)
				}
			}
			out = slices.DeleteFunc(out, func(f *flight) bool {
				if f.answer <= now {
					l.Done(f.batch, f.reply, f.verdicts, now)
				}
				return f.answer <= now
			})
			batch, wait := l.Next(now)
			if len(batch) > 0 {
				f := &flight{batch: batch, values: map[string]int{}, verdicts: map[string]Verdict{}, arrive: now + rapid.Int64Range(0, slow).Draw(t, "way")}
				f.answer = f.arrive + rapid.Int64Range(0, slow).Draw(t, "back")
				for _, o := range batch {
					f.values[o.Key] = truth[o.Key]
				}
				out = append(out, f)
				continue
			}
			soon := now + int64(usPerDay)
			if wait >= 0 {
				soon = now + max(wait, 1)
			}
			if len(changes) > 0 {
				soon = min(soon, max(next, now+1))
			}
			for _, f := range out {
				if !f.arrived {
					soon = min(soon, f.arrive)
				}
				soon = min(soon, f.answer)
			}
			now = max(soon, now+1)
		}
		if p.over > 0 {
			t.Fatalf("%d calls came too fast", p.over)
		}
		if d := diff.Diff(truth, p.values); d != "" {
			t.Fatal("not the newest values:", d)
		}
		for k, n := range p.per {
			if limit.DailyPerItem > 0 && n > limit.DailyPerItem {
				t.Fatalf("%s was told %d times in a day", k, n)
			}
		}
	})
}

// take has a call arrive: some of its keys fail for now, and some whole calls do.
func (f *flight) take(t *rapid.T, p *partner) {
	if !p.arrive(f.arrive) {
		f.reply.Throttled = true
		return
	}
	if rapid.IntRange(0, 9).Draw(t, "fails") == 0 {
		f.reply.Failed = rapid.Bool().Draw(t, "failed")
		f.reply.Lost = !f.reply.Failed
		return
	}
	for _, o := range f.batch {
		p.per[o.Key]++
		if rapid.IntRange(0, 9).Draw(t, "again") == 0 {
			f.verdicts[o.Key] = Again
			continue
		}
		p.values[o.Key] = f.values[o.Key]
		f.verdicts[o.Key] = Accepted
	}
}

// A partner that allows less than was thought says so once, and is heard.
func TestLimitsAreLearnt(t *testing.T) {
	for name, c := range map[string]struct {
		header  float64
		refused int // at most, in ten minutes
	}{
		"by header":        {0.5, 2},
		"by refusals only": {0, 12},
	} {
		t.Run(name, func(t *testing.T) {
			p := &partner{rate: 0.5, burst: 1, level: 1}
			l := NewLane(Limit{Rate: 5, Burst: 1}, 0)
			sent, refused := 0, 0
			for now := int64(0); now < 600e6; now += 20_000 {
				l.Put(fmt.Sprint(now), now, 0)
				batch, _ := l.Next(now)
				if len(batch) == 0 {
					continue
				}
				sent++
				r, v := Reply{Rate: c.header}, map[string]Verdict{batch[0].Key: Accepted}
				if !p.arrive(now) {
					refused++
					r.Throttled, v = true, nil
				}
				l.Done(batch, r, v, now+10_000)
			}
			if refused > c.refused || sent-refused < 150 {
				t.Errorf("%d of %d calls refused; at most %d, and 150 accepted", refused, sent, c.refused)
			}
			if _, _, learnt, _ := l.Bucket.State(600e6); learnt != (c.header > 0) {
				t.Errorf("learnt: %v", learnt)
			}
		})
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	b := NewBucket(Limit{Rate: 10, Burst: 10}, 0)
	if w := b.Wait(5e6); w != 0 {
		t.Fatalf("wait %d", w)
	}
	b.Sent(5e6)
	b.Answered(Reply{Throttled: true, RetryAfterUS: 7e6}, 5e6)
	if w := b.Wait(5e6); w < 7e6 {
		t.Errorf("wait %s", time.Duration(w*1000))
	}
	if w := b.Wait(13e6); w != 0 {
		t.Errorf("wait %s after it", time.Duration(w*1000))
	}
}

// A call that is wrong as a whole is taken apart; what failed in part goes again
// without the rest.
func TestPartsGoAlone(t *testing.T) {
	l := NewLane(Limit{Rate: 100, Burst: 10, BatchMax: 10}, 0)
	for _, k := range []string{"a", "b", "c"} {
		l.Put(k, 0, 0)
	}
	now := int64(1e6)
	next := func() (keys []string, batch []Owed) {
		for range 100 {
			var wait int64
			if batch, wait = l.Next(now); len(batch) > 0 {
				for _, o := range batch {
					keys = append(keys, o.Key)
				}
				return keys, batch
			}
			if wait < 0 {
				return nil, nil
			}
			now += wait
		}
		return nil, nil
	}
	_, first := next()
	l.Done(first, Reply{}, map[string]Verdict{"a": Accepted, "b": Again, "c": Accepted}, now)
	keys, batch := next()
	if len(keys) != 1 || keys[0] != "b" {
		t.Fatalf("b goes alone: %v", keys)
	}
	l.Done(batch, Reply{}, map[string]Verdict{"b": Refused}, now)
	if l.Len() != 0 || l.Refused != 1 || l.Accepted != 2 {
		t.Errorf("left %d, refused %d, accepted %d", l.Len(), l.Refused, l.Accepted)
	}
	for _, k := range []string{"a", "b", "c"} {
		l.Put(k, now, 0)
	}
	_, batch = next()
	l.Done(batch, Reply{}, map[string]Verdict{"a": Apart, "b": Apart, "c": Apart}, now)
	for range 3 {
		if keys, batch = next(); len(keys) != 1 {
			t.Fatalf("each alone: %v", keys)
		}
		l.Done(batch, Reply{}, map[string]Verdict{keys[0]: Accepted}, now)
	}
}

func TestDailyCap(t *testing.T) {
	l := NewLane(Limit{Rate: 100, Burst: 1, DailyPerItem: 2}, 0)
	told := 0
	for now := int64(0); now < usPerDay-1e6; now += 60e6 {
		l.Put("a", now, 0)
		if batch, _ := l.Next(now); len(batch) > 0 {
			told++
			l.Done(batch, Reply{}, map[string]Verdict{"a": Accepted}, now)
		}
	}
	batch, wait := l.Next(usPerDay - 1e6)
	if told != 2 || len(batch) > 0 || wait != 1e6 {
		t.Errorf("told %d times, then %d in the batch, wait %d", told, len(batch), wait)
	}
	if batch, _ := l.Next(usPerDay + 1); len(batch) != 1 {
		t.Error("not told the next day")
	}
}

func TestShape(t *testing.T) {
	s := Shape{Known: []string{"/a", "/b/*/c", "/d/**"}, Required: []string{"/a", "/b/*/c"}}
	for name, c := range map[string]struct {
		doc              string
		unknown, missing []string
	}{
		"all there":     {`{"a":1,"b":[{"c":1},{"c":2}],"d":{"x":{"y":1}}}`, nil, nil},
		"a new field":   {`{"a":1,"b":[{"c":1,"z":2}],"e":0}`, []string{"/b/*/z", "/e"}, nil},
		"one lacks it":  {`{"a":1,"b":[{"c":1},{}]}`, nil, []string{"/b/*/c"}},
		"null is none":  {`{"a":null,"b":[]}`, nil, []string{"/a"}},
		"another shape": {`[1,2]`, nil, []string{"/a", "/b/*/c"}},
	} {
		t.Run(name, func(t *testing.T) {
			unknown, missing, err := s.Judge([]byte(c.doc))
			if err != nil {
				t.Fatal(err)
			}
			if d := diff.Diff([][]string{c.unknown, c.missing}, [][]string{unknown, missing}); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzShape(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":1}]}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		s := Shape{Known: []string{"/a/*/b"}, Required: []string{"/a/*/b"}}
		_, _, _ = s.Judge(b)
	})
}

func BenchmarkLane(b *testing.B) {
	l := NewLane(Limit{Rate: 1e6, Burst: 1e6, BatchMax: 10}, 0)
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("%014d", i)
	}
	v := map[string]Verdict{}
	b.ReportAllocs()
	for i := range b.N {
		now := int64(i) * 10
		l.Put(keys[i%len(keys)], now, 0)
		if i%10 == 9 {
			batch, _ := l.Next(now)
			clear(v)
			for _, o := range batch {
				v[o.Key] = Accepted
			}
			if len(batch) > 0 {
				l.Done(batch, Reply{}, v, now)
			}
		}
	}
}
