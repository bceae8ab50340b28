package posting

import (
	"cmp"
	"errors"
	"slices"

	"tillwire/protocol"
)

// Movement is what one log entry did to one position of a store.
type Movement struct {
	Cell        uint32
	Class       Class
	Day         int32 // business day, in days since 1970-01-01
	CountDay    int32 // of the count that Changed differs from Moved for
	Moved       protocol.Quantity
	Changed     protocol.Quantity                                  // on hand
	Unavailable [protocol.DispositionsUnsellable]protocol.Quantity // of what is there but not sellable
}

// Book is what is owed to ERPs. One goroutine uses it.
//
//	movements ──▶ rows (store, article, day, class) ──cut──▶ documents ──▶ posted
//	              netted until their window closes           due, parked    discarded
type Book struct {
	accounts map[protocol.StoreID]*Account
	numbered []*Account // by their number, which is that of their chunk
	erps     map[string]*tally
	docs     map[string]*Doc
	list     []*Doc // in order of their numbers

	number     uint64 // of the newest document
	generation uint64
	held       bool // the ledger was restored: nothing is posted until a person says so
	adopted    int
	dirtyDocs  map[uint32]bool
	dirtyMeta  bool
}

// tally is an ERP's sums.
type tally struct {
	due       map[string]*Doc
	parked    int
	posted    uint64
	discarded uint64
	lines     uint64 // posted
	lastUS    int64  // of a posting
}

// Account is a store whose movements are owed to an ERP.
type Account struct {
	store     protocol.StoreID
	erp       string
	open      bool // takes movements
	number    int
	lastCutUS int64
	minDay    int32 // no row is of an earlier day
	rows      map[uint64]row
	sources   map[uint64][]uint64 // entries behind counts' rows
	dirty     bool
}

// row is what one class of movements of one article on one day comes to so far.
type row struct {
	qty         protocol.Quantity
	first, last uint64 // entries of the log between which its movements stand
}

// A row's key holds its cell, day and class.
func rowKey(cell uint32, day int32, class Class) uint64 {
	return uint64(cell)<<24 | uint64(uint16(day))<<8 | uint64(class)
}

func cutKey(k uint64) (cell uint32, day int32, class Class) {
	return uint32(k >> 24), int32(uint16(k >> 8)), Class(k)
}

// New makes an empty book: no store owes anything to any ERP.
func New() *Book {
	return &Book{
		accounts: map[protocol.StoreID]*Account{}, erps: map[string]*tally{}, docs: map[string]*Doc{}, dirtyDocs: map[uint32]bool{},
	}
}

// Active tells whether any store's movements are netted.
func (b *Book) Active() bool {
	for _, a := range b.numbered {
		if a.open {
			return true
		}
	}
	return false
}

// Account is a store's where its movements are netted, else nil.
func (b *Book) Account(store protocol.StoreID) *Account {
	if a := b.accounts[store]; a != nil && a.open {
		return a
	}
	return nil
}

// ERP names whose documents an account's movements become.
func (a *Account) ERP() string { return a.erp }

// Add nets a movement that stands in the log at an entry. mergedDay is the day on
// which it was merged: a till whose calendar runs ahead must not date documents
// into next year. told says that the ERP itself told it, so that only what a count
// of ours makes of it is owed; anchor, that it was a statement.
//
// What a document says it moved is its class's; what on hand changed beyond that
// is the count's. So all rows of a position add up to its on hand, whatever came
// late, and sales stay what was sold.
func (a *Account) Add(at uint64, mergedDay int32, told, anchor bool, m *Movement) {
	if m.Moved != 0 && !told {
		a.net(at, m.Cell, min(m.Day, mergedDay+1), m.Class, m.Moved)
	}
	if d := m.Changed - m.Moved; d != 0 && !(told && anchor) {
		k := a.net(at, m.Cell, min(m.CountDay, mergedDay+1), ClassCount, d)
		if list := a.sources[k]; len(list) < countSources && (len(list) == 0 || list[len(list)-1] != at) {
			a.sources[k] = append(list, at)
		}
	}
	for i, q := range m.Unavailable {
		if q != 0 && !told {
			a.net(at, m.Cell, min(m.Day, mergedDay+1), ClassDamaged+Class(i), q)
		}
	}
}

// Open nets what a position held when the ERP was connected.
func (a *Account) Open(at uint64, day int32, cell uint32, onHand protocol.Quantity, unavailable [protocol.DispositionsUnsellable]protocol.Quantity) {
	if onHand != 0 {
		a.net(at, cell, day, ClassOpening, onHand)
	}
	for i, q := range unavailable {
		if q != 0 {
			a.net(at, cell, day, ClassDamaged+Class(i), q)
		}
	}
}

func (a *Account) net(at uint64, cell uint32, day int32, class Class, q protocol.Quantity) uint64 {
	k := rowKey(cell, day, class)
	r := a.rows[k]
	if r.first == 0 {
		r.first = at
		a.minDay = min(a.minDay, day)
	}
	r.qty += q
	r.last = at
	a.rows[k] = r
	a.dirty = true
	return k
}

// Waiting is how many rows are netted for an ERP and not yet cut.
func (b *Book) Waiting(erp string) (n int) {
	for _, a := range b.numbered {
		if a.erp == erp {
			n += len(a.rows)
		}
	}
	return n
}

// Pending is what is netted of a position and not yet cut, without what moves
// inside the store.
func (b *Book) Pending(store protocol.StoreID, cell uint32) (q protocol.Quantity) {
	a := b.accounts[store]
	if a == nil {
		return 0
	}
	for k, r := range a.rows {
		if c, _, class := cutKey(k); c == cell && !class.Status() {
			q += r.qty
		}
	}
	return q
}

// Stores lists the stores that are open for an ERP, sorted.
func (b *Book) Stores(erp string) (list []protocol.StoreID) {
	for _, a := range b.numbered {
		if a.erp == erp && a.open {
			list = append(list, a.store)
		}
	}
	slices.Sort(list)
	return list
}

// Accounts lists every open store with its ERP.
func (b *Book) Accounts() map[protocol.StoreID]string {
	out := map[protocol.StoreID]string{}
	for _, a := range b.numbered {
		if a.open {
			out[a.store] = a.erp
		}
	}
	return out
}

// Due lists an ERP's documents that wait to be sent, in the order in which they
// were made.
func (b *Book) Due(erp string, limit int) []*Doc {
	t := b.erps[erp]
	if t == nil || b.held {
		return nil
	}
	list := make([]*Doc, 0, len(t.due))
	for _, d := range t.due {
		list = append(list, d)
	}
	slices.SortFunc(list, func(x, y *Doc) int { return cmp.Compare(x.Number, y.Number) })
	return list[:min(limit, len(list))]
}

// Standing is where an ERP's queue stands in the book.
type Standing struct {
	ERP                      string
	Stores, Due, Parked      int
	Held                     bool
	Adopted                  int // documents that the ERP had and this ledger had lost
	Waiting                  int // rows that are netted and not yet cut
	Posted, Discarded, Lines uint64
	OldestUS                 int64 // cut of the oldest that is due; 0 = none
	LastUS                   int64 // of a posting; 0 = never
	NewestUS                 int64 // cut of the newest that was not adopted, of any ERP
}

// Stand sums an ERP's queue up.
func (b *Book) Stand(erp string) Standing {
	s := Standing{ERP: erp, Stores: len(b.Stores(erp)), Waiting: b.Waiting(erp), Held: b.held, Adopted: b.adopted}
	for n := len(b.list) - 1; n >= 0 && s.NewestUS == 0; n-- {
		if d := b.list[n]; d.Reason != adoptedReason {
			s.NewestUS = d.CutUS
		}
	}
	t := b.erps[erp]
	if t == nil {
		return s
	}
	s.Due, s.Parked, s.Posted, s.Discarded, s.Lines, s.LastUS = len(t.due), t.parked, t.posted, t.discarded, t.lines, t.lastUS
	for _, d := range t.due {
		if s.OldestUS == 0 || d.CutUS < s.OldestUS {
			s.OldestUS = d.CutUS
		}
	}
	return s
}

func (b *Book) erp(name string) *tally {
	t := b.erps[name]
	if t == nil {
		t = &tally{due: map[string]*Doc{}}
		b.erps[name] = t
	}
	return t
}

// ErrHeld says that nothing is posted, since the ledger was restored.
var ErrHeld = errors.New("postings are held since the ledger was restored")

// Held tells that nothing is posted, since the ledger was restored.
func (b *Book) Held() bool { return b.held }

// Get returns a document.
func (b *Book) Get(key string) (*Doc, bool) {
	d, ok := b.docs[key]
	return d, ok
}

// Filter chooses documents.
type Filter struct {
	ERP, Day, Class string
	Store           protocol.StoreID
	State           protocol.PostingState
	After           string // key: documents made before it
	Limit           int
}

// List returns documents, newest first.
func (b *Book) List(f Filter) (out []*Doc) {
	from := len(b.list)
	if f.After != "" {
		after, ok := b.docs[f.After]
		if !ok {
			return nil
		}
		from, _ = slices.BinarySearchFunc(b.list, after.Number, func(d *Doc, n uint64) int { return cmp.Compare(d.Number, n) })
	}
	for i := from - 1; i >= 0 && len(out) < f.Limit; i-- {
		d := b.list[i]
		if f.ERP != "" && d.ERP != f.ERP || f.Store != "" && d.Store != f.Store || f.State != "" && d.State != f.State ||
			f.Class != "" && d.Class.String() != f.Class || f.Day != "" && protocol.DayText(d.Day) != f.Day {
			continue
		}
		out = append(out, d)
	}
	return out
}

// Owed is by how much each position of a store is ahead of its ERP: what is netted,
// and what waits in documents. What was discarded is no longer owed: from then on it
// is a difference, and reconciliation shows it.
func (b *Book) Owed(store protocol.StoreID) map[uint32]protocol.Quantity {
	out := map[uint32]protocol.Quantity{}
	if a := b.accounts[store]; a != nil {
		for k, r := range a.rows {
			if cell, _, class := cutKey(k); !class.Status() {
				out[cell] += r.qty
			}
		}
	}
	for _, d := range b.list {
		if d.Store == store && !d.settled() && !d.Class.Status() {
			for i := range d.Lines {
				out[d.Lines[i].Cell] += d.Lines[i].Qty
			}
		}
	}
	return out
}
