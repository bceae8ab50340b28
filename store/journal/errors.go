package journal

import (
	"errors"
	"fmt"

	"tillwire/protocol"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrFull means that the disk floor is reached. Nothing was journaled.
	ErrFull = errors.New("disk floor reached: free space on the volume of the journal")
	// ErrRecovering means that a commit failed and the file is being reopened
	// and checked. Whether the event is journaled is open: retry with the same
	// document id.
	ErrRecovering = errors.New("journal is recovering from a failed commit: retry with the same id")
	// ErrQueueFull means that too much waits for the disk. Nothing was journaled.
	ErrQueueFull = errors.New("journal queue is full: retry")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("journal is closed")
	// ErrIDReused is matched by *IDReusedError.
	ErrIDReused = errors.New("event id was journaled with another content")
	// ErrTrimmed means that the record asked for is no longer retained.
	ErrTrimmed = errors.New("record was trimmed")
	// ErrBeyondHead means that the record asked for does not exist yet.
	ErrBeyondHead = errors.New("record is beyond the head")
	// ErrLocked means that another process has the journal open.
	ErrLocked = errors.New("journal is open in another process")

	errNoID = errors.New("event has no id")
)

// IDReusedError says which record already holds an event id with another
// content. errors.Is(err, ErrIDReused) holds.
type IDReusedError struct {
	ID  protocol.EventID
	Seq uint64 // of the first
}

func (e *IDReusedError) Error() string {
	return fmt.Sprintf("event id %s was journaled at seq %d with another content", e.ID, e.Seq)
}

// Is makes errors.Is(err, ErrIDReused) hold.
func (e *IDReusedError) Is(target error) bool { return target == ErrIDReused }

// CorruptError says what of a file is not what was written.
type CorruptError struct {
	Path string
	What string // the thing that is damaged, e.g. "record 4711"
	Got  string
	Want string
}

func (e *CorruptError) Error() string {
	s := "journal is corrupt: " + e.What
	if e.Got != "" || e.Want != "" {
		s += ": got " + e.Got + ", want " + e.Want
	}
	if e.Path != "" {
		s += " (" + e.Path + ")"
	}
	return s
}
