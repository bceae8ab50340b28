package orders

import (
	"encoding/json"
	"fmt"
	"slices"

	"tillwire/protocol"
)

// Settings are what desired state sets; zero values mean the agent's own defaults.
type Settings struct {
	HeartbeatS   int    `json:"heartbeat_s,omitempty"`
	AgentVersion string `json:"agent_version,omitempty"`
}

// parse reads a desired state. A key that is not known, or a value that makes no
// sense, refuses the whole: half of a document is a state that nobody wanted.
func parse(d *protocol.Desired) (s Settings, why string) {
	keys := make([]string, 0, len(d.Values))
	for k := range d.Values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		v := d.Values[k]
		var err error
		switch {
		case len(v) > valueBytes:
			err = fmt.Errorf("has %d bytes, at most %d", len(v), valueBytes)
		case k == protocol.DesiredHeartbeatS:
			if err = json.Unmarshal(v, &s.HeartbeatS); err == nil && (s.HeartbeatS < 5 || s.HeartbeatS > 30) {
				err = fmt.Errorf("is %d, must be 5 to 30", s.HeartbeatS)
			}
		case k == protocol.DesiredAgentVersion:
			if err = json.Unmarshal(v, &s.AgentVersion); err == nil && (s.AgentVersion == "" || len(s.AgentVersion) > protocol.NameBytesMax) {
				err = fmt.Errorf("must have 1 to %d bytes", protocol.NameBytesMax)
			}
		default:
			err = fmt.Errorf("is not known to this agent")
		}
		if err != nil {
			return Settings{}, fmt.Sprintf("version %d: %.64q %s", d.Version, k, err)
		}
	}
	return s, ""
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
