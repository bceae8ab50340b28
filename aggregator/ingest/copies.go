package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// factCopies keeps, per agent, that processes of one name were quarantined and
// which of them goes on: an aggregator that restarts must not forget either.
const factCopies = "copies/"

// Errors of a pick.
var (
	errNotQuarantined = errors.New("no copies of this agent are quarantined")
	errPicked         = errors.New("one was picked already")
	errNoCopy         = errors.New("no such copy was heard")
)

// openCopies reads what was decided before the restart.
func (i *Ingest) openCopies() error {
	origins := make([]protocol.Origin, 0, len(i.sessions))
	for o := range i.sessions {
		if !o.IsFeed() {
			origins = append(origins, o)
		}
	}
	for _, o := range origins {
		b, err := i.o.Ledger.Fact(factCopies + o.String())
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		s := i.session(o)
		if err == nil {
			err = json.Unmarshal(b, &s.copies)
		}
		if err != nil {
			return fmt.Errorf("read copies of %s: %w", o, err)
		}
		for _, name := range s.copies.Beside {
			s.beside = append(s.beside, i.besides(s, name))
		}
		i.tellCopies(s)
	}
	return nil
}

// besides is the session of a copy that is merged under a name of its own. Its
// store's tasks go to the agent's own session only.
func (i *Ingest) besides(s *session, name protocol.AgentID) *session {
	o := protocol.Origin{Store: s.origin.Store, Agent: name}
	b := i.session(o)
	b.wire = s.origin
	return b
}

// speaker tells whose HELLO this is; why is not empty where nobody's is answered.
func (i *Ingest) speaker(o protocol.Origin, h *protocol.Hello, nowUS int64) (s *session, why string) {
	s = i.session(o)
	s.wire = o
	c := &s.copies
	known := c.knows(h.BootID)
	c.hear(h, nowUS)
	if why := c.suspect(nowUS); why != "" {
		c.quarantine(why, nowUS)
		s.live = false
		i.drop(s)
		i.keepCopies(s)
		i.o.Log.Error().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Str("why", why).Msg("copies of one agent are quarantined; a person must pick one")
	}
	switch {
	case c.SinceUS == 0:
		return s, ""
	case c.Picked == "":
		i.tellCopies(s)
		return s, "quarantined: " + c.Reason + "; a person must pick the one that goes on (incident clone_quarantined)"
	}
	group := append([]*session{s}, s.beside...)
	for _, b := range s.beside {
		if b.mark.BootID == h.BootID || b.mark.Epoch == h.Epoch && b.mark.InstallID == h.InstallID {
			b.wire = o
			b.apart(group)
			i.speakers(o, h.BootID, b.origin)
			return b, ""
		}
	}
	if c.owns(h.BootID, known, s.resumes(h)) {
		s.apart(group)
		return s, ""
	}
	if len(s.beside) >= copiesBesideMax {
		return s, fmt.Sprintf("%d copies of this agent are merged beside it already: give this one a name of its own", len(s.beside))
	}
	b := i.addBeside(s, h)
	b.apart(group)
	i.speakers(o, h.BootID, b.origin)
	return b, ""
}

// addBeside makes the mark of a copy that was not picked. Its epoch was never
// given, so that HELLO finds another one and everything is offered again.
func (i *Ingest) addBeside(s *session, h *protocol.Hello) *session {
	var name protocol.AgentID
	for n := 1; ; n++ {
		tail := protocol.AgentID(fmt.Sprintf("-copy-%d", n))
		name = s.origin.Agent[:min(len(s.origin.Agent), protocol.NameBytesMax-len(tail))] + tail
		if i.sessions[protocol.Origin{Store: s.origin.Store, Agent: name}] == nil {
			break
		}
	}
	b := i.besides(s, name)
	b.mark.InstallID, b.mark.BootID = h.InstallID, h.BootID
	b.mark.Seq, b.mark.Chain, b.mark.HeadSeen = h.Tail-1, h.ChainTail, h.Head
	b.mark.SafeSeq = b.mark.Seq
	b.mark.Epoch = s.mark.Epoch + 1
	for _, x := range s.beside {
		b.mark.Epoch = max(b.mark.Epoch, x.mark.Epoch+1)
	}
	b.floor = b.mark.Epoch
	s.beside = append(s.beside, b)
	s.copies.Beside = append(s.copies.Beside, name)
	i.keepCopies(s)
	return b
}

// speaking is the session that a message names by its epoch and lease.
func (i *Ingest) speaking(o protocol.Origin, epoch, lease uint64) *session {
	s := i.session(o)
	for _, b := range s.beside {
		if b.live && b.mark.Epoch == epoch && b.mark.Lease == lease {
			return b
		}
	}
	return s
}

// forked notes that another process was seen to have another history.
func (s *session) forked(was ledger.Mark, w *protocol.Welcome, h *protocol.Hello, nowUS int64) {
	if w.Rebase && was.Epoch != 0 && was.InstallID == h.InstallID && was.BootID != "" && was.BootID != h.BootID {
		s.copies.forkUS = nowUS
	}
}

func (i *Ingest) keepCopies(s *session) {
	b, err := json.Marshal(&s.copies)
	if err != nil {
		i.o.Log.Error().Err(err).Msg("copies not kept") // nothing in it can fail to encode
		return
	}
	i.facts = append(i.facts, ledger.Fact{Key: factCopies + s.origin.String(), Value: b})
	i.tellCopies(s)
}

func (i *Ingest) tellCopies(s *session) {
	if i.o.Copies != nil {
		i.o.Copies(s.copies.view(s))
	}
}

// Copies tells what is known of the processes under an agent's name; ok is false
// where they were never quarantined.
func (i *Ingest) Copies(ctx context.Context, o protocol.Origin) (v protocol.Copies, ok bool, err error) {
	err = i.call(ctx, func(i *Ingest, _ int64) error {
		if s := i.sessions[o]; s != nil && s.copies.SinceUS != 0 {
			v, ok = s.copies.view(s), true
		}
		return nil
	})
	return v, ok, err
}

// PickCopy lets the process of a boot_id go on under the agent's name. Any other
// gets a name beside it, a new epoch, and offers again all that it holds.
func (i *Ingest) PickCopy(ctx context.Context, o protocol.Origin, boot, who string) (v protocol.Copies, err error) {
	var refused error
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		s := i.sessions[o]
		if s == nil {
			refused = unpicked(o, errNotQuarantined)
			return nil
		}
		if refused = unpicked(o, s.copies.pick(boot, who, nowUS)); refused != nil {
			return nil //nolint:nilerr // told to the caller; nothing was changed
		}
		i.keepCopies(s)
		v = s.copies.view(s)
		i.o.Log.Info().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Str("who", who).Str("boot", boot).Msg("copy picked")
		return nil
	})
	return v, errors.Join(err, refused)
}

// unpicked says to a person why nothing was picked.
func unpicked(o protocol.Origin, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotQuarantined):
		return protocol.NewProblem(http.StatusNotFound, "no_copies", "No copies of this agent were quarantined", o.String(), "its incidents say what is wrong with it")
	case errors.Is(err, errPicked):
		return protocol.NewProblem(http.StatusConflict, "copy_picked", "A copy was picked already", err.Error(), "give the other machine an agent name of its own")
	default:
		return protocol.NewProblem(http.StatusUnprocessableEntity, "unknown_copy", "No such copy was heard", err.Error(), "GET …/copies lists those that were")
	}
}

// speaks names one process on one connection.
type speaks struct {
	origin protocol.Origin
	boot   string
}

// speakers notes that a process is merged under another name than its own.
func (i *Ingest) speakers(o protocol.Origin, boot string, as protocol.Origin) {
	old := i.others.Load()
	if old != nil && (*old)[speaks{o, boot}] == as {
		return
	}
	m := map[speaks]protocol.Origin{}
	if old != nil {
		maps.Copy(m, *old)
		maps.DeleteFunc(m, func(_ speaks, v protocol.Origin) bool { return v == as }) // it was restarted
	}
	m[speaks{o, boot}] = as
	i.others.Store(&m)
}

// Speaker is the name under which a process is merged: its own, unless it is a copy
// that was not picked. It may be called from anywhere.
func (i *Ingest) Speaker(o protocol.Origin, boot string) protocol.Origin {
	if m := i.others.Load(); m != nil {
		if as, ok := (*m)[speaks{o, boot}]; ok {
			return as
		}
	}
	return o
}
