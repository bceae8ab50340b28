package protocol

import "encoding/json"

// Version of the link protocol; a peer with another major is refused.
const Version = 1

// Hello is the agent's first word on a fresh connection (topic up/hello).
type Hello struct {
	V           int    `json:"v"`
	InstallID   string `json:"install_id"`      // random per journal file, survives restarts
	BootID      string `json:"boot_id"`         // random per process start
	Epoch       uint64 `json:"epoch"`           // 0: never met an aggregator
	Lease       uint64 `json:"lease,omitempty"` // highest that this process was given
	Tail        uint64 `json:"tail"`            // first retained seq; head+1 when empty
	Head        uint64 `json:"head"`            // last journaled seq; 0 when empty
	ChainTail   Chain  `json:"chain_tail"`      // chain before the tail record (at tail-1)
	ChainHead   Chain  `json:"chain_head"`
	Agent       string `json:"agent_version"`
	Generation  uint64 `json:"generation"`   // cloud generation last seen
	MergedSeq   uint64 `json:"merged_seq"`   // what this agent believes is merged in Epoch
	ChainMerged Chain  `json:"chain_merged"` // its own chain at MergedSeq
	BootReason  string `json:"boot_reason,omitempty"`
	ConfigVer   uint64 `json:"config_version,omitempty"`
	Replay      bool   `json:"replay,omitempty"` // a new epoch is wanted that begins behind MergedSeq
	SentUS      int64  `json:"sent_us"`
}

// Probe asks the agent for its own chain at a seq, before a lineage is judged.
// Welcome carries what the aggregator holds; the agent compares.

// Welcome answers a Hello (topic dn/welcome).
type Welcome struct {
	V            int    `json:"v"`
	Node         string `json:"node"`
	BootID       string `json:"boot_id"` // of the Hello answered; others are ignored
	Epoch        uint64 `json:"epoch"`
	Lease        uint64 `json:"lease"`
	Rebase       bool   `json:"rebase"` // new epoch: re-offer everything from MergedSeq+1 under it
	MergedSeq    uint64 `json:"merged_seq"`
	ChainMerged  Chain  `json:"chain_merged"`
	SafeSeq      uint64 `json:"safe_seq"`
	Credit       int    `json:"credit"`
	StartAfterMS int64  `json:"start_after_ms"`
	PaceMS       int64  `json:"pace_ms"`
	Generation   uint64 `json:"generation"`
	ServerUS     int64  `json:"server_us"`
	Refused      string `json:"refused,omitempty"` // why merging is refused; journaling goes on
}

// NackReason says why a frame was not merged.
type NackReason string

// The reasons, and what the agent does next.
const (
	NackNone        NackReason = ""
	NackGap         NackReason = "gap"         // resend from expected
	NackChain       NackReason = "chain"       // own chain differs: say HELLO again
	NackSuperseded  NackReason = "superseded"  // lease is old: another process speaks for this agent
	NackUpgrade     NackReason = "upgrade"     // unknown required flag or version
	NackMalformed   NackReason = "malformed"   // frame unreadable: resend; after 3, HELLO
	NackNoSession   NackReason = "no_session"  // HELLO first
	NackBusy        NackReason = "busy"        // queue full: wait pace_ms
	NackQuarantined NackReason = "quarantined" // copies of this agent speak: a person must pick one
)

// Ack tells how far the ledger has merged (topic dn/ack). It is cumulative.
type Ack struct {
	V           int        `json:"v"`
	Epoch       uint64     `json:"epoch"`
	Lease       uint64     `json:"lease"`
	MergedSeq   uint64     `json:"merged_seq"`
	ChainMerged Chain      `json:"chain_merged"`
	SafeSeq     uint64     `json:"safe_seq"`
	Credit      int        `json:"credit"`
	PaceMS      int64      `json:"pace_ms"`
	Nack        NackReason `json:"nack,omitempty"`
	Expected    uint64     `json:"expected,omitempty"` // with gap: the seq wanted next
	EchoUS      int64      `json:"echo_us"`            // Frame.SentUS of the newest frame merged
	RecvUS      int64      `json:"recv_us"`            // aggregator clock when it arrived
	SendUS      int64      `json:"send_us"`            // aggregator clock now
}

// RegisterSeen is the last write of one register.
type RegisterSeen struct {
	Register string `json:"register"`
	LastUS   int64  `json:"last_us"` // record time
}

// Heartbeat is the agent's state (topic up/heartbeat/{node}, QoS 0).
type Heartbeat struct {
	V               int               `json:"v"`
	Epoch           uint64            `json:"epoch"`
	Lease           uint64            `json:"lease"`
	BootID          string            `json:"boot_id"`
	SentUS          int64             `json:"sent_us"`
	Head            uint64            `json:"head"`
	Merged          uint64            `json:"merged"`
	Safe            uint64            `json:"safe"`
	Tail            uint64            `json:"tail"`
	OldestUnackedUS int64             `json:"oldest_unacked_us"` // record time; 0 = none
	BacklogEvents   uint64            `json:"backlog_events"`
	BacklogBytes    uint64            `json:"backlog_bytes"`
	DrainPerS       float64           `json:"drain_per_s"`
	Registers       []RegisterSeen    `json:"registers,omitempty"`
	LastPOSUS       int64             `json:"last_pos_us"` // last POS write; 0 = none since start of journal
	LastError       string            `json:"last_error,omitempty"`
	DiskFreeBytes   uint64            `json:"disk_free_bytes"`
	JournalBytes    uint64            `json:"journal_bytes"`
	FsyncP99US      int64             `json:"fsync_p99_us"`
	ClockOffsetMS   int64             `json:"clock_offset_ms"`
	ClockErrorMS    int64             `json:"clock_error_ms"`
	AgentVersion    string            `json:"agent_version"`
	ConfigVersion   uint64            `json:"config_version"`
	HoldsRev        uint64            `json:"holds_rev,omitempty"`      // of the Holds that the agent has stored
	ConfigRefused   string            `json:"config_refused,omitempty"` // why a newer desired state is not applied
	BootReason      string            `json:"boot_reason,omitempty"`
	UptimeS         int64             `json:"uptime_s"`
	Counters        map[string]uint64 `json:"counters,omitempty"` // every rejection and quarantine
	Update          *UpdateState      `json:"update,omitempty"`   // of the agent's program; nil: nothing to tell
	CertNotAfterUS  int64             `json:"cert_not_after_us,omitempty"`
	CertRenewUS     int64             `json:"cert_renew_us,omitempty"` // when the agent begins to ask for the next one
}

// UpdateFailed is the state of an update that the aggregator itself understands.
const UpdateFailed = "failed"

// UpdateState is how an agent's update of itself stands.
type UpdateState struct {
	Slot   string `json:"slot,omitempty"`   // the program runs out of; "" is the installed one
	State  string `json:"state"`            // off, idle, looking, fetching, trial, failed
	Wanted string `json:"wanted,omitempty"` // by desired state
	Reason string `json:"reason,omitempty"` // why the wanted version does not run
}

// Names of heartbeat counters that the aggregator itself understands.
const (
	CounterCorrupt  = "corrupt_records"  // met by readers
	CounterSalvaged = "salvaged_records" // kept by salvages since the process started
	CounterLost     = "lost_records"     // lost by them
)

// Will is published by the broker when the connection dies (topic up/will).
type Will struct {
	V      int    `json:"v"`
	Lease  uint64 `json:"lease"`
	BootID string `json:"boot_id"`
}

// EncodeControl writes a control message.
func EncodeControl(m any) ([]byte, error) { return json.Marshal(m) }

// DecodeControl reads a control message of at most ControlBytesMax. Unknown
// fields are skipped: a newer peer may say more.
func DecodeControl(b []byte, m any) error {
	if len(b) > ControlBytesMax {
		return &SizeError{What: "control message", Got: len(b), Max: ControlBytesMax}
	}
	return json.Unmarshal(b, m)
}
