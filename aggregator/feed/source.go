package feed

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tillwire/protocol"
)

// sources are those that spoke, or that the configuration names, as GET
// /v1/connectors shows them.
type sources struct {
	mu     sync.Mutex // guards what follows
	byName map[string]*source
}

// source is one outer system's account, since start.
type source struct {
	c       protocol.Connector
	bad     bool // the newest thing was an error
	hour    int64
	parked  int // in that hour
	buckets [rateBuckets]int
	bucket  int64                   // number of the newest: unix seconds / 10
	waits   func() (int, time.Time) // files that wait, and since when the oldest does; nil: nothing ever does
}

// of finds a source, or makes it; nil where there are too many. Callers hold mu.
func (s *sources) of(name, kind string) *source {
	if s.byName == nil {
		s.byName = map[string]*source{}
	}
	x := s.byName[name]
	if x == nil {
		if len(s.byName) >= sourcesMax {
			return nil
		}
		x = &source{c: protocol.Connector{Name: name, Kind: kind, Direction: protocol.ConnectorIn}}
		s.byName[name] = x
	}
	if x.c.Kind == "" {
		x.c.Kind = kind
	}
	return x
}

// mayPark counts what a source parks, and says when it is enough for an hour.
func (s *sources) mayPark(name string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.of(name, "")
	if x == nil {
		return false
	}
	if h := now.Unix() / 3600; h != x.hour {
		x.hour, x.parked = h, 0
	}
	x.parked++
	return x.parked <= parkedPerHourMax
}

func (s *sources) count(name, kind, status string, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.of(name, kind); x != nil {
		x.add(status, n)
	}
}

func (x *source) add(status string, n uint64) {
	switch status {
	case statusAccepted, statusStill:
		x.c.In += n
	case statusDuplicate:
		x.c.Duplicates += n
	case statusParked:
		x.c.Parked += n
	case statusRefused:
		x.c.Refused += n
	}
}

// failed notes that something of a source could not be read at all.
func (s *sources) failed(name, kind, why string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.of(name, kind); x != nil {
		x.c.LastError, x.bad = &protocol.ConnectorErr{Message: why, At: at.UTC()}, true
	}
}

// note writes down what became of a call's documents.
func (d *Desk) note(name, kind string, items []Item, answers []protocol.FeedResult) {
	s := &d.sources
	now := d.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.of(name, kind)
	if x == nil {
		return
	}
	for i := range answers {
		x.add(answers[i].Status, 1)
		it := &items[i]
		if it.Problem != nil {
			x.c.LastError = &protocol.ConnectorErr{Message: reasonOf(it.Problem), At: now.UTC()}
			continue
		}
		x.c.LastDocument = &protocol.ConnectorDoc{ID: it.DocumentID, Kind: it.What, At: now.UTC()}
		x.bad = false
		if len(it.Events) > 0 {
			x.c.DelayS = max(0, float64(now.UnixMicro()-it.Events[0].EventTime.US)/1e6)
		}
	}
	x.turn(now)
	x.buckets[int(x.bucket)%rateBuckets] += len(answers)
}

// turn empties the buckets that time has passed over.
func (x *source) turn(now time.Time) {
	n := now.Unix() / 10
	for gone := min(n-x.bucket, rateBuckets); gone > 0; gone-- {
		x.buckets[int(n-gone+1)%rateBuckets] = 0
	}
	x.bucket = max(x.bucket, n)
}

// Known shows a source that an earlier process heard of.
func (d *Desk) Known(name string, last time.Time) {
	d.sources.mu.Lock()
	defer d.sources.mu.Unlock()
	x := d.sources.of(name, "")
	if x != nil && (x.c.LastDocument == nil || x.c.LastDocument.At.Before(last)) {
		x.c.LastDocument = &protocol.ConnectorDoc{At: last.UTC()}
	}
}

// Connectors tells how each source stands, by name.
func (d *Desk) Connectors() []protocol.Connector {
	now := d.o.Now()
	s := &d.sources
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]protocol.Connector, 0, len(s.byName))
	for _, x := range s.byName {
		c := x.c
		c.Kind = cmp.Or(c.Kind, "http")
		c.State = protocol.ConnectorOK
		if x.bad {
			c.State, c.Reason = protocol.ConnectorFailing, c.LastError.Message
		}
		x.turn(now)
		sum := 0
		for _, n := range x.buckets {
			sum += n
		}
		c.InPerS = float64(sum) / (10 * rateBuckets)
		if x.waits != nil {
			n, since := x.waits()
			if c.Pending = n; n > 0 {
				c.LagS = max(0, now.Sub(since).Seconds())
			}
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b protocol.Connector) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
