package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/bits"
)

// This file reads bbolt's pages without bbolt, which panics (partly in
// goroutines of its own) over damaged ones. It serves the inspection of a
// suspect file and the salvage of a corrupt one.
//
//	page:    id u64 │ flags u16 │ count u16 │ overflow u32 │ elements … keys and values
//	leaf:    flags u32 │ pos u32 │ ksize u32 │ vsize u32      pos from the element itself
//	branch:  pos u32 │ ksize u32 │ child u64
//	meta:    magic u32 │ version u32 │ page size u32 │ flags u32 │ root u64 │ seq u64 │
//	         freelist u64 │ pages u64 │ txid u64 │ fnv64a of the 56 bytes before
//
// Numbers are in the byte order of the machine: little endian wherever we run.
const (
	pageHead     = 16
	pageBranch   = 0x01
	pageLeaf     = 0x02
	leafBucket   = 0x01
	metaMagic    = 0xED0CDAED
	metaSize     = 64
	pageSizeMin  = 512
	pageSizeMax  = 64 << 10
	inlineHead   = 16 // root u64 │ sequence u64, in front of an inline page
	pageBytesMax = 64 << 20
)

type pageMeta struct {
	pageSize          int
	root, pages, txid uint64
}

// parseMeta reads a meta page; ok is false where it is damaged.
func parseMeta(page []byte) (m pageMeta, ok bool) {
	if len(page) < pageHead+metaSize {
		return m, false
	}
	b := page[pageHead:]
	h := fnv.New64a()
	_, _ = h.Write(b[:56])
	le := binary.LittleEndian
	if le.Uint32(b) != metaMagic || le.Uint64(b[56:]) != h.Sum64() {
		return m, false
	}
	m = pageMeta{
		pageSize: int(le.Uint32(b[8:])), root: le.Uint64(b[16:]),
		pages: le.Uint64(b[40:]), txid: le.Uint64(b[48:]),
	}
	ok = m.pageSize >= pageSizeMin && m.pageSize <= pageSizeMax && bits.OnesCount(uint(m.pageSize)) == 1
	return m, ok
}

// element is one entry of a page.
type element struct {
	key, value []byte
	start, at  int // offsets of key and value in the page
	bucket     bool
	child      uint64
}

// parseElement reads element i of a leaf or branch page; ok is false where it
// points outside.
func parseElement(page []byte, leaf bool, i int) (e element, ok bool) {
	at := pageHead + 16*i
	if at+16 > len(page) {
		return e, false
	}
	le, b := binary.LittleEndian, page[at:]
	if leaf {
		pos, ksize, vsize := uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:]))
		start := uint64(at) + pos
		if pos < 16 || start+ksize+vsize > uint64(len(page)) {
			return e, false
		}
		e = element{key: page[start : start+ksize], value: page[start+ksize : start+ksize+vsize], start: int(start), at: int(start + ksize)}
		e.bucket = le.Uint32(b)&leafBucket != 0
		return e, true
	}
	pos, ksize := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
	start := uint64(at) + pos
	if pos < 16 || start+ksize > uint64(len(page)) {
		return e, false
	}
	return element{key: page[start : start+ksize], start: int(start), child: le.Uint64(b[8:])}, true
}

func pageKind(page []byte) (flags uint16, count int, overflow uint32) {
	le := binary.LittleEndian
	return le.Uint16(page[8:]), int(le.Uint16(page[10:])), le.Uint32(page[12:])
}

// source gives n bytes at off of a file; less at its end.
type source func(off int64, n int) ([]byte, error)

// inspector walks the tree of a file and refuses what bbolt would stumble over:
// pages out of bounds, referred to twice, of a wrong kind or under a wrong id,
// elements outside their page, keys out of order.
type inspector struct {
	read source
	meta pageMeta
	seen []uint64 // bit set of pages
	todo []visit
}

type visit struct {
	page   uint64
	lo, hi []byte // keys lie in [lo, hi); nil = no bound
	inline bool   // a page inside a value: it holds no buckets
}

// inspectPages checks all reachable pages of a file of the given size.
func inspectPages(read source, size int64) error {
	meta, err := newestMeta(read)
	if err != nil {
		return err
	}
	if err := bothMetas(read, meta.pageSize); err != nil {
		return err
	}
	if int64(meta.pages) < 2 || int64(meta.pages) > size/int64(meta.pageSize) {
		return damaged("number of pages", meta.pages, fmt.Sprintf("2 to %d", size/int64(meta.pageSize)))
	}
	in := inspector{read: read, meta: meta, seen: make([]uint64, meta.pages/64+1)}
	in.todo = append(in.todo, visit{page: meta.root})
	for len(in.todo) > 0 {
		v := in.todo[len(in.todo)-1]
		in.todo = in.todo[:len(in.todo)-1]
		if err := in.visit(v); err != nil {
			return err
		}
	}
	return nil
}

func damaged(what string, got, want any) error {
	return &CorruptError{What: what, Got: fmt.Sprint(got), Want: fmt.Sprint(want)}
}

// newestMeta picks the sound meta page with the higher transaction id. The
// second one's place depends on the page size, which the first may not tell.
func newestMeta(read source) (best pageMeta, err error) {
	found := false
	for size := 0; size <= pageSizeMax; size = max(pageSizeMin, size*2) {
		b, err := read(int64(size), pageHead+metaSize)
		if err != nil {
			return best, err
		}
		m, ok := parseMeta(b)
		if ok && (size == 0 || m.pageSize == size) && (!found || m.txid > best.txid) {
			best, found = m, true
		}
	}
	if !found {
		return best, damaged("meta pages", "no valid one", "one at least")
	}
	return best, nil
}

// bothMetas refuses a file whose one meta page is damaged: bbolt would go on with
// the other, and where that is the older one, the last commit would be gone
// without a word. A meta page is 80 bytes at the start of its page, so that a
// power cut cannot tear it: what damages it is rot.
func bothMetas(read source, pageSize int) error {
	for i := range 2 {
		b, err := read(int64(i*pageSize), pageHead+metaSize)
		if err != nil {
			return err
		}
		if m, ok := parseMeta(b); !ok || m.pageSize != pageSize || m.txid%2 != uint64(i) {
			return damaged(fmt.Sprintf("meta page %d", i), "a wrong checksum", "a sound one")
		}
	}
	return nil
}

// mark notes that n pages from id are referred to; twice is damage.
func (in *inspector) mark(id, n uint64) error {
	if id < 2 || n > in.meta.pages || id+n > in.meta.pages {
		return damaged("page number", id, fmt.Sprintf("2 to %d", in.meta.pages-1))
	}
	for p := id; p < id+n; p++ {
		if in.seen[p/64]&(1<<(p%64)) != 0 {
			return damaged(fmt.Sprintf("page %d", p), "several references", "one")
		}
		in.seen[p/64] |= 1 << (p % 64)
	}
	return nil
}

func (in *inspector) visit(v visit) error {
	if err := in.mark(v.page, 1); err != nil {
		return err
	}
	off := int64(v.page) * int64(in.meta.pageSize)
	page, err := in.read(off, in.meta.pageSize)
	if err != nil {
		return err
	}
	if len(page) < in.meta.pageSize || binary.LittleEndian.Uint64(page) != v.page {
		return damaged(fmt.Sprintf("page %d", v.page), "another id or the end of the file", "its own id")
	}
	flags, _, overflow := pageKind(page)
	if overflow > 0 {
		if err := in.mark(v.page+1, uint64(overflow)); err != nil {
			return err
		}
		n := (int64(overflow) + 1) * int64(in.meta.pageSize)
		if n > pageBytesMax {
			return damaged(fmt.Sprintf("size of page %d", v.page), n, fmt.Sprintf("at most %d", pageBytesMax))
		}
		if page, err = in.read(off, int(n)); err != nil {
			return err
		}
	}
	if flags != pageLeaf && flags != pageBranch {
		return damaged(fmt.Sprintf("kind of page %d", v.page), flags, "leaf or branch")
	}
	return in.elements(v, page, flags == pageLeaf)
}

func (in *inspector) elements(v visit, page []byte, leaf bool) error {
	_, count, _ := pageKind(page)
	if count == 0 && !leaf {
		return damaged(fmt.Sprintf("branch page %d", v.page), "no elements", "some")
	}
	last, end := v.lo, pageHead+16*count
	for i := range count {
		e, ok := parseElement(page, leaf, i)
		if !ok {
			return damaged(fmt.Sprintf("element %d of page %d", i, v.page), "outside of the page", "inside")
		}
		if e.start != end { // bbolt packs keys and values without a gap: a flipped count or size shows here
			return damaged(fmt.Sprintf("place of element %d of page %d", i, v.page), e.start, end)
		}
		end += len(e.key) + len(e.value)
		if c := bytes.Compare(e.key, last); c < 0 || (c == 0 && i > 0) || (v.hi != nil && bytes.Compare(e.key, v.hi) >= 0) {
			return damaged(fmt.Sprintf("order of keys in page %d", v.page), fmt.Sprintf("%x", e.key), "rising, within the branch")
		}
		last = e.key
		switch {
		case leaf && e.bucket && v.inline:
			return damaged("inline bucket", "a bucket in it", "plain values")
		case leaf && e.bucket:
			if err := in.bucket(e.value); err != nil {
				return err
			}
		case !leaf:
			hi := v.hi
			if next, ok := parseElement(page, false, i+1); ok && i+1 < count {
				hi = bytes.Clone(next.key)
			}
			in.todo = append(in.todo, visit{page: e.child, lo: bytes.Clone(e.key), hi: hi})
		}
	}
	// bbolt takes exactly the pages that the content needs. A larger overflow would
	// make it free pages of others one day.
	if need := max(1, (end+in.meta.pageSize-1)/in.meta.pageSize) * in.meta.pageSize; !v.inline && need != len(page) {
		return damaged(fmt.Sprintf("size of page %d", v.page), len(page), need)
	}
	return nil
}

func (in *inspector) bucket(value []byte) error {
	if len(value) < inlineHead {
		return damaged("bucket header", len(value), inlineHead)
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		in.todo = append(in.todo, visit{page: root})
		return nil
	}
	page := value[inlineHead:]
	if len(page) < pageHead {
		return damaged("inline bucket", len(page), pageHead)
	}
	if flags, _, _ := pageKind(page); flags != pageLeaf {
		return damaged("kind of an inline bucket", flags, "leaf")
	}
	return in.elements(visit{inline: true}, page, true)
}
