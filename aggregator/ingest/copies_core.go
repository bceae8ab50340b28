package ingest

import (
	"fmt"
	"slices"
	"time"

	"tillwire/protocol"
)

// copies is what is known of the processes that speak under one agent's name.
//
//	         a boot_id comes back three times in ten minutes,
//	         or once after the journals were seen to fork
//	single ───────────────────────────────────────────────────▶ quarantined
//	                                                                │ a person
//	the picked one: the agent's own mark, where it stood            │ picks one
//	any other: a mark of its own, a new epoch, ◀──── picked ◀───────┘
//	everything offered again; event ids dedupe
//
// A restart brings a boot_id that was never heard. One that comes back after
// another has spoken is proof that both live.
type copies struct {
	Reason   string             `json:"reason,omitempty"`
	SinceUS  int64              `json:"since_us,omitempty"` // quarantined; 0: never
	Picked   string             `json:"picked,omitempty"`   // boot_id
	Heir     string             `json:"heir,omitempty"`     // boot_id of the picked one's next start, as far as one can tell
	PickedUS int64              `json:"picked_us,omitempty"`
	PickedBy string             `json:"picked_by,omitempty"`
	Seen     []spoken           `json:"seen"` // the newest speaker last
	Beside   []protocol.AgentID `json:"beside,omitempty"`

	returns []int64 // when a boot_id came back
	forkUS  int64   // when another process was seen to have another history
}

// spoken is one process, by its last HELLO.
type spoken struct {
	Boot    string         `json:"boot"`
	Install string         `json:"install"`
	Version string         `json:"version"`
	Epoch   uint64         `json:"epoch"`
	Head    uint64         `json:"head"`
	Chain   protocol.Chain `json:"chain"`
	FirstUS int64          `json:"first_us"`
	LastUS  int64          `json:"last_us"`
}

// hear takes a HELLO before it is answered.
func (c *copies) hear(h *protocol.Hello, nowUS int64) {
	now := spoken{h.BootID, h.InstallID, h.Agent[:min(len(h.Agent), protocol.NameBytesMax)], h.Epoch, h.Head, h.ChainHead, nowUS, nowUS}
	at := slices.IndexFunc(c.Seen, func(s spoken) bool { return s.Boot == h.BootID })
	if at >= 0 {
		now.FirstUS = c.Seen[at].FirstUS
		if at != len(c.Seen)-1 && nowUS-c.Seen[at].LastUS < copiesWindowUS {
			c.returns = append(c.returns, nowUS)
		}
		c.Seen = slices.Delete(c.Seen, at, at+1)
	}
	c.Seen = append(c.Seen, now)
	if len(c.Seen) > copiesSeenMax {
		c.Seen = slices.Delete(c.Seen, 0, 1)
	}
	c.returns = slices.DeleteFunc(c.returns, func(us int64) bool { return nowUS-us >= copiesWindowUS })
}

// suspect says why no more must be merged under this name, if so.
func (c *copies) suspect(nowUS int64) string {
	switch {
	case c.SinceUS != 0:
		return ""
	case len(c.returns) >= copiesReturns:
		return fmt.Sprintf("processes took turns %d times within %s", len(c.returns), time.Duration(copiesWindowUS)*time.Microsecond)
	case len(c.returns) > 0 && c.forkUS != 0 && nowUS-c.forkUS < copiesWindowUS:
		return "two processes took turns, and their journals differ"
	}
	return ""
}

// quarantine keeps those that spoke lately as what can be picked.
func (c *copies) quarantine(why string, nowUS int64) {
	c.SinceUS, c.Reason = nowUS, why
	c.Seen = slices.DeleteFunc(c.Seen, func(s spoken) bool { return nowUS-s.LastUS >= copiesWindowUS })
}

func (c *copies) knows(boot string) bool {
	return slices.ContainsFunc(c.Seen, func(s spoken) bool { return s.Boot == boot })
}

// pick lets one of those that were heard go on.
func (c *copies) pick(boot, who string, nowUS int64) error {
	switch {
	case c.SinceUS == 0:
		return errNotQuarantined
	case c.Picked != "":
		return fmt.Errorf("%w: %s was picked by %s", errPicked, c.Picked, c.PickedBy)
	case !c.knows(boot):
		return fmt.Errorf("%w: %s", errNoCopy, boot)
	}
	c.Picked, c.PickedBy, c.PickedUS = boot, who, nowUS
	return nil
}

// owns tells, after the pick, whether a HELLO goes on under the agent's own mark;
// resumes is whether its journal continues that mark as it stands. A process that
// nobody has heard yet is the picked one restarted, where that is so. Should the
// picked one speak again, it was not.
func (c *copies) owns(boot string, old, resumes bool) bool {
	switch {
	case boot == c.Picked:
		c.Heir = ""
		return true
	case boot == c.Heir:
		return true
	case old || !resumes:
		return false
	}
	c.Heir = boot
	return true
}

// resumes tells whether a HELLO continues the mark, as far as it says.
func (s *session) resumes(h *protocol.Hello) bool {
	m := &s.mark
	return h.InstallID == m.InstallID && h.Epoch == m.Epoch && m.Seq <= h.Head && m.Seq+1 >= h.Tail && (h.MergedSeq != m.Seq || h.ChainMerged == m.Chain)
}

func (c *copies) view(s *session) protocol.Copies {
	v := protocol.Copies{
		Store: s.origin.Store, Agent: s.origin.Agent, State: c.state(), Reason: c.Reason, QuarantinedAt: time.UnixMicro(c.SinceUS).UTC(),
		Picked: c.Picked, PickedBy: c.PickedBy, Copies: make([]protocol.Copy, 0, len(c.Seen)),
	}
	if c.PickedUS != 0 {
		at := time.UnixMicro(c.PickedUS).UTC()
		v.PickedAt = &at
	}
	for _, x := range c.Seen {
		v.Copies = append(v.Copies, protocol.Copy{
			BootID: x.Boot, InstallID: x.Install, Agent: s.under(x.Boot), Version: x.Version, Epoch: x.Epoch, HeadSeq: x.Head, ChainHead: x.Chain,
			FirstAt: time.UnixMicro(x.FirstUS).UTC(), LastAt: time.UnixMicro(x.LastUS).UTC(),
		})
	}
	return v
}

// state is as the API names it.
func (c *copies) state() string {
	if c.Picked == "" {
		return protocol.CopiesQuarantined
	}
	return protocol.CopiesPicked
}

// under is the name that a process's journal is merged under.
func (s *session) under(boot string) protocol.AgentID {
	if s.copies.Picked == "" {
		return ""
	}
	for _, b := range s.beside {
		if b.mark.BootID == boot {
			return b.origin.Agent
		}
	}
	if s.mark.BootID == boot {
		return s.origin.Agent
	}
	return ""
}

// address is where a session's answers go: a copy that was not picked still
// listens under the name that it took.
func (s *session) address() protocol.Origin {
	if s.wire.Store != "" {
		return s.wire
	}
	return s.origin
}

// apart raises what the next epoch and lease must lie above: no two journals that
// answer to one name may share either, for that is how their frames are told apart.
func (s *session) apart(group []*session) {
	for _, o := range group {
		if o != s {
			s.floor = max(s.floor, o.mark.Epoch)
			s.mark.Lease = max(s.mark.Lease, o.mark.Lease)
		}
	}
}
