package fleet

import (
	"slices"
	"testing"
	"time"

	"tillwire/protocol"
)

func codesOf(w *world, o protocol.Origin) []string {
	w.Publish()
	s, _ := w.Status(o.Store)
	var out []string
	for _, in := range s.Incidents {
		if in.Agent == o.Agent {
			out = append(out, in.Code)
		}
	}
	return out
}

// TestDistrustIsToldWhileItIsNews: an agent that refuses what it is told in our name
// is an incident for ten minutes after each new refusal, and no longer.
func TestDistrustIsToldWhileItIsNews(t *testing.T) {
	w := newWorld(t)
	w.live(o1)
	beat := func(n uint64) {
		w.Heartbeat(o1, &protocol.Heartbeat{V: 1, Epoch: 1, Lease: 1, BootID: "b", SentUS: w.us, Head: 100, Merged: 100, Counters: map[string]uint64{"link_acks_beyond_head": n, "link_gaps": 50}}, w.us)
	}
	beat(0)
	if c := codesOf(w, o1); slices.Contains(c, CodeDistrusted) {
		t.Errorf("gaps are no distrust: %v", c)
	}
	beat(1)
	if c := codesOf(w, o1); !slices.Contains(c, CodeDistrusted) {
		t.Errorf("not told: %v", c)
	}
	for range 50 {
		w.pass(15 * time.Second)
		beat(1)
	}
	if c := codesOf(w, o1); slices.Contains(c, CodeDistrusted) {
		t.Errorf("old news is told for ever: %v", c)
	}
}

// TestQuarantineStandsUntilOneIsPicked, whoever is connected; then the copy that runs
// on under the name is told of as long as it is heard.
func TestQuarantineStandsUntilOneIsPicked(t *testing.T) {
	w := newWorld(t)
	w.live(o1)
	c := protocol.Copies{Store: o1.Store, Agent: o1.Agent, State: protocol.CopiesQuarantined, QuarantinedAt: time.UnixMicro(w.us), Copies: []protocol.Copy{{BootID: "a"}, {BootID: "b"}}}
	w.Copies(c)
	w.pass(24 * time.Hour)
	if got := codesOf(w, o1); !slices.Contains(got, CodeQuarantined) {
		t.Errorf("forgotten: %v", got)
	}
	beside := protocol.Origin{Store: o1.Store, Agent: o1.Agent + "-copy-1"}
	c.State, c.Copies[0].Agent, c.Copies[1].Agent = protocol.CopiesPicked, o1.Agent, beside.Agent
	w.Copies(c)
	w.Hello(beside, protocol.Hello{V: 1, InstallID: "i", BootID: "b", Tail: 1}, w.us)
	if got := codesOf(w, o1); slices.Contains(got, CodeQuarantined) || slices.Contains(got, CodeCopy) {
		t.Errorf("the picked one: %v", got)
	}
	if got := codesOf(w, beside); !slices.Contains(got, CodeCopy) {
		t.Errorf("the other one: %v", got)
	}
	w.Connected(beside, false, w.us)
	w.pass(11 * time.Minute)
	if got := codesOf(w, beside); slices.Contains(got, CodeCopy) {
		t.Errorf("told though it is gone: %v", got)
	}
}
