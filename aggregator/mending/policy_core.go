package mending

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Policy says how what a source parks is dealt with.
type Policy struct {
	Source      string   // a feed's name, ledger.SourceAgents, or Any
	Retry       []string // causes that are tried again by themselves
	First, Most time.Duration
	Attempts    int
	StopPerHour int // 0: never
}

// Any is the source of the policy for sources that have none of their own.
const Any = "*"

// Check names what is wrong with a policy.
func (p *Policy) Check() error {
	if p.Source != Any {
		if err := protocol.CheckName(p.Source); err != nil {
			return fmt.Errorf("source %q %w; name a feed, agents, or * for all that are not named", p.Source, err)
		}
	}
	if p.Source == ledger.SourceAgents && p.StopPerHour != 0 {
		return fmt.Errorf("stop_per_hour of %s: a store's journal is never stopped, since one document must not hold up the others; take it out", p.Source)
	}
	if p.First < 0 || p.Most < 0 || p.Attempts < 0 || p.StopPerHour < 0 || p.Most != 0 && p.Most < p.First {
		return fmt.Errorf("source %q: first, most, attempts and stop_per_hour must not be below 0, and most not below first", p.Source)
	}
	return nil
}

func (p Policy) complete() Policy {
	if p.First == 0 {
		p.First = firstDefault
	}
	if p.Most == 0 {
		p.Most = max(mostDefault, p.First)
	}
	if p.Attempts == 0 {
		p.Attempts = timesDefault
	}
	return p
}

// again is how long after so many attempts the next one is: twice as long each time.
func (p *Policy) again(attempts int) time.Duration {
	d := p.First
	for range attempts {
		if d *= 2; d >= p.Most {
			return p.Most
		}
	}
	return d
}

// arrivals are the causes that end when an article arrives.
var arrivals = []string{"sku_unknown", "unit_unknown"}

// due tells whether an exception is to be tried now. arrived are articles that came
// since the last round: what lacks one of them need not wait.
func (p *Policy) due(x *protocol.Exception, now time.Time, arrived map[protocol.SKU]bool) bool {
	if !slices.Contains(p.Retry, x.Code) || !slices.Contains(actionsOf(x), protocol.ExceptionRetry) {
		return false
	}
	if slices.Contains(arrivals, x.Code) && lacked(x, arrived) {
		return true
	}
	if x.Attempts >= p.Attempts {
		return false
	}
	at := x.RetryAt
	if at.IsZero() {
		at = x.At.Add(p.First)
	}
	return !now.Before(at)
}

// lacked tells whether an exception is about one of the articles: by its code, or by
// a unit of it.
func lacked(x *protocol.Exception, arrived map[protocol.SKU]bool) bool {
	sku, _, _ := strings.Cut(x.About, "#")
	return arrived[protocol.SKU(sku)] || arrived[protocol.SKU(x.About)]
}

// actionsOf are what can be done to exceptions of a kind.
func actionsOf(x *protocol.Exception) []string {
	switch {
	case x.Counted && !slices.Contains(arrivals, x.Code), x.Code == "snapshot_older", len(x.Raw) == 0 && !x.Counted:
		return []string{protocol.ExceptionDiscard}
	case x.Counted, x.Code == "mass_zeroing":
		return []string{protocol.ExceptionRetry, protocol.ExceptionDiscard}
	}
	return []string{protocol.ExceptionRetry, protocol.ExceptionEdit, protocol.ExceptionDiscard}
}
