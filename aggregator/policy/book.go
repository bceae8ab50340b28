package policy

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"tillwire/protocol"
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("policy chunk is damaged")

// Book holds the policies with their versions, oldest first.
type Book struct {
	all   map[string][]protocol.Policy
	dirty map[uint16]bool
	rev   uint64

	live, versions int
	goneUS         int64 // what was in force before may lack a version that is forgotten
}

// New makes an empty book.
func New() *Book { return &Book{all: map[string][]protocol.Policy{}, dirty: map[uint16]bool{}} }

// Rev grows with every change.
func (b *Book) Rev() uint64 { return b.rev }

// Put makes a new version of a policy; nil where nothing would change. The caller
// journals the version and applies it.
func (b *Book) Put(p *protocol.Policy, who string, nowUS int64) (*protocol.Policy, *protocol.Problem) {
	v := &p.Values
	if p.Scope.Channel != "" && (v.SafetyStock != nil || v.Threshold != nil || v.ServiceLevel != nil || v.Escrow != nil || v.DarkAfterS != nil || v.Sourcing != nil || v.OnConflict != nil) {
		return nil, refuse(422, "invalid_field", "A channel's policy states a fence or low_at only",
			"/scope/channel stands with values that hold for every channel", "make two policies: one with the channel for fence and low_at, one without it")
	}
	next := *p
	next.Version, next.ChangedBy, next.ChangedAt, next.Deleted = 1, who, time.UnixMicro(nowUS).UTC(), false
	last, known := b.last(p.PolicyID)
	if known {
		if same(last, &next) {
			return nil, nil //nolint:nilnil // no change and no problem
		}
		next.Version = last.Version + 1
	}
	if b.live >= policiesMax && (!known || last.Deleted) {
		return nil, refuse(409, "too_many_policies", "There are too many policies", fmt.Sprintf("%d are kept", policiesMax), "state one policy for a category or a group instead of one per position")
	}
	return &next, nil
}

// Delete makes the version that ends a policy; nil where it has ended already.
func (b *Book) Delete(id, who string, nowUS int64) (*protocol.Policy, *protocol.Problem) {
	last, ok := b.last(id)
	if !ok {
		return nil, refuse(404, "unknown_policy", "No such policy", id, "GET /v1/policies lists them")
	}
	if last.Deleted {
		return nil, nil //nolint:nilnil // no change and no problem
	}
	next := *last
	next.Version, next.ChangedBy, next.ChangedAt, next.Deleted = last.Version+1, who, time.UnixMicro(nowUS).UTC(), true
	return &next, nil
}

func refuse(status int, code, title, detail, hint string) *protocol.Problem {
	return protocol.NewProblem(status, code, title, detail, hint)
}

func (b *Book) last(id string) (*protocol.Policy, bool) {
	v := b.all[id]
	if len(v) == 0 {
		return nil, false
	}
	return &v[len(v)-1], true
}

// same tells whether two versions state the same. Dates are moments: their zones
// may be spelt otherwise.
func same(a, b *protocol.Policy) bool {
	moment := func(x, y *time.Time) bool { return (x == nil) == (y == nil) && (x == nil || x.Equal(*y)) }
	return a.Scope == b.Scope && a.Note == b.Note && a.Deleted == b.Deleted && reflect.DeepEqual(&a.Values, &b.Values) &&
		moment(a.ValidFrom, b.ValidFrom) && moment(a.ValidTo, b.ValidTo)
}

// Apply takes a version, live or on replay. What it points to is the book's then.
func (b *Book) Apply(p *protocol.Policy) {
	b.put(p)
	b.dirty[shardOf(p.PolicyID)] = true
	b.forget(p.PolicyID)
}

func (b *Book) put(p *protocol.Policy) {
	if last, ok := b.last(p.PolicyID); ok && !last.Deleted {
		b.live--
	}
	if !p.Deleted {
		b.live++
	}
	b.all[p.PolicyID] = append(b.all[p.PolicyID], *p)
	b.versions++
	b.rev++
}

// forget keeps the bounds after a policy got a version. The newest version of one
// that has not ended always stays. The scans cost a look at each policy, but only
// at the bounds.
func (b *Book) forget(id string) {
	if len(b.all[id]) > versionsMax {
		b.drop(id)
	}
	if b.versions > versionsAll {
		b.drop(b.oldest(func(v []protocol.Policy) bool { return len(v) > 1 }))
	}
	if len(b.all)-b.live > endedMax {
		for gone := b.oldest(func(v []protocol.Policy) bool { return v[len(v)-1].Deleted }); len(b.all[gone]) > 0; {
			b.drop(gone)
		}
	}
}

// oldest names the policy that was longest without a change among those that
// qualify.
func (b *Book) oldest(qualifies func([]protocol.Policy) bool) (best string) {
	var at time.Time
	for id, v := range b.all {
		if c := v[len(v)-1].ChangedAt; qualifies(v) && (best == "" || c.Before(at) || c.Equal(at) && id < best) {
			best, at = id, c
		}
	}
	return best
}

// drop forgets a policy's oldest version. It was in force until the next, or ended
// it.
func (b *Book) drop(id string) {
	v := b.all[id]
	b.goneUS = max(b.goneUS, v[min(1, len(v)-1)].ChangedAt.UnixMicro())
	b.versions--
	b.dirty[shardOf(id)], b.dirty[bookChunk] = true, true
	if len(v) == 1 {
		delete(b.all, id)
		return
	}
	b.all[id] = slices.Clone(v[1:])
}

// List returns the newest version of each policy that has not ended, by id.
func (b *Book) List() []protocol.Policy {
	out := []protocol.Policy{}
	for _, id := range slices.Sorted(maps.Keys(b.all)) {
		if p, _ := b.last(id); !p.Deleted {
			out = append(out, *p)
		}
	}
	return out
}

// History returns the versions of a policy, newest first.
func (b *Book) History(id string) []protocol.Policy {
	v := slices.Clone(b.all[id])
	slices.Reverse(v)
	return v
}
