package web

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"tillwire/protocol"
)

// spark is a small curve of the last 24 hours, drawn where its number stands. Words
// say the same to whoever does not see it.
type spark struct {
	Path  string // in a box of sparkWidth by sparkHeight, "now" at the right
	Note  string // the most there was
	Words string
	Kind  string // lag | waits | rate
}

const (
	sparkWidth   = 2 * sparkColumns
	sparkHeight  = 24
	sparkFloor   = sparkHeight - 1.5 // a zero is seen to be one
	sparkColumns = 72                // 20 min each
	sparkEveryS  = 24 * 3600 / sparkColumns
)

// series is one number of a connection through time.
type series struct {
	kind, name string
	never      string  // said where all are zero
	least      float64 // that the curve's height stands for: noise is not drawn as a mountain
	mean       bool    // of the minutes of a column; otherwise the worst of them counts
	of         func(p *protocol.FlowPoint) float64
	say        func(v float64) string
}

var (
	lagSeries   = series{"lag", "Lag", "never behind", 60, false, func(p *protocol.FlowPoint) float64 { return p.LagS }, sayLag}
	waitsSeries = series{"waits", "Waits", "nothing waited", 10, false, func(p *protocol.FlowPoint) float64 { return float64(p.Waits) }, sayCount}
	rateSeries  = series{"rate", "Passed", "nothing passed", 1, true, func(p *protocol.FlowPoint) float64 { return float64(p.PerMin) }, sayRate}
)

func sayLag(v float64) string {
	if v == 0 {
		return "none"
	}
	return ago(int64(v))
}

func sayCount(v float64) string { return comma(int64(v)) }

func sayRate(v float64) string {
	if v > 0 && v < 9.95 {
		return strconv.FormatFloat(v, 'f', 1, 64) + " a minute"
	}
	return comma(int64(v+.5)) + " a minute"
}

// makeSpark draws one; nil where less than two minutes are kept.
func makeSpark(s *series, points []protocol.FlowPoint, now time.Time) *spark {
	end := now.Unix()
	from := end - sparkColumns*sparkEveryS
	if i := slices.IndexFunc(points, func(p protocol.FlowPoint) bool { return p.AtS > from }); i > 0 {
		points = points[i:]
	} else if i < 0 {
		points = nil
	}
	if len(points) < 2 {
		return nil
	}
	var sum, n [sparkColumns]float64
	least, most := s.of(&points[0]), 0.0
	for i := range points {
		v := s.of(&points[i])
		least, most = min(least, v), max(most, v)
		k := min(max(int((points[i].AtS-from)/sparkEveryS), 0), sparkColumns-1)
		if n[k]++; s.mean {
			sum[k] += v
		} else {
			sum[k] = max(sum[k], v)
		}
	}
	top := s.least
	for k := range sum {
		if s.mean && n[k] > 0 {
			sum[k] /= n[k]
		}
		top = max(top, sum[k])
	}
	x := &spark{Path: sparkPath(&sum, &n, top), Note: "most " + s.say(most), Kind: s.kind}
	if most == 0 {
		x.Note = s.never
	}
	x.Words = s.name + " over " + ago(points[len(points)-1].AtS-points[0].AtS) + ": least " + s.say(least) + ", now " + s.say(s.of(&points[len(points)-1])) + ", most " + s.say(most)
	return x
}

// sparkPath is a stair through the columns that have a number; one in which nobody
// looked is a gap.
func sparkPath(v, n *[sparkColumns]float64, top float64) string {
	b := make([]byte, 0, 6*sparkColumns)
	put := func(op byte, f float64) { b = strconv.AppendFloat(append(b, op), f, 'f', -1, 64) }
	drawn := -1.0 // the height that the line is at; -1: it is not
	for k := range v {
		if n[k] == 0 {
			drawn = -1
			continue
		}
		y := float64(int(10*(sparkFloor-v[k]/top*(sparkFloor-1.5)))) / 10
		switch {
		case drawn < 0:
			put('M', float64(2*k))
			put(' ', y)
		case y != drawn:
			put('V', y)
		}
		put('H', float64(2*k+2))
		drawn = y
	}
	return string(b)
}

// sparks are the curves of a connection.
type sparks struct{ Lag, Waits, Rate *spark }

// sparkCache draws a curve once for all who look within a while.
type sparkCache struct {
	mu    sync.Mutex // guards all below
	drawn time.Time
	by    map[string]sparks
}

// flowSparks draws what is kept of a flow.
func (w *Web) flowSparks(name string) sparks {
	if w.opts.Flow == nil {
		return sparks{}
	}
	c, now := &w.sparks, w.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now.Sub(c.drawn); c.by == nil || age < 0 || age > sparksFor {
		c.drawn, c.by = now, map[string]sparks{}
	}
	x, ok := c.by[name]
	if !ok {
		points := w.opts.Flow(name)
		x = sparks{makeSpark(&lagSeries, points, now), makeSpark(&waitsSeries, points, now), makeSpark(&rateSeries, points, now)}
		c.by[name] = x
	}
	return x
}

// flowOf is the name by which a page asks for the curves of a flow.
func (w *Web) flowOf(name string) string {
	if w.opts.Flow == nil {
		return ""
	}
	return name
}

// flowHistory answers a connection's last day, minute by minute; null where nobody looked.
func (w *Web) flowHistory(rw http.ResponseWriter, r *http.Request) error {
	points := w.opts.Flow(query(r, "of"))
	out := struct {
		T      []int64    `json:"t"`
		Lag    []*float64 `json:"lag_s"`
		Waits  []*uint64  `json:"backlog"`
		PerMin []*uint64  `json:"per_min"`
	}{[]int64{}, []*float64{}, []*uint64{}, []*uint64{}}
	for i := range points {
		p := &points[i]
		if i > 0 && p.AtS-points[i-1].AtS > 60 {
			out.T, out.Lag, out.Waits, out.PerMin = append(out.T, points[i-1].AtS+60), append(out.Lag, nil), append(out.Waits, nil), append(out.PerMin, nil)
		}
		out.T, out.Lag, out.Waits, out.PerMin = append(out.T, p.AtS), append(out.Lag, &p.LagS), append(out.Waits, &p.Waits), append(out.PerMin, &p.PerMin)
	}
	return writeJSON(rw, r, out)
}
