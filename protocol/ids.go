package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// StoreID is a shop or another place that holds stock (DC1).
type StoreID string

// AgentID names one journal inside a store: "server", "till-03", "feed:wms".
type AgentID string

// Origin names one journal of the chain.
type Origin struct {
	Store StoreID `json:"store"`
	Agent AgentID `json:"agent"`
}

// String is "store/agent", which is also the MQTT client id.
func (o Origin) String() string { return string(o.Store) + "/" + string(o.Agent) }

// IsFeed tells whether the journal is kept by the aggregator for an outer
// system instead of by an agent.
func (o Origin) IsFeed() bool { return strings.HasPrefix(string(o.Agent), FeedAgentPrefix) }

// FeedAgentPrefix starts the agent part of journals of WMS, ERP and others. A
// colon cannot occur in a name that an agent may claim.
const FeedAgentPrefix = "feed:"

var errName = errors.New("must be 1 to 64 of A-Z a-z 0-9 -")

// CheckName validates a store or agent name against [A-Za-z0-9-]{1,64}: they
// become MQTT topic levels and file names.
func CheckName(s string) error {
	if s == "" || len(s) > NameBytesMax {
		return errName
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' {
			return errName
		}
	}
	return nil
}

// EventID identifies a business fact for ever, whichever journal carries it.
type EventID [16]byte

// MakeEventID derives the id from what the POS promises to be unique: its own
// document id within store and kind. A till that retries through another agent
// of the shop therefore still counts once.
func MakeEventID(store StoreID, kind Kind, documentID string) EventID {
	var room [256]byte // names and ids fit; longer ones grow off the stack
	b := append(room[:0], "tw1\x00"...)
	b = append(append(b, store...), 0)
	b = append(append(b, kind.String()...), 0)
	sum := sha256.Sum256(append(b, documentID...))
	return EventID(sum[:16])
}

func (id EventID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes 32 hex digits.
func (id EventID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads 32 hex digits.
func (id *EventID) UnmarshalText(b []byte) error { return unhex(id[:], b, "event id") }

// Chain is the hash over a journal's records up to one of them.
type Chain [16]byte

// Next extends the chain by one record.
func (c Chain) Next(record []byte) Chain {
	var room [1024]byte
	b := append(room[:0], c[:]...)
	sum := sha256.Sum256(append(b, record...))
	return Chain(sum[:16])
}

func (c Chain) String() string { return hex.EncodeToString(c[:]) }

// MarshalText writes 32 hex digits.
func (c Chain) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads 32 hex digits.
func (c *Chain) UnmarshalText(b []byte) error { return unhex(c[:], b, "chain") }

func unhex(dst, b []byte, what string) error {
	if len(b) != 2*len(dst) {
		return fmt.Errorf("parse %s: got %d characters, want %d", what, len(b), 2*len(dst))
	}
	if _, err := hex.Decode(dst, b); err != nil {
		return fmt.Errorf("parse %s: %w", what, err)
	}
	return nil
}
