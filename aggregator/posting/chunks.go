package posting

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"tillwire/protocol"
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("posting chunk is damaged")

// meta is the book's own chunk. The accounts' chunks need it: it is restored first
// or last, so rows that come before it wait for nothing.
type meta struct {
	Number     uint64               `json:"number"`
	Generation uint64               `json:"generation"`
	Held       bool                 `json:"held,omitempty"`
	Adopted    int                  `json:"adopted,omitempty"`
	Accounts   []accountMeta        `json:"accounts"`
	ERPs       map[string]tallyMeta `json:"erps"`
}

type accountMeta struct {
	Store     protocol.StoreID `json:"store"`
	ERP       string           `json:"erp"`
	Open      bool             `json:"open"`
	LastCutUS int64            `json:"last_cut_us"`
}

type tallyMeta struct {
	Posted    uint64 `json:"posted"`
	Discarded uint64 `json:"discarded"`
	Lines     uint64 `json:"lines"`
	LastUS    int64  `json:"last_us"`
}

// Chunks emits what changed since the last call.
//
//	0 to 4095     rows of one account in each, varints behind a version
//	4096 to 8191  documents by number, JSON behind a version
//	8192          accounts, sums and numbers, JSON behind a version
func (b *Book) Chunks(emit func(no uint32, data []byte)) error {
	for _, a := range b.numbered {
		if a.dirty {
			emit(uint32(a.number), a.encode())
			a.dirty = false
		}
	}
	if len(b.dirtyDocs) > 0 {
		shards := map[uint32][]*Doc{}
		for _, d := range b.list {
			if s := uint32(d.Number % docShards); b.dirtyDocs[s] {
				shards[s] = append(shards[s], d)
			}
		}
		for _, s := range slices.Sorted(maps.Keys(b.dirtyDocs)) {
			j, err := json.Marshal(shards[s])
			if err != nil {
				return fmt.Errorf("encode postings: %w", err)
			}
			emit(rowShards+s, append([]byte{chunkVersion}, j...))
		}
		clear(b.dirtyDocs)
	}
	if !b.dirtyMeta {
		return nil
	}
	m := meta{Number: b.number, Generation: b.generation, Held: b.held, Adopted: b.adopted, ERPs: map[string]tallyMeta{}}
	for _, a := range b.numbered {
		m.Accounts = append(m.Accounts, accountMeta{a.store, a.erp, a.open, a.lastCutUS})
	}
	for name, t := range b.erps {
		m.ERPs[name] = tallyMeta{t.posted, t.discarded, t.lines, t.lastUS}
	}
	j, err := json.Marshal(&m)
	if err != nil {
		return fmt.Errorf("encode posting accounts: %w", err)
	}
	emit(metaChunk, append([]byte{chunkVersion}, j...))
	b.dirtyMeta = false
	return nil
}

func (a *Account) encode() []byte {
	data := []byte{chunkVersion}
	for _, k := range slices.Sorted(maps.Keys(a.rows)) {
		r := a.rows[k]
		data = binary.AppendVarint(binary.AppendUvarint(data, k), int64(r.qty))
		data = binary.AppendUvarint(binary.AppendUvarint(data, r.first), r.last-r.first)
		src := a.sources[k]
		data = binary.AppendUvarint(data, uint64(len(src)))
		for _, p := range src {
			data = binary.AppendUvarint(data, p)
		}
	}
	return data
}

// Restore reads a chunk back into a new book, in any order.
func (b *Book) Restore(no uint32, data []byte) error {
	if len(data) == 0 || data[0] != chunkVersion {
		return fmt.Errorf("restore chunk %d: %w: unknown version", no, ErrChunk)
	}
	var err error
	switch data = data[1:]; {
	case no < rowShards:
		err = b.numberedAccount(int(no)).decode(data)
	case no < metaChunk:
		err = b.restoreDocs(no-rowShards, data)
	case no == metaChunk:
		err = b.restoreMeta(data)
	default:
		err = errors.New("no such chunk")
	}
	if err != nil {
		return fmt.Errorf("restore chunk %d: %w: %w", no, ErrChunk, err)
	}
	return nil
}

func (b *Book) numberedAccount(n int) *Account {
	for len(b.numbered) <= n {
		b.numbered = append(b.numbered, &Account{number: len(b.numbered), minDay: math.MaxInt32, rows: map[uint64]row{}, sources: map[uint64][]uint64{}})
	}
	return b.numbered[n]
}

func (a *Account) decode(data []byte) error {
	u := func() (v uint64) {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			data = nil
			return 0
		}
		data = data[n:]
		return v
	}
	for len(data) > 0 {
		k := u()
		q, n := binary.Varint(data)
		if n <= 0 {
			return errors.New("cut short")
		}
		data = data[n:]
		first := u()
		r := row{qty: protocol.Quantity(q), first: first, last: first + u()}
		count := u()
		if r.first == 0 || data == nil || count > countSources {
			return errors.New("cut short")
		}
		for range count {
			a.sources[k] = append(a.sources[k], u())
		}
		if data == nil {
			return errors.New("cut short")
		}
		a.rows[k] = r
		_, day, _ := cutKey(k)
		a.minDay = min(a.minDay, day)
	}
	return nil
}

func (b *Book) restoreDocs(shard uint32, data []byte) error {
	var list []*Doc
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	for _, d := range list {
		if d == nil || !isKey(d.Key) || uint32(d.Number%docShards) != shard || b.docs[d.Key] != nil {
			return errors.New("a document does not belong there")
		}
		b.docs[d.Key] = d
		i, _ := slices.BinarySearchFunc(b.list, d.Number, func(x *Doc, n uint64) int { return cmp.Compare(x.Number, n) })
		b.list = slices.Insert(b.list, i, d)
		t := b.erp(d.ERP)
		switch d.State {
		case protocol.PostingDue:
			t.due[d.Key] = d
		case protocol.PostingParked:
			t.parked++
		case protocol.PostingPosted, protocol.PostingDiscarded:
		default:
			return fmt.Errorf("document %s is %.20q", d.Key, d.State)
		}
	}
	return nil
}

func (b *Book) restoreMeta(data []byte) error {
	var m meta
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	b.number, b.generation, b.held, b.adopted = m.Number, m.Generation, m.Held, m.Adopted
	for i, x := range m.Accounts {
		a := b.numberedAccount(i)
		a.store, a.erp, a.open, a.lastCutUS = x.Store, x.ERP, x.Open, x.LastCutUS
		b.accounts[x.Store] = a
	}
	for name, x := range m.ERPs {
		t := b.erp(name)
		t.posted, t.discarded, t.lines, t.lastUS = x.Posted, x.Discarded, x.Lines, x.LastUS
	}
	return nil
}
