package gateway

// Owed is one key of which the newest value is to be told.
type Owed struct {
	Key   string
	Since int64  // µs, when it was first marked
	After uint64 // ledger position: the change that marked it lies behind it
	Tries int    // times that it was taken and came back
	Force bool   // tell it though nothing may have changed: somebody asked
	Alone bool   // in a call of its own: one with others was wrong as a whole
}

// Pending is what one partner is still to be told: one entry per key, however often
// it changed, in the order of their first change. It holds no values: they are read
// when they are sent, so that what goes out is what holds.
type Pending struct {
	max   int
	m     map[string]*Owed
	order []string // from head on; a key stands in it once
	head  int

	Coalesced uint64
}

// NewPending holds at most limit keys.
func NewPending(limit int) *Pending { return &Pending{max: limit, m: map[string]*Owed{}} }

// Len counts the keys.
func (p *Pending) Len() int { return len(p.m) }

// Has tells whether a key waits.
func (p *Pending) Has(key string) bool { return p.m[key] != nil }

// Mark notes that a key changed. false: there is no room, and the caller has to find
// the key again later.
func (p *Pending) Mark(key string, us int64, after uint64, force bool) bool {
	if o := p.m[key]; o != nil {
		p.Coalesced++
		o.Force = o.Force || force
		return true
	}
	if len(p.m) >= p.max {
		return false
	}
	p.m[key] = &Owed{Key: key, Since: us, After: after, Force: force}
	p.order = append(p.order, key)
	return true
}

// Take removes up to n keys, the oldest first.
func (p *Pending) Take(n int) []Owed {
	var out []Owed
	for len(out) < n && p.head < len(p.order) {
		key := p.order[p.head]
		p.order[p.head] = ""
		p.head++
		if o := p.m[key]; o != nil {
			out = append(out, *o)
			delete(p.m, key)
		}
	}
	if p.head > 1024 && p.head*2 > len(p.order) {
		p.order = append([]string(nil), p.order[p.head:]...)
		p.head = 0
	}
	return out
}

// Back puts keys in front again that were not accepted. One that changed meanwhile
// keeps the age of its first change.
func (p *Pending) Back(list []Owed) {
	front := make([]string, 0, len(list)+len(p.order)-p.head)
	for _, o := range list {
		o.Tries++
		if now := p.m[o.Key]; now != nil {
			p.Coalesced++
			o.Force = o.Force || now.Force
		}
		p.m[o.Key] = &o
		front = append(front, o.Key)
	}
	back := map[string]bool{}
	for _, k := range front {
		back[k] = true
	}
	for _, k := range p.order[p.head:] {
		if !back[k] {
			front = append(front, k)
		}
	}
	p.order, p.head = front, 0
}

// Drop forgets a key.
func (p *Pending) Drop(key string) {
	if p.m[key] == nil {
		return
	}
	delete(p.m, key)
	for i := p.head; i < len(p.order); i++ {
		if p.order[i] == key {
			p.order = append(p.order[:i], p.order[i+1:]...)
			return
		}
	}
}

// Oldest is the entry that waits longest.
func (p *Pending) Oldest() (Owed, bool) {
	for i := p.head; i < len(p.order); i++ {
		if o := p.m[p.order[i]]; o != nil {
			return *o, true
		}
	}
	return Owed{}, false
}
