package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
)

// Errors of Admit.
var (
	ErrRevoked  = errors.New("this identity is revoked; enrol the host again")
	ErrReplaced = errors.New("another host was enrolled in this one's place")
)

// record is what the book holds of one agent.
//
//	enrolled (key) ──renew──▶ key, next ──next connects──▶ key = next
//	       └──revoke──▶ revoked ──enrol again──▶ enrolled with another key
type record struct {
	Agent      protocol.AgentID `json:"agent"`
	Key        string           `json:"key,omitempty"`  // of the certificate in use; "" has a token instead
	Next       string           `json:"next,omitempty"` // issued by a renewal, not seen yet
	Serial     string           `json:"serial,omitempty"`
	EnrolledUS int64            `json:"enrolled_us,omitempty"`
	IssuedUS   int64            `json:"issued_us,omitempty"`
	NotAfterUS int64            `json:"not_after_us,omitempty"`
	Revoked    bool             `json:"revoked,omitempty"`
	RevokedUS  int64            `json:"revoked_us,omitempty"` // stays when it is enrolled again: older tokens stay refused
	RevokedBy  string           `json:"revoked_by,omitempty"`
	Reason     string           `json:"reason,omitempty"`
}

// Keeper stores the book: a value for each store, and the list of stores. Put
// returns when the value is durable; Get answers nil where there is none.
type Keeper struct {
	Get func(key string) ([]byte, error)
	Put func(ctx context.Context, key string, value []byte) error
}

// Names of what a Keeper stores.
const (
	keyStores = "identity/stores"
	keyStore  = "identity/store/" // + store
)

// Book says who may speak. It is safe for concurrent use; reading never waits for
// the disk.
type Book struct {
	keep Keeper
	now  func() time.Time

	writing sync.Mutex   // one change at a time, from reading a record to having kept it
	mu      sync.RWMutex // guards stores; slices in it are replaced, never written to
	stores  map[protocol.StoreID][]record
}

// OpenBook reads what was kept.
func OpenBook(k Keeper, now func() time.Time) (*Book, error) {
	b := &Book{keep: k, now: now, stores: map[protocol.StoreID][]record{}}
	var stores []protocol.StoreID
	if err := b.read(keyStores, &stores); err != nil {
		return nil, err
	}
	for _, s := range stores {
		var list []record
		if err := b.read(keyStore+string(s), &list); err != nil {
			return nil, err
		}
		b.stores[s] = list
	}
	return b, nil
}

func (b *Book) read(key string, into any) error {
	v, err := b.keep.Get(key)
	if err == nil && v != nil {
		err = json.Unmarshal(v, into)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}

func (b *Book) find(o protocol.Origin) (record, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, r := range b.stores[o.Store] {
		if r.Agent == o.Agent {
			return r, true
		}
	}
	return record{Agent: o.Agent}, false
}

// change lets fn change an agent's record, keeps it, and then shows it to readers:
// what is answered to anybody is on disk.
func (b *Book) change(ctx context.Context, o protocol.Origin, fn func(*record) error) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	r, _ := b.find(o)
	if err := fn(&r); err != nil {
		return err
	}
	b.mu.RLock()
	old, known := b.stores[o.Store]
	names := make([]protocol.StoreID, 0, len(b.stores)+1)
	for s := range b.stores {
		names = append(names, s)
	}
	b.mu.RUnlock()
	list := append(slices.DeleteFunc(slices.Clone(old), func(x record) bool { return x.Agent == o.Agent }), r)
	slices.SortFunc(list, func(x, y record) int { return strings.Compare(string(x.Agent), string(y.Agent)) })
	if !known { // the list first: a name in it without a record is nobody, a record that no list names would be lost
		names = append(names, o.Store)
		slices.Sort(names)
		if err := b.put(ctx, keyStores, names); err != nil {
			return err
		}
	}
	if err := b.put(ctx, keyStore+string(o.Store), list); err != nil {
		return err
	}
	b.mu.Lock()
	b.stores[o.Store] = list
	b.mu.Unlock()
	return nil
}

func (b *Book) put(ctx context.Context, key string, v any) error {
	j, err := json.Marshal(v)
	if err == nil {
		err = b.keep.Put(ctx, key, j)
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", key, err)
	}
	return nil
}

// Issued is a certificate as the book writes it down; the zero value is a token.
type Issued struct {
	Key, Serial string
	US          int64 // when, in microseconds
	NotAfter    time.Time
}

// Enrolled writes down a new host: whatever the name had before is void.
func (b *Book) Enrolled(ctx context.Context, o protocol.Origin, c Issued) error {
	return b.change(ctx, o, func(r *record) error {
		now := b.now().UnixMicro()
		if c.US == 0 {
			c.US = now
		}
		*r = record{Agent: o.Agent, Key: c.Key, Serial: c.Serial, EnrolledUS: now, IssuedUS: c.US, NotAfterUS: micros(c.NotAfter), RevokedUS: r.RevokedUS}
		return nil
	})
}

// Renewed writes down the certificate that is to follow the one in use. Both are
// good until the new one connects: the answer may be lost on its way.
func (b *Book) Renewed(ctx context.Context, p Peer, c Issued) error {
	return b.change(ctx, p.Origin, func(r *record) error {
		if err := r.admits(p.Issued); err != nil {
			return err
		}
		r.Key, r.Next, r.Serial, r.IssuedUS, r.NotAfterUS, r.Revoked = p.Issued.Key, c.Key, c.Serial, c.US, micros(c.NotAfter), false
		return nil
	})
}

// Seen tells that a certificate has connected. Where it is the next one, the former
// is void from now on; where the book does not know it, it is written down.
func (b *Book) Seen(ctx context.Context, p Peer) error {
	if r, known := b.find(p.Origin); known && r.Key == p.Issued.Key && !r.Revoked {
		return nil
	}
	return b.change(ctx, p.Origin, func(r *record) error {
		c := p.Issued
		if err := r.admits(c); err != nil { // judged anew: another was enrolled meanwhile, say
			return err
		}
		if r.Next == c.Key {
			r.Key, r.Next = r.Next, ""
		} else if r.Key != c.Key {
			*r = record{Agent: r.Agent, Key: c.Key, Serial: c.Serial, EnrolledUS: c.US, IssuedUS: c.US, NotAfterUS: micros(c.NotAfter), RevokedUS: r.RevokedUS}
		}
		return nil
	})
}

// Revoke shuts an agent out, by whatever it proves itself.
func (b *Book) Revoke(ctx context.Context, o protocol.Origin, by, reason string) error {
	return b.change(ctx, o, func(r *record) error {
		r.Revoked, r.RevokedUS, r.RevokedBy, r.Reason = true, b.now().UnixMicro(), by, reason[:min(len(reason), reasonMax)]
		r.Next = ""
		return nil
	})
}

// Admit says whether who shows this certificate may speak.
func (b *Book) Admit(o protocol.Origin, c Issued) error {
	r, _ := b.find(o)
	return r.admits(c)
}

// admits believes the certificates that the record names, and any that is newer than
// all that it knows: no certificate leaves us before it is written down, so a newer
// one tells that the book was restored from before it.
func (r *record) admits(c Issued) error {
	switch {
	case c.Key == "":
		return ErrReplaced
	case !r.Revoked && (c.Key == r.Key || c.Key == r.Next):
		return nil
	case c.US > r.IssuedUS && c.US > r.RevokedUS:
		return nil
	case r.Revoked:
		return ErrRevoked
	}
	return ErrReplaced
}

// KeysOf are those that an agent's certificates have.
func (b *Book) KeysOf(o protocol.Origin) (keys []string) {
	r, _ := b.find(o)
	for _, k := range []string{r.Key, r.Next} {
		if k != "" {
			keys = append(keys, k)
		}
	}
	return keys
}

// AdmitToken says whether a token that was issued then may speak: it must be younger
// than the last revocation, and no certificate may have come in its place.
func (b *Book) AdmitToken(o protocol.Origin, issued time.Time) error {
	r, known := b.find(o)
	switch {
	case !known:
		return nil // made by a shell: nothing was written down
	case r.Revoked || r.RevokedUS > 0 && issued.Unix() <= r.RevokedUS/1e6:
		return ErrRevoked
	case r.Key != "":
		return ErrReplaced
	}
	return nil
}

// TokenFrom is the earliest moment at which a token for an agent may be said to be
// issued: behind its last revocation.
func (b *Book) TokenFrom(o protocol.Origin) time.Time {
	r, _ := b.find(o)
	if r.RevokedUS == 0 {
		return time.Time{}
	}
	return time.UnixMicro(r.RevokedUS).Truncate(time.Second).Add(time.Second)
}

// List tells of all, by store and agent.
func (b *Book) List() []protocol.Identity {
	b.mu.RLock()
	defer b.mu.RUnlock()
	now := b.now().UnixMicro()
	out := []protocol.Identity{}
	for s, list := range b.stores {
		for i := range list {
			out = append(out, list[i].shown(s, now))
		}
	}
	slices.SortFunc(out, func(x, y protocol.Identity) int {
		return strings.Compare(string(x.Store)+"/"+string(x.Agent), string(y.Store)+"/"+string(y.Agent))
	})
	return out
}

// Of tells of one.
func (b *Book) Of(o protocol.Origin) (protocol.Identity, bool) {
	r, known := b.find(o)
	return r.shown(o.Store, b.now().UnixMicro()), known
}

func (r *record) shown(s protocol.StoreID, nowUS int64) protocol.Identity {
	i := protocol.Identity{
		Store: s, Agent: r.Agent, Kind: "certificate", Status: "active", Serial: r.Serial, KeySHA256: r.Key,
		EnrolledAt: stamp(r.EnrolledUS), IssuedAt: stamp(r.IssuedUS), NotAfter: stamp(r.NotAfterUS),
	}
	if r.Key == "" {
		i.Kind = "token"
	}
	switch {
	case r.Revoked:
		i.Status, i.RevokedAt, i.RevokedBy, i.Reason = "revoked", stamp(r.RevokedUS), r.RevokedBy, r.Reason
	case r.NotAfterUS != 0 && nowUS > r.NotAfterUS:
		i.Status = "expired"
	case r.NotAfterUS != 0 && nowUS > r.IssuedUS+(r.NotAfterUS-r.IssuedUS)*5/6:
		i.Status = "expiring" // it should have renewed itself, at 17/24 at the latest
	}
	return i
}

func stamp(us int64) *time.Time {
	if us == 0 {
		return nil
	}
	t := time.UnixMicro(us).UTC()
	return &t
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
