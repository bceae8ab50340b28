package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

// Orders are those of one agent. The JSON is what the ledger keeps of them.
type Orders struct {
	Desired   protocol.Desired `json:"desired"`
	DesiredBy string           `json:"desired_by,omitempty"`
	DesiredUS int64            `json:"desired_us,omitempty"`
	LastSeq   uint64           `json:"last_seq"`
	Commands  []Command        `json:"commands,omitempty"` // oldest first

	applied uint64 // as the last heartbeat said
	refused string
	sentUS  int64 // of the desired state
}

// Command is one, with what became of it.
//
//	issued ──▶ accepted ──▶ done | failed
//	   └─────▶ refused | expired
type Command struct {
	protocol.Command
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
	IssuedUS int64  `json:"issued_us"`
	IssuedBy string `json:"issued_by"`
	EndedUS  int64  `json:"ended_us,omitempty"`

	sentUS int64
}

// Errors of orders that cannot be given.
var (
	ErrFull    = errors.New("too many commands wait for their results")
	ErrInvalid = errors.New("order is not acceptable")
	ErrChanged = errors.New("the desired state was changed meanwhile")
)

// Want makes a new version of the desired state. Values that are wanted already
// make none. One value that cannot be applied refuses the whole, here as at the
// agent: a slip is told to who made it, not to a shop. base, where it is not nil, is
// the version that the caller has read: what was wanted since is not overwritten.
func (o *Orders) Want(values map[string]json.RawMessage, base *uint64, who string, nowUS int64) error {
	if wrong := protocol.CheckDesired(values); len(wrong) > 0 {
		return fmt.Errorf("%w: %s %s", ErrInvalid, strings.TrimPrefix(wrong[0].Pointer, "/"), wrong[0].Message)
	}
	if base != nil && *base != o.Desired.Version {
		return fmt.Errorf("%w: it is version %d now, not %d", ErrChanged, o.Desired.Version, *base)
	}
	if o.Desired.Version != 0 && equal(o.Desired.Values, values) {
		return nil
	}
	// Versions follow the clock, so that a restored ledger does not give one again.
	o.Desired = protocol.Desired{V: protocol.Version, Version: max(o.Desired.Version, o.applied, uint64(max(nowUS, 0))) + 1, Values: values}
	o.DesiredBy, o.DesiredUS, o.refused, o.sentUS = who, nowUS, "", 0
	return nil
}

func equal(a, b map[string]json.RawMessage) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || string(v) != string(w) {
			return false
		}
	}
	return true
}

// Issue adds a command.
func (o *Orders) Issue(c protocol.Command, who string, nowUS int64) (*Command, error) {
	switch {
	case c.Kind != protocol.CommandReplay && c.Kind != protocol.CommandBundle:
		return nil, fmt.Errorf("%w: kind %.64q; %s and %s are known", ErrInvalid, c.Kind, protocol.CommandReplay, protocol.CommandBundle)
	case c.Kind == protocol.CommandReplay && c.FromSeq == 0:
		return nil, fmt.Errorf("%w: a replay needs from_seq, at least 1", ErrInvalid)
	case c.NotAfterUS <= nowUS || c.NotAfterUS > nowUS+ValidMax.Microseconds():
		return nil, fmt.Errorf("%w: it must be valid for at most %s", ErrInvalid, ValidMax)
	}
	open := 0
	for i := range o.Commands {
		if !protocol.CommandEnded(o.Commands[i].State) {
			open++
		}
	}
	if open >= openMax {
		return nil, fmt.Errorf("%w: %d", ErrFull, open)
	}
	o.LastSeq++
	c.V, c.CommandSeq = protocol.Version, o.LastSeq
	o.Commands = append(o.Commands, Command{Command: c, State: protocol.CommandIssued, IssuedUS: nowUS, IssuedBy: who})
	if n := len(o.Commands); n > keptMax {
		if i := slices.IndexFunc(o.Commands, func(c Command) bool { return protocol.CommandEnded(c.State) }); i >= 0 {
			o.Commands = slices.Delete(o.Commands, i, i+1)
		}
	}
	return &o.Commands[len(o.Commands)-1], nil
}

// Told takes a merged event of an agent; it is true where something is to be kept.
// A state never goes back: events of a journal that is offered again change nothing.
func (o *Orders) Told(e *protocol.Event, nowUS int64) bool {
	id, state, _ := strings.Cut(e.DocumentID, ":")
	c := o.Find(id)
	if c == nil || protocol.CommandEnded(c.State) || state != protocol.CommandAccepted && !protocol.CommandEnded(state) || state == c.State {
		return false
	}
	c.State, c.Reason = strings.Clone(state), strings.Clone(e.Reason[:min(len(e.Reason), reasonBytes)]) // kept: not the whole frame with them
	if protocol.CommandEnded(state) {
		c.EndedUS = nowUS
	}
	return true
}

// Find looks a command up.
func (o *Orders) Find(id string) *Command {
	for i := range o.Commands {
		if o.Commands[i].CommandID == id {
			return &o.Commands[i]
		}
	}
	return nil
}

// Heard takes what a heartbeat says of the desired state.
func (o *Orders) Heard(applied uint64, refused string) {
	o.applied, o.refused = applied, refused[:min(len(refused), reasonBytes)]
}

// Due lists what to send now: at a session's begin all that is open, later what was
// not answered for a while. A command whose time is over is sent all the same: the
// agent alone knows whether it began, and its answer ends it.
func (o *Orders) Due(begin bool, nowUS int64) (desired *protocol.Desired, commands []protocol.Command) {
	ripe := func(sentUS int64) bool { return begin || sentUS == 0 || nowUS-sentUS >= resendUS }
	if o.Desired.Version > o.applied && (o.refused == "" || begin) && ripe(o.sentUS) {
		o.sentUS = nowUS
		desired = &o.Desired
	}
	for i := range o.Commands {
		if c := &o.Commands[i]; !protocol.CommandEnded(c.State) && ripe(c.sentUS) {
			c.sentUS = nowUS
			commands = append(commands, c.Command)
		}
	}
	return desired, commands
}

// State is what the API tells of the desired state.
func (o *Orders) State() protocol.DesiredState {
	s := protocol.DesiredState{
		Version: o.Desired.Version, Values: o.Desired.Values, By: o.DesiredBy, AppliedVersion: o.applied, Refused: o.refused,
	}
	if s.Values == nil {
		s.Values = map[string]json.RawMessage{}
	}
	if o.DesiredUS != 0 {
		at := time.UnixMicro(o.DesiredUS).UTC()
		s.At = &at
	}
	return s
}

// View is what the API tells of a command.
func (c *Command) View() protocol.CommandState {
	v := protocol.CommandState{
		CommandID: c.CommandID, CommandSeq: c.CommandSeq, Kind: c.Kind, FromSeq: c.FromSeq, State: c.State, Reason: c.Reason, IssuedBy: c.IssuedBy,
		IssuedAt: time.UnixMicro(c.IssuedUS).UTC(), NotAfter: time.UnixMicro(c.NotAfterUS).UTC(),
	}
	if c.EndedUS != 0 {
		at := time.UnixMicro(c.EndedUS).UTC()
		v.EndedAt = &at
	}
	return v
}
