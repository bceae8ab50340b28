package protocol

import "time"

// Command is one thing to do (topic dn/command). It is sent until its result is
// merged; an agent does it once, whatever it is told again.
type Command struct {
	V          int    `json:"v"`
	CommandID  string `json:"command_id"`
	CommandSeq uint64 `json:"command_seq"` // rises per agent
	Kind       string `json:"kind"`
	FromSeq    uint64 `json:"from_seq,omitempty"` // replay
	NotAfterUS int64  `json:"not_after_us"`       // aggregator's clock; later it is not begun
}

// The kinds of commands.
const (
	CommandReplay = "replay"         // offer the journal again from a seq, under a new epoch; event ids dedupe
	CommandBundle = "support_bundle" // send state, configuration without secrets, and counters
)

// The states of a command. Those from accepted on are journaled by the agent as
// events of kind command, with document id {command_id}:{state}.
const (
	CommandIssued   = "issued"
	CommandAccepted = "accepted"
	CommandDone     = "done"
	CommandFailed   = "failed"
	CommandRefused  = "refused" // the agent does not know its kind
	CommandExpired  = "expired" // not begun before not_after
)

// CommandDocumentID names the event of a command's state.
func CommandDocumentID(id, state string) string { return id + ":" + state }

// CommandEnded tells whether nothing follows a state.
func CommandEnded(state string) bool {
	switch state {
	case CommandDone, CommandFailed, CommandRefused, CommandExpired:
		return true
	}
	return false
}

// BundlePart is a piece of a support bundle (topic up/bundle).
type BundlePart struct {
	V         int    `json:"v"`
	CommandID string `json:"command_id"`
	Part      int    `json:"part"` // from 0
	Parts     int    `json:"parts"`
	SHA256    string `json:"sha256"` // of the whole, hex
	Data      []byte `json:"data"`   // base64
}

// Bounds of bundles: sixteen parts that fit into control messages.
const (
	BundleBytesMax     = 512 << 10
	BundlePartBytesMax = 32 << 10
)

// CommandState is what the API tells of a command.
type CommandState struct {
	CommandID  string     `json:"command_id"`
	CommandSeq uint64     `json:"command_seq"`
	Kind       string     `json:"kind"`
	FromSeq    uint64     `json:"from_seq,omitempty"`
	State      string     `json:"state"`
	Reason     string     `json:"reason,omitempty"`
	IssuedBy   string     `json:"issued_by"`
	IssuedAt   time.Time  `json:"issued_at"`
	NotAfter   time.Time  `json:"not_after"`
	EndedAt    *time.Time `json:"ended_at,omitempty"`
	Bundle     bool       `json:"bundle"` // GET …/bundle has it
}
