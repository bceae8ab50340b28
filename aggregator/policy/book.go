package policy

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"time"

	"tillwire/protocol"
)

// Bounds of the book.
const (
	versionsMax  = 100
	policiesMax  = 100_000
	shards       = 256
	chunkVersion = 1
)

// ErrChunk is a checkpoint chunk or a change that cannot be read.
var ErrChunk = errors.New("policy chunk is damaged")

// Book holds the policies with their versions, oldest first.
type Book struct {
	all   map[string][]protocol.Policy
	dirty map[uint8]bool
	rev   uint64
}

// New makes an empty book.
func New() *Book { return &Book{all: map[string][]protocol.Policy{}, dirty: map[uint8]bool{}} }

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
	if last, ok := b.last(p.PolicyID); ok {
		if same(last, &next) {
			return nil, nil //nolint:nilnil // no change and no problem
		}
		next.Version = last.Version + 1
	} else if len(b.all) >= policiesMax {
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

func same(a, b *protocol.Policy) bool {
	x, y := *a, *b
	x.Version, x.ChangedBy, x.ChangedAt = y.Version, y.ChangedBy, y.ChangedAt
	return reflect.DeepEqual(x, y)
}

// Apply takes a version, live or on replay.
func (b *Book) Apply(p *protocol.Policy) {
	v := append(b.all[p.PolicyID], *p)
	if len(v) > versionsMax {
		v = slices.Clone(v[len(v)-versionsMax:])
	}
	b.all[p.PolicyID] = v
	b.dirty[shardOf(p.PolicyID)] = true
	b.rev++
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

func shardOf(id string) uint8 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return uint8(h.Sum32() % shards)
}

// Chunks emits the shards that changed since the last call: a version, then each
// policy's versions as JSON behind their length, in order of id.
func (b *Book) Chunks(emit func(no uint32, data []byte)) error {
	for _, s := range slices.Sorted(maps.Keys(b.dirty)) {
		data := []byte{chunkVersion}
		for _, id := range slices.Sorted(maps.Keys(b.all)) {
			if shardOf(id) != s {
				continue
			}
			j, err := json.Marshal(b.all[id])
			if err != nil {
				return fmt.Errorf("encode policy %s: %w", id, err)
			}
			data = append(binary.AppendUvarint(data, uint64(len(j))), j...)
		}
		emit(uint32(s), data)
	}
	clear(b.dirty)
	return nil
}

// Restore reads a chunk back.
func (b *Book) Restore(no uint32, data []byte) error {
	if len(data) == 0 || data[0] != chunkVersion {
		return fmt.Errorf("restore chunk %d: %w: unknown version", no, ErrChunk)
	}
	for data = data[1:]; len(data) > 0; {
		n, k := binary.Uvarint(data)
		if k <= 0 || n > uint64(len(data)-k) {
			return fmt.Errorf("restore chunk %d: %w: cut short", no, ErrChunk)
		}
		var v []protocol.Policy
		if err := json.Unmarshal(data[k:k+int(n)], &v); err != nil {
			return fmt.Errorf("restore chunk %d: %w: %w", no, ErrChunk, err)
		}
		if len(v) == 0 || uint32(shardOf(v[0].PolicyID)) != no {
			return fmt.Errorf("restore chunk %d: %w: a policy does not belong there", no, ErrChunk)
		}
		b.all[v[0].PolicyID] = v
		b.rev++
		data = data[k+int(n):]
	}
	return nil
}
