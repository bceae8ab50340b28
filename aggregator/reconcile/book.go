package reconcile

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"

	"tillwire/protocol"
)

// Book holds the rows of drift and what is known of the locations. One goroutine
// uses it.
type Book struct {
	rules  Rules
	places map[protocol.StoreID]*place
	pairs  []*pair // in order of source, then location
	heads  []*row  // of each shard, chained
	rows   int
	open   int
	drops  Dropped

	decided  map[string]*residueDecision
	residues []residue // as last offered, in order of id; not part of the state
	unlisted int

	dirtyRows     map[uint16]bool
	dirtyPlaces   map[uint16]bool
	dirtyResidues map[uint16]bool
	dirtyBook     bool
}

// Dropped counts what went at a bound. Open rows begin anew with the next
// statement.
type Dropped struct {
	Agreeing, Dismissed, Open uint64 // rows
	Decided                   uint64 // decisions of residues, of which the oldest
	Unlisted                  uint64 // residues offered last that are not listed: the youngest of too many
}

// place is one location.
type place struct {
	location protocol.StoreID
	kind     string // store | dc, as last stated
	agents   bool   // agents journal there
	first    string // the source that first stated or moved anything
	pairs    []*pair
	rows     int
	agreeing int // settled or adopted
}

// pair is what one source states of one location. The rows with SKU "" are about
// a whole statement.
type pair struct {
	*place
	source    string
	adoptedUS int64 // as_of of the newest statement of which a line was taken
	rows      map[protocol.SKU]*row
	states    [stateMax]int  // rows in each
	order     []protocol.SKU // sorted; nil after rows came or went
}

type row struct {
	pair     *pair
	sku      protocol.SKU
	next     *row // of the shard
	stated   int64
	book     int64
	asOfUS   int64
	firstUS  int64
	lastUS   int64
	snapshot string
	whole    *whole    // rows of a whole statement
	decision *decision // by a person
	cycles   uint32
	kind     kind
	state    state
	cut      cut
	why      why
}

// whole says why a whole statement was refused.
type whole struct {
	zeroed, nonZero int64
	exceptions      []string // under which its parts are parked
}

type decision struct {
	us        int64
	who, note string
}

type (
	kind  byte
	state byte
	cut   byte
	why   byte
)

// Numbers are on disk.
const (
	kindDrift kind = iota
	kindZeroing
	kindMax
)

// Numbers are on disk.
const (
	stateOpen state = iota
	stateAdopted
	stateDismissed
	stateSettled
	stateMax
)

// Numbers are on disk.
const (
	cutOwn cut = iota
	cutAcknowledged
	cutInferred
	cutMax
)

// Numbers are on disk.
const (
	whyNone     why = iota
	whyCycles       // stated often enough in a row
	whyCertain      // the cut is certain
	whyFirst        // the position had no anchor
	whyApproved     // by a person
	whyMax
)

var (
	kindNames  = [...]string{"drift", "mass_zeroing"}
	stateNames = [...]string{"open", "adopted", "dismissed", "settled"}
	cutNames   = [...]string{"own", "acknowledged", "inferred"}
)

// New makes an empty book.
func New(r Rules) *Book {
	return &Book{
		rules: r.complete(), places: map[protocol.StoreID]*place{}, heads: make([]*row, rowShards), decided: map[string]*residueDecision{},
		dirtyRows: map[uint16]bool{}, dirtyPlaces: map[uint16]bool{}, dirtyResidues: map[uint16]bool{},
	}
}

// Len is how many rows there are, residues aside.
func (b *Book) Len() int { return b.rows }

// Dropped tells what went at a bound.
func (b *Book) Dropped() Dropped {
	d := b.drops
	d.Unlisted = uint64(b.unlisted)
	return d
}

// Moved takes note that a feed moved stock at a location: the first that ever did
// is its record where neither rules nor agents say otherwise. The caller tells it
// of every such document of the log, live and on replay; telling twice is the
// same as telling once.
func (b *Book) Moved(loc protocol.StoreID, source string) {
	p := b.places[loc]
	if p != nil && p.first != "" || p == nil && len(b.places) >= pairsMax || protocol.CheckName(source) != nil || protocol.CheckName(string(loc)) != nil {
		return
	}
	b.place(loc).spoke(source)
	b.dirtyPlaces[hash(placeShards, string(loc))] = true
}

// stated takes what a statement tells of its location.
func (p *place) stated(source, kind string, agents bool) {
	p.kind, p.agents = kind, agents
	p.spoke(source)
}

// spoke remembers the first source; one that calls itself "store" is not the store.
func (p *place) spoke(source string) {
	if p.first == "" && source != OwnerStore {
		p.first = strings.Clone(source) // a part of a record
	}
}

func (b *Book) place(loc protocol.StoreID) *place {
	p := b.places[loc]
	if p == nil {
		loc = protocol.StoreID(strings.Clone(string(loc)))
		p = &place{location: loc}
		b.places[loc] = p
	}
	return p
}

// lookup finds a pair; nil where the source never stated anything there.
func (b *Book) lookup(source string, loc protocol.StoreID) *pair {
	if p := b.places[loc]; p != nil {
		for _, x := range p.pairs {
			if x.source == source {
				return x
			}
		}
	}
	return nil
}

func (b *Book) pair(source string, loc protocol.StoreID) *pair {
	if x := b.lookup(source, loc); x != nil {
		return x
	}
	x := &pair{place: b.place(loc), source: source, rows: map[protocol.SKU]*row{}}
	x.pairs = append(x.pairs, x)
	at, _ := slices.BinarySearchFunc(b.pairs, x, comparePairs)
	b.pairs = slices.Insert(b.pairs, at, x)
	return x
}

func comparePairs(x, y *pair) int {
	return cmp.Or(cmp.Compare(x.source, y.source), cmp.Compare(x.location, y.location))
}

func hash(n uint32, parts ...string) uint16 {
	h := fnv.New32a()
	for _, s := range parts {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return uint16(h.Sum32() % n)
}

func (r *row) shard() uint16 {
	return hash(rowShards, r.pair.source, string(r.pair.location), string(r.sku))
}

func (r *row) agrees() bool { return r.state == stateSettled || r.state == stateAdopted }

// count adds a row to the counters, or takes it off, before and after its state
// changes.
func (b *Book) count(r *row, n int) {
	r.pair.states[r.state] += n
	if r.state == stateOpen {
		b.open += n
	}
	if r.agrees() {
		r.pair.agreeing += n
	}
}

// edit changes a row, or makes it.
func (b *Book) edit(p *pair, sku protocol.SKU, fn func(r *row)) {
	r := p.rows[sku]
	if r == nil {
		r = &row{pair: p, sku: sku}
		fn(r)
		b.insert(r)
	} else {
		b.count(r, -1)
		fn(r)
		b.count(r, 1)
	}
	b.dirtyRows[r.shard()] = true
}

func (b *Book) insert(r *row) {
	p := r.pair
	s := r.shard()
	p.rows[r.sku], p.order = r, nil
	r.next, b.heads[s] = b.heads[s], r
	b.count(r, 1)
	p.place.rows++
	b.rows++
}

func (b *Book) remove(r *row) {
	s := r.shard()
	for at := &b.heads[s]; *at != nil; at = &(*at).next {
		if *at == r {
			*at = r.next
			break
		}
	}
	p := r.pair
	b.count(r, -1)
	delete(p.rows, r.sku)
	p.order = nil
	p.place.rows--
	b.rows--
	b.dirtyRows[s] = true
}

// bound drops rows where a location has too many, or all have: first those that
// agree, then those dismissed, then open ones, the oldest of each first.
func (b *Book) bound(p *place) {
	if p.rows > locationRowsMax {
		b.drop(p, p.rows-locationRowsMax+locationRowsMax/dropShare)
	}
	for b.rows > rowsMax {
		best := p
		for _, x := range b.places {
			if c := cmp.Or(cmp.Compare(x.agreeing, best.agreeing), cmp.Compare(x.rows, best.rows), cmp.Compare(best.location, x.location)); c > 0 {
				best = x
			}
		}
		n := best.agreeing
		if n == 0 {
			n = best.rows
		}
		b.drop(best, n/dropShare+1)
	}
}

func (b *Book) drop(p *place, n int) {
	list := make([]*row, 0, p.rows)
	for _, x := range p.pairs {
		for _, r := range x.rows {
			list = append(list, r)
		}
	}
	class := func(r *row) int {
		switch {
		case r.agrees():
			return 0
		case r.state == stateDismissed:
			return 1
		}
		return 2
	}
	slices.SortFunc(list, func(x, y *row) int {
		return cmp.Or(cmp.Compare(class(x), class(y)), cmp.Compare(x.lastUS, y.lastUS), cmp.Compare(x.pair.source, y.pair.source), cmp.Compare(x.sku, y.sku))
	})
	for _, r := range list[:min(n, len(list))] {
		switch class(r) {
		case 0:
			b.drops.Agreeing++
		case 1:
			b.drops.Dismissed++
		default:
			b.drops.Open++
		}
		b.remove(r)
	}
	b.dirtyBook = true
}
