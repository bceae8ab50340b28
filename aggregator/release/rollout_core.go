package release

import (
	"fmt"
	"hash/fnv"
	"slices"

	"tillwire/protocol"
)

// Agent is what a rollout knows of one.
type Agent struct {
	Origin  protocol.Origin
	Region  string
	Version string // that it runs
	Asked   string // agent_version of its desired state
	Failed  string // why the version that it was asked to run does not run
}

// bucket is an agent's place between 0 and 99 in the order of one version's rollout.
// Another version has another order: no shop is always the first.
func bucket(version string, o protocol.Origin) int {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s\x00%s", version, o.Store, o.Agent)
	sum := h.Sum64()
	return int((sum ^ sum>>32) % 100)
}

func covers(r *protocol.Rollout, a *Agent) bool {
	if len(r.Stores) == 0 && len(r.Regions) == 0 {
		return true
	}
	return slices.Contains(r.Stores, a.Origin.Store) || a.Region != "" && slices.Contains(r.Regions, a.Region)
}

// step counts, and picks who is asked next. Where too many of those asked failed, it
// says why the rollout stops instead.
func step(r *protocol.Rollout, agents []Agent) (p protocol.RolloutProgress, next []protocol.Origin, stop string) {
	for i := range agents {
		a := &agents[i]
		if !covers(r, a) {
			continue
		}
		p.InScope++
		if bucket(r.Version, a.Origin) >= r.Percent {
			continue
		}
		p.Chosen++
		switch {
		case a.Version == r.Version:
			p.Running++
		case a.Asked != r.Version:
			p.Waiting++
			next = append(next, a.Origin)
		case a.Failed != "":
			p.Failed++
		default:
			p.Asked++
		}
	}
	tried := p.Running + p.Failed
	if p.Failed >= failedLeast && float64(p.Failed) > failedShareMax*float64(tried) {
		return p, nil, fmt.Sprintf("%d of the %d agents that tried version %s failed", p.Failed, tried, r.Version)
	}
	room := max(min(stepMax, underWayMax-p.Asked), 0)
	return p, next[:min(room, len(next))], ""
}

// check names the first thing that is wrong with a rollout; released is the version
// that is published.
func check(r *protocol.Rollout, released string) (field, problem string) {
	switch {
	case r.Version == "":
		return "/version", "is missing"
	case r.Version != released:
		return "/version", fmt.Sprintf("is %q, but %q is released", r.Version, released)
	case r.Percent < 0 || r.Percent > 100:
		return "/percent", fmt.Sprintf("is %d, must be 0 to 100", r.Percent)
	case len(r.Stores)+len(r.Regions) > namesMax:
		return "/stores", fmt.Sprintf("%d stores and regions, at most %d", len(r.Stores)+len(r.Regions), namesMax)
	}
	return "", ""
}
