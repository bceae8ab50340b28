package fleet

import (
	"slices"
	"time"

	"tillwire/protocol"
)

// Incidents of the chain as a whole: they belong to no store.

// ChainIncident words one that stands until a person closes it; what tells it from
// others of its code.
func ChainIncident(code, what, summary string, at time.Time) protocol.Incident {
	return protocol.Incident{
		ID: code + "/" + string(protocol.ChainStore) + "/" + what, Code: code, Store: protocol.ChainStore, Since: at.UTC(), Summary: summary, Remedy: Remedies[code],
	}
}

// Chain raises an incident that closes by itself, words it anew, or, with an empty
// summary, closes it.
func (f *Fleet) Chain(code, summary string) {
	now := f.opts.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.chain, func(in protocol.Incident) bool { return in.Code == code })
	switch {
	case summary == "" && i >= 0:
		f.chain = slices.Delete(slices.Clone(f.chain), i, i+1)
	case summary == "":
	case i >= 0:
		f.chain = slices.Clone(f.chain) // snapshots hold the old one
		f.chain[i].Summary = summary
	default:
		f.opts.Log.Error().Str("code", code).Str("why", summary).Msg("incident of the chain")
		f.chain = append(slices.Clip(f.chain), protocol.Incident{
			ID: code + "/" + string(protocol.ChainStore), Code: code, Store: protocol.ChainStore, Since: now.UTC(), Summary: summary, Remedy: Remedies[code],
		})
	}
}

// StandChain raises one that stands until a person closes it.
func (f *Fleet) StandChain(code, what, summary string) {
	in := ChainIncident(code, what, summary, f.opts.Now())
	f.opts.Log.Error().Str("code", code).Str("why", summary).Msg("incident of the chain")
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.standing) >= StandingMax || slices.ContainsFunc(f.standing, func(x protocol.Incident) bool { return x.ID == in.ID }) {
		return
	}
	f.standing = append(slices.Clip(f.standing), in)
	f.keep = true
}

// ofChain lists what is open of the chain as a whole. mu is held.
func (f *Fleet) ofChain() []protocol.Incident {
	out := slices.Clone(f.chain)
	for i := range f.standing {
		if f.standing[i].Store == protocol.ChainStore {
			out = append(out, f.standing[i])
		}
	}
	return out
}

// ChainIncidents lists what is open of the chain as a whole.
func (f *Fleet) ChainIncidents() []protocol.Incident { return f.Snapshot().Chain }

// SafeCoveredBy tells what safe rests on: none or backup.
func (f *Fleet) SafeCoveredBy() string { return f.opts.SafeCoveredBy }
