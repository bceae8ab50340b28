package channel

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"tillwire/protocol"
)

// DeadLetters are what of one partner cannot take effect, the newest of it. Each
// change is durable when its call returns.
type DeadLetters struct {
	facts Facts
	key   string

	writing sync.Mutex // one change at a time

	mu   sync.Mutex // guards what follows
	list []protocol.DeadLetter
}

// OpenDeadLetters reads those kept under a key.
func OpenDeadLetters(f Facts, key string) (*DeadLetters, error) {
	d := &DeadLetters{facts: f, key: key}
	if err := f.Load(key, &d.list); err != nil {
		return nil, err
	}
	return d, nil
}

// Add keeps one; of one id the newest. The oldest goes where there are too many.
func (d *DeadLetters) Add(ctx context.Context, x protocol.DeadLetter) error {
	x.Reason = cut(x.Reason, deadReasonMax)
	x.Document = cut(x.Document, deadDocumentMax)
	return d.edit(ctx, func(list []protocol.DeadLetter) []protocol.DeadLetter {
		list = slices.DeleteFunc(list, func(o protocol.DeadLetter) bool { return o.ID == x.ID })
		list = append(list, x)
		return list[max(0, len(list)-deadLettersMax):]
	})
}

func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// Remove takes one out. false: there is none of that id.
func (d *DeadLetters) Remove(ctx context.Context, id string) (protocol.DeadLetter, bool, error) {
	was, ok := d.Get(id)
	if !ok {
		return was, false, nil
	}
	err := d.edit(ctx, func(list []protocol.DeadLetter) []protocol.DeadLetter {
		return slices.DeleteFunc(list, func(o protocol.DeadLetter) bool { return o.ID == id })
	})
	return was, true, err
}

func (d *DeadLetters) edit(ctx context.Context, f func([]protocol.DeadLetter) []protocol.DeadLetter) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	is := f(d.List())
	if err := d.facts.Save(ctx, d.key, is); err != nil {
		return err
	}
	d.mu.Lock()
	d.list = is
	d.mu.Unlock()
	return nil
}

// Clear forgets all, with their place in the ledger.
func (d *DeadLetters) Clear(ctx context.Context) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.facts.Put(ctx, d.key, nil); err != nil {
		return err
	}
	d.mu.Lock()
	d.list = nil
	d.mu.Unlock()
	return nil
}

// List tells them, the oldest first.
func (d *DeadLetters) List() []protocol.DeadLetter {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list)
}

// Len counts them.
func (d *DeadLetters) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.list)
}

// Get finds one.
func (d *DeadLetters) Get(id string) (protocol.DeadLetter, bool) {
	for _, x := range d.List() {
		if x.ID == id {
			return x, true
		}
	}
	return protocol.DeadLetter{}, false
}

// NoSuchLetter is the answer where an id is of none.
func NoSuchLetter(id string) *protocol.Problem {
	return protocol.NewProblem(http.StatusNotFound, "unknown_dead_letter", "No such dead letter", id, "list them: the path without the id")
}
