package simulator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"tillwire/protocol"
)

// reel is every file of a replay, ready to be played into one chain: each file is a
// source with stores of its own, or goes on where another file of the same store
// ends.
type reel struct {
	Docs    []sourced
	Raws    []rawFile // POSLog files, which go through the agent's own door
	Stores  []protocol.StoreID
	Lines   int
	formats map[protocol.StoreID]string // the file's, by store
	plain   *plainSums                  // of all files
}

// rawFile is one POSLog and the store that it names.
type rawFile struct {
	store protocol.StoreID
	text  []byte
	name  string
}

// format is the formats of all files.
func (r *reel) format() string {
	return strings.Join(slices.Compact(slices.Sorted(maps.Values(r.formats))), "+")
}

// splitSource reads an operand: FILE, or NAME=FILE where NAME is put before the
// names of its stores.
func splitSource(operand string) (prefix, file string, err error) {
	name, file, named := strings.Cut(operand, "=")
	if !named || strings.ContainsAny(name, `/\`) {
		return "", operand, nil
	}
	if err := protocol.CheckName(name); err != nil {
		return "", "", fmt.Errorf("source %q %w", name, err)
	}
	if file == "" {
		return "", "", fmt.Errorf("source %q names no file", operand)
	}
	return name + "-", file, nil
}

// readReel reads all files twice: once into documents, and once with the plain
// reader, which knows nothing of the first.
func readReel(operands []string, format string) (*reel, error) {
	r := &reel{formats: map[protocol.StoreID]string{}, plain: &plainSums{Sums: map[string]map[string]int64{}}}
	from := map[docKey]string{} // which file a document is of
	for _, operand := range operands {
		prefix, file, err := splitSource(operand)
		if err != nil {
			return nil, usageError{err.Error()}
		}
		tp, err := readTape(file, format)
		if err != nil {
			return nil, err
		}
		sums, err := sumPlainly(file, tp.Format)
		if err != nil {
			return nil, err
		}
		if err := r.add(tp, prefix, file, from); err != nil {
			return nil, err
		}
		r.addPlain(sums, prefix)
		if tp.Format == formatNCR {
			if err := r.addRaw(tp, sums, prefix, file); err != nil {
				return nil, err
			}
		}
	}
	r.Stores = slices.Sorted(maps.Keys(r.formats))
	return r, nil
}

// add takes a file's documents. A receipt that two files tell would be one event
// with two bodies: that is the caller's to sort out.
func (r *reel) add(tp *tape, prefix, file string, from map[docKey]string) error {
	for _, d := range tp.Docs {
		d.store = protocol.StoreID(prefix) + d.store
		if err := protocol.CheckName(string(d.store)); err != nil {
			return fmt.Errorf("read %s: store %q %w; shorten the name before =", file, d.store, err)
		}
		key := docKey{d.store, d.doc.DocumentID, d.doc.kind}
		if other, twice := from[key]; twice {
			return usageError{fmt.Sprintf("%s %s of store %s stands in %s and in %s; write NAME=%s to have a store of its own for each", d.doc.kind, key.receipt, d.store, other, file, file)}
		}
		from[key] = file
		r.formats[d.store] = tp.Format
		r.Docs = append(r.Docs, d)
	}
	r.Lines += tp.Lines
	return nil
}

// addRaw takes a POSLog, whose store only its text knows.
func (r *reel) addRaw(tp *tape, sums *plainSums, prefix, file string) error {
	if prefix != "" {
		return usageError{fmt.Sprintf("%s=%s: a POSLog names its store itself; leave the name out", strings.TrimSuffix(prefix, "-"), file)}
	}
	if len(sums.Sums) != 1 {
		return fmt.Errorf("%s names %d stores; send each store its own file", file, len(sums.Sums))
	}
	for name := range sums.Sums {
		store := protocol.StoreID(name)
		if _, taken := r.formats[store]; taken {
			return usageError{fmt.Sprintf("store %s of %s stands in another file too; a POSLog needs a store of its own", store, file)}
		}
		r.formats[store] = tp.Format
		r.Raws = append(r.Raws, rawFile{store, tp.Raw, file})
	}
	r.Lines += sums.Lines
	return nil
}

// addPlain adds sums up once more; it is the plain reader's side and uses nothing
// of the other's.
func (r *reel) addPlain(sums *plainSums, prefix string) {
	r.plain.Lines += sums.Lines
	for store, cells := range sums.Sums {
		if r.plain.Sums[prefix+store] == nil {
			r.plain.Sums[prefix+store] = map[string]int64{}
		}
		for article, q := range cells {
			r.plain.Sums[prefix+store][article] += q
		}
	}
}

// narrow keeps a part; it tells whether that is the whole. A part is compared with
// the oracle, since the plain sum is the files'.
func (r *reel) narrow(stores, docs int) (whole bool) {
	whole = true
	if stores > 0 && stores < len(r.Stores) {
		keep := map[protocol.StoreID]bool{}
		for _, s := range r.Stores[:stores] {
			keep[s] = true
		}
		r.Docs = slices.DeleteFunc(r.Docs, func(d sourced) bool { return !keep[d.store] })
		r.Raws = slices.DeleteFunc(r.Raws, func(f rawFile) bool { return !keep[f.store] })
		r.Stores, whole = r.Stores[:stores], false
	}
	if docs > 0 && docs < len(r.Docs) {
		r.Docs, whole = r.Docs[:docs], false
		r.Stores = storesOf(r.Docs)
		for _, f := range r.Raws {
			r.Stores = append(r.Stores, f.store)
		}
	}
	if !whole {
		r.Lines = 0
		for _, d := range r.Docs {
			r.Lines += len(d.doc.Lines)
		}
	}
	return whole
}

// places names the stores after their files.
func (r *reel) places() []place {
	names := map[string]string{formatCJ: "Complete Journey", formatUCI: "Online shop", formatNCR: "NCR POSLog"}
	out := make([]place, len(r.Stores))
	for i, s := range r.Stores {
		name := names[r.formats[s]]
		out[i] = place{Store: s, Name: name + " " + string(s), Region: name}
	}
	return out
}

// rawShelves are the plain sums of the POSLog files alone: the oracle cannot know
// what is in them.
func (r *reel) rawShelves() []shelf {
	raw := map[protocol.StoreID]bool{}
	for _, f := range r.Raws {
		raw[f.store] = true
	}
	return slices.DeleteFunc(r.plain.shelves(), func(s shelf) bool { return !raw[s.Store] })
}
