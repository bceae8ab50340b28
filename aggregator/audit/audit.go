package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Facts of the trail: one per entry, and one that says which there are.
const (
	factEntry = "audit/"
	factRange = "audit-range"
)

// Options are what the trail works with.
type Options struct {
	Now  func() time.Time
	Fact func(key string) ([]byte, error)                  // ledger.ErrNotFound: there is none
	Put  func(ctx context.Context, f ...ledger.Fact) error // durable, all or nothing
	Kept int                                               // 0: Kept
}

// Trail is safe for concurrent use.
type Trail struct {
	o Options

	writing sync.Mutex // held over a Put: entries reach the ledger in order of their numbers

	mu    sync.RWMutex // guards what follows
	first uint64       // number of list[0]
	list  []protocol.AuditEntry
}

type span struct {
	First uint64 `json:"first"`
	Next  uint64 `json:"next"`
}

// Open reads the trail.
func Open(o Options) (*Trail, error) {
	if o.Kept == 0 {
		o.Kept = Kept
	}
	t := &Trail{o: o, first: 1}
	raw, err := o.Fact(factRange)
	if errors.Is(err, ledger.ErrNotFound) {
		return t, nil
	}
	var s span
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return nil, fmt.Errorf("read audit trail: %w", err)
	}
	t.first = s.First
	for no := s.First; no < s.Next; no++ {
		e := protocol.AuditEntry{No: no}
		raw, err := o.Fact(key(no))
		if err == nil {
			err = json.Unmarshal(raw, &e)
		}
		if err != nil {
			return nil, fmt.Errorf("read audit entry %d: %w", no, err)
		}
		t.list = append(t.list, e)
	}
	return t, nil
}

func key(no uint64) string { return fmt.Sprintf("%s%012d", factEntry, no) }

// Record adds an entry. No and At are set here.
func (t *Trail) Record(ctx context.Context, e protocol.AuditEntry) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.mu.RLock()
	first, next := t.first, t.first+uint64(len(t.list))
	t.mu.RUnlock()
	e.No, e.At = next, t.o.Now().UTC()
	e.Before, e.After = short(e.Before), short(e.After)
	for _, s := range []*string{&e.Who, &e.Object, &e.Note, &e.Refused} {
		if len(*s) > textBytesMax {
			*s = strings.ToValidUTF8((*s)[:textBytesMax], "") + "…"
		}
	}
	raw, err := json.Marshal(&e)
	if err != nil {
		return fmt.Errorf("encode audit entry: %w", err)
	}
	facts := []ledger.Fact{{Key: key(next), Value: raw}}
	if next+1-first > uint64(t.o.Kept) {
		facts = append(facts, ledger.Fact{Key: key(first)})
		first++
	}
	at, err := json.Marshal(span{first, next + 1})
	if err != nil {
		return fmt.Errorf("encode audit range: %w", err)
	}
	if err := t.o.Put(ctx, append(facts, ledger.Fact{Key: factRange, Value: at})...); err != nil {
		return fmt.Errorf("keep audit entry: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list[first-t.first:], e) // what is cut off goes when the slice next grows
	t.first = first
	return nil
}

// short leaves out what is too large to keep, and says so.
func short(raw json.RawMessage) json.RawMessage {
	if len(raw) <= stateBytesMax {
		return raw
	}
	return json.RawMessage(fmt.Sprintf(`"left out: %d bytes"`, len(raw)))
}

// List returns entries, newest first; before 0 begins with the newest.
func (t *Trail) List(f protocol.AuditFilter) []protocol.AuditEntry {
	if f.Limit <= 0 || f.Limit > PageMax {
		f.Limit = PageMax
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := []protocol.AuditEntry{}
	for i := len(t.list) - 1; i >= 0 && len(out) < f.Limit; i-- {
		if e := &t.list[i]; f.Match(e) {
			out = append(out, *e)
		}
	}
	return out
}
