package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// tree reads the live pages of a bbolt file in the order of their keys, without
// bbolt, its lock or its panics: for looking at a file that is damaged or that
// another process is writing.
type tree struct {
	read   source
	meta   pageMeta
	levels [treeDepthMax][]byte // one page per level of the walk
	loads  uint64               // pages read by this walk: a sound tree has none twice
}

// branch is one bucket of the root: its name, and its root page or inline page.
type branch struct {
	name     []byte
	page     uint64
	inline   []byte
	sequence uint64
}

// buckets lists the root's buckets.
func (t *tree) buckets() (list []branch, err error) {
	t.loads = 0
	_, err = t.walk(t.meta.root, nil, nil, 0, func(e element) (bool, error) {
		if !e.bucket || len(e.value) < inlineHead {
			return false, damaged("element of the root", fmt.Sprintf("%x", e.key), "a bucket")
		}
		b := branch{
			name: bytes.Clone(e.key), page: binary.LittleEndian.Uint64(e.value),
			sequence: binary.LittleEndian.Uint64(e.value[8:]),
		}
		if b.page == 0 {
			b.inline = bytes.Clone(e.value[inlineHead:])
		}
		list = append(list, b)
		return true, nil
	})
	return list, err
}

// each calls fn with the elements of a bucket whose keys are ≥ from, until fn
// answers false. They are valid during the call.
func (t *tree) each(b branch, from []byte, fn func(element) (bool, error)) error {
	t.loads = 0
	_, err := t.walk(b.page, b.inline, from, 1, fn)
	return err
}

// get reads one value; nil where there is none.
func (t *tree) get(b branch, key []byte) (value []byte, err error) {
	err = t.each(b, key, func(e element) (bool, error) {
		if bytes.Equal(e.key, key) {
			value = bytes.Clone(e.value)
		}
		return false, nil
	})
	return value, err
}

// last is the highest key of a bucket; nil where it is empty.
func (t *tree) last(b branch) (k []byte, err error) {
	t.loads = 0
	id, page := b.page, b.inline
	for range treeDepthMax {
		if page == nil {
			if page, err = t.load(id, 1); err != nil {
				return nil, err
			}
		}
		flags, count, _ := pageKind(page)
		if count == 0 {
			return nil, nil
		}
		e, ok := parseElement(page, flags == pageLeaf, count-1)
		if !ok {
			return nil, damaged(fmt.Sprintf("last element of page %d", id), "outside of the page", "inside")
		}
		if flags == pageLeaf {
			return bytes.Clone(e.key), nil
		}
		id, page = e.child, nil
	}
	return nil, damaged("depth of the tree", "too deep", treeDepthMax)
}

// load reads a page whole into the memory of its level.
func (t *tree) load(id uint64, depth int) ([]byte, error) {
	if depth >= treeDepthMax {
		return nil, damaged("depth of the tree", depth, fmt.Sprintf("less than %d", treeDepthMax))
	}
	if id < 2 || id >= t.meta.pages {
		return nil, damaged("page number", id, fmt.Sprintf("2 to %d", t.meta.pages-1))
	}
	// A page that is its own descendant would be walked for ever.
	if t.loads++; t.loads > t.meta.pages {
		return nil, damaged("pages of a tree", t.loads, fmt.Sprintf("at most %d", t.meta.pages))
	}
	size := t.meta.pageSize
	page, err := t.read(int64(id)*int64(size), size)
	if err != nil {
		return nil, err
	}
	if len(page) < size || binary.LittleEndian.Uint64(page) != id {
		return nil, damaged(fmt.Sprintf("page %d", id), "another id or the end of the file", "its own id")
	}
	flags, _, overflow := pageKind(page)
	if flags != pageLeaf && flags != pageBranch {
		return nil, damaged(fmt.Sprintf("kind of page %d", id), flags, "leaf or branch")
	}
	if overflow > 0 {
		n := (int64(overflow) + 1) * int64(size)
		if n > pageBytesMax {
			return nil, damaged(fmt.Sprintf("size of page %d", id), n, fmt.Sprintf("at most %d", pageBytesMax))
		}
		if page, err = t.read(int64(id)*int64(size), int(n)); err != nil {
			return nil, err
		}
		if int64(len(page)) < n {
			return nil, damaged(fmt.Sprintf("page %d", id), "the end of the file", fmt.Sprintf("%d bytes", n))
		}
	}
	t.levels[depth] = append(t.levels[depth][:0], page...)
	return t.levels[depth], nil
}

// walk visits leaf elements in order; more is false once fn wants no further.
func (t *tree) walk(id uint64, page, from []byte, depth int, fn func(element) (bool, error)) (more bool, err error) {
	if page == nil {
		if page, err = t.load(id, depth); err != nil {
			return false, err
		}
	} else if len(page) < pageHead {
		return false, damaged("inline bucket", len(page), pageHead)
	}
	flags, count, _ := pageKind(page)
	leaf := flags == pageLeaf
	if !leaf && flags != pageBranch {
		return false, damaged(fmt.Sprintf("kind of page %d", id), flags, "leaf or branch")
	}
	for i := range count {
		e, ok := parseElement(page, leaf, i)
		if !ok {
			return false, damaged(fmt.Sprintf("element %d of page %d", i, id), "outside of the page", "inside")
		}
		switch {
		case leaf && bytes.Compare(e.key, from) < 0:
			continue
		case leaf:
			more, err = fn(e)
		default:
			if next, ok := parseElement(page, false, i+1); ok && i+1 < count && bytes.Compare(next.key, from) <= 0 {
				continue
			}
			more, err = t.walk(e.child, nil, from, depth+1, fn)
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}
