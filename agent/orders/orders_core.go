package orders

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tillwire/protocol"
)

// Settings are what desired state sets; zero values mean the agent's own defaults.
type Settings struct {
	HeartbeatS   int    `json:"heartbeat_s,omitempty"`
	AgentVersion string `json:"agent_version,omitempty"`
}

// parse reads a desired state. A key that is not known, or a value that makes no
// sense, refuses the whole.
func parse(d *protocol.Desired) (s Settings, why string) {
	if wrong := protocol.CheckDesired(d.Values); len(wrong) > 0 {
		return s, fmt.Sprintf("version %d: %q %s", d.Version, strings.TrimPrefix(wrong[0].Pointer, "/"), wrong[0].Message)
	}
	for _, k := range protocol.Settings() {
		v, ok := d.Values[k.Key]
		if !ok {
			continue
		}
		if err := json.Unmarshal(v, s.field(k.Key)); err != nil {
			return Settings{}, fmt.Sprintf("version %d: %q %s", d.Version, k.Key, err)
		}
	}
	return s, ""
}

// field is where the value of a key goes.
func (s *Settings) field(key string) any {
	switch key {
	case protocol.DesiredHeartbeatS:
		return &s.HeartbeatS
	case protocol.DesiredAgentVersion:
		return &s.AgentVersion
	}
	return nil // json refuses to write there
}

// kept is what orders.json holds.
type kept struct {
	Version  uint64   `json:"version"` // of the desired state that is applied
	Settings Settings `json:"settings"`
	Ended    []ended  `json:"ended,omitempty"` // oldest first
}

// ended is a command that has its result.
type ended struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

func (k *kept) find(id string) *ended {
	for i := range k.Ended {
		if k.Ended[i].ID == id {
			return &k.Ended[i]
		}
	}
	return nil
}

func (k *kept) end(e ended) {
	k.Ended = append(k.Ended, e)
	if n := len(k.Ended) - endedMax; n > 0 {
		k.Ended = slices.Delete(k.Ended, 0, n)
	}
}

// refuse says why a command is not begun, and what state that is; "" where it may
// be. nowUS is the aggregator's clock, as far as it is known.
func refuse(c *protocol.Command, nowUS int64) (state, why string) {
	switch {
	case c.Kind != protocol.CommandReplay && c.Kind != protocol.CommandBundle:
		return protocol.CommandRefused, fmt.Sprintf("this agent does not know commands of kind %.64q", c.Kind)
	case nowUS > c.NotAfterUS:
		return protocol.CommandExpired, fmt.Sprintf("it came %d s too late", (nowUS-c.NotAfterUS)/1_000_000)
	}
	return "", ""
}

// event is the journal's record of a command's state. Its id depends on the
// command alone: it counts once, however often it is written.
func event(o protocol.Origin, id, state, reason string, at protocol.Stamp) *protocol.Event {
	e := &protocol.Event{
		Kind: protocol.KindCommand, Store: o.Store, DocumentID: protocol.CommandDocumentID(id, state), EventTime: at,
		Action: state, Reason: reason[:min(len(reason), reasonBytes)],
	}
	e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
	return e
}
