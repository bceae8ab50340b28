// Package ledger is the contract of the aggregator's durable memory: an
// append-only log of merged events, one mark per journal, exceptions, small
// facts, and checkpoints of what was folded from the log. Backends live below
// (bolt); Conformance in ledgertest holds them to this text.
//
// The ledger knows nothing of what events mean. It promises that a Commit is
// all or nothing and on disk when it returns nil, that positions are contiguous
// from 1, and that Find knows every event id ever committed.
package ledger

import (
	"context"
	"errors"
	"strings"
	"time"

	"tillwire/protocol"
)

// Position of an entry in the log; the first is 1, 0 means none.
type Position uint64

// CellID is the dense number of a (location, SKU) pair, from 1 in order of
// first appearance in the log.
type CellID uint32

// OriginID is the dense number of a journal, from 1 in order of appearance.
type OriginID uint32

// Cell names a CellID.
type Cell struct {
	ID       CellID
	Location protocol.StoreID
	SKU      protocol.SKU
}

// Journal names an OriginID.
type Journal struct {
	ID     OriginID
	Origin protocol.Origin
}

// Link threads the entries that touch one cell: Prev is the entry before.
// Walking from a cell's newest entry backwards visits all its movements
// without an index.
type Link struct {
	Cell CellID
	Prev Position
}

// Entry is one merged event.
type Entry struct {
	Position Position
	Origin   OriginID
	Epoch    uint64
	Seq      uint64
	MergedUS int64            // aggregator clock, microseconds
	EventID  protocol.EventID // of the record; indexed for Find unless Ref is set
	Content  [8]byte          // content hash of the record, see protocol.Event.ContentHash
	Ref      Position         // not 0: this entry only completes an earlier one (a void whose original came later); no record
	Links    []Link
	Record   []byte
}

// Fork says from where on an epoch's events are not those of the epoch before.
type Fork struct {
	Epoch uint64 `json:"epoch"`
	After uint64 `json:"after"` // seqs up to here are shared with the epoch before
}

// Mark is how far one journal is merged. It is compared and set: Commit fails
// with ErrFenced where the stored mark is not WasEpoch/WasLease/WasSeq.
type Mark struct {
	Origin    protocol.Origin `json:"origin"`
	Epoch     uint64          `json:"epoch"`
	Lease     uint64          `json:"lease"`
	Seq       uint64          `json:"seq"`
	Chain     protocol.Chain  `json:"chain"`
	SafeSeq   uint64          `json:"safe_seq"`
	InstallID string          `json:"install_id,omitempty"`
	BootID    string          `json:"boot_id,omitempty"`
	HeadSeen  uint64          `json:"head_seen,omitempty"` // highest head ever heard in this epoch
	Forks     []Fork          `json:"forks,omitempty"`
	RecordUS  int64           `json:"record_us,omitempty"` // record time at Seq
	MergedUS  int64           `json:"merged_us,omitempty"`
	Own       uint64          `json:"own,omitempty"` // merged events that the agent wrote of itself, each once: Kind.OfAgent

	WasEpoch uint64 `json:"-"`
	WasLease uint64 `json:"-"`
	WasSeq   uint64 `json:"-"`
}

// Chunk is a piece of folded state; the fold decides what is in it.
type Chunk struct {
	No   uint32
	Data []byte
}

// Fact is a small named value: the cloud generation, a spent enrolment code.
// A nil value deletes.
type Fact struct {
	Key   string
	Value []byte
}

// Batch is one transaction.
type Batch struct {
	Journals   []Journal
	Cells      []Cell
	Entries    []Entry // Position contiguous from Head()+1
	Marks      []Mark
	Exceptions []protocol.Exception // inserted, or replaced by ID
	Facts      []Fact
	Chunks     []Chunk
	Checkpoint Position // not 0: Chunks bring the stored fold to this position
}

// Errors of the contract.
var (
	ErrFenced   = errors.New("mark was moved by another session")
	ErrNotFound = errors.New("not in the ledger")
	ErrCorrupt  = errors.New("ledger is corrupt")
	ErrFailed   = errors.New("ledger has failed and must be reopened")
)

// Filter selects exceptions; empty fields match all. Limit 0 means 1,000.
type Filter struct {
	State string
	Code  string
	Store protocol.StoreID
	After string // ID to continue behind
	Limit int

	Source string    // SourceAgents, or a feed's name
	Since  time.Time // parked then or later
	Until  time.Time // parked before
}

// SourceAgents are all stores' agents, as a source of exceptions.
const SourceAgents = "agents"

// SourceOf names the source of what an origin sends: a feed by its own name.
func SourceOf(o protocol.Origin) string {
	if o.IsFeed() {
		return strings.TrimPrefix(string(o.Agent), protocol.FeedAgentPrefix)
	}
	return SourceAgents
}

// Match tells whether an exception is meant; where it stands in the list aside.
func (f *Filter) Match(e *protocol.Exception) bool {
	return (f.State == "" || e.State == f.State) && (f.Code == "" || e.Code == f.Code) && (f.Store == "" || e.Origin.Store == f.Store) &&
		(f.Source == "" || SourceOf(e.Origin) == f.Source) && (f.Since.IsZero() || !e.At.Before(f.Since)) && (f.Until.IsZero() || e.At.Before(f.Until))
}

// Stats are for the metrics.
type Stats struct {
	Head      Position
	Bytes     int64 // file size
	FreeBytes int64
	CommitUS  int64 // last commit's duration
}

// Ledger is what a backend provides. One goroutine commits; any may read.
type Ledger interface {
	// Commit makes b durable as a whole, or not at all. ErrFenced, and ctx's
	// error where ctx had ended before anything was begun, leave the ledger as
	// it was. After any other error it is failed and every later Commit answers
	// ErrFailed: whether the batch is on disk is known only after a reopen.
	// A failed ledger still reads its log up to Head; all else answers
	// ErrFailed. b is the caller's again when Commit returns.
	Commit(ctx context.Context, b *Batch) error
	// Head is the position of the newest entry.
	Head() Position
	// Read returns one entry, verified by its checksum.
	Read(p Position) (Entry, error)
	// Scan calls fn for each entry from p on, up to the head of the moment it
	// began. The entry is fn's to keep; records of neighbours share memory, so
	// who keeps a few for long clones them. fn may not call Commit.
	Scan(p Position, fn func(*Entry) error) error
	// Find tells where an event id was committed and with what content. That
	// an id is committed once is the caller's care: Commit does not look.
	// Whoever has seen Head ≥ p finds the event at p.
	Find(id protocol.EventID) (p Position, content [8]byte, ok bool, err error)
	Marks() ([]Mark, error) // in order of store and agent
	Journals() ([]Journal, error)
	// Cells calls fn in order of ID.
	Cells(fn func(Cell) error) error
	// Checkpoint returns the position of the stored fold and calls fn with
	// its chunks in order of No.
	Checkpoint(fn func(Chunk) error) (Position, error)
	Exceptions(f Filter) ([]protocol.Exception, error) // in order of ID
	Exception(id string) (protocol.Exception, error)
	// CountExceptions counts those that are open.
	CountExceptions() (int, error)
	Fact(key string) ([]byte, error) // ErrNotFound
	Stats() Stats
	Close() error
}
