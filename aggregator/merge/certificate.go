package merge

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"tillwire/store/ledger"
)

// digest adds up hashes of positions: four 64-bit sums, so that the order in
// which positions came to be does not show, and a changed one can be taken out
// and put in again.
type digest [4]uint64

func (d *digest) add(o *digest) {
	for i := range d {
		d[i] += o[i]
	}
}

// Certificate is a digest over every position. Two ledgers that merged the same
// events have the same, whatever order they came in. Chunks that did not change
// since the last call are not hashed again.
func (e *Engine) Certificate() string {
	var sum digest
	e.extendDigests()
	var b []byte
	for no := range e.digests {
		if e.stale.has(uint32(no)) {
			e.digests[no], b = e.digestOf(no, b)
		}
		sum.add(&e.digests[no])
	}
	e.stale.clear()
	out := make([]byte, 0, 32)
	for _, v := range sum {
		out = binary.BigEndian.AppendUint64(out, v)
	}
	return hex.EncodeToString(out)
}

// extendDigests makes room for chunks that are new.
func (e *Engine) extendDigests() {
	for n := (len(e.cells) + chunkCells - 1) / chunkCells; len(e.digests) < n; {
		e.digests = append(e.digests, digest{})
		e.stale.put(uint32(len(e.digests) - 1))
	}
}

// Hash hashes up to n chunks that changed and tells how many are left: a caller who
// may not stop for long does so ahead of a Certificate, which then has little to do.
func (e *Engine) Hash(n int) (left int) {
	e.extendDigests()
	var b []byte
	for no := range e.stale.all() {
		if n--; n < 0 {
			break
		}
		e.digests[no], b = e.digestOf(int(no), b)
		e.stale.drop(no)
	}
	return e.stale.n
}

func (e *Engine) digestOf(no int, b []byte) (d digest, room []byte) {
	for id := max(no*chunkCells, 1); id < min((no+1)*chunkCells, len(e.cells)); id++ {
		c := e.Cell(ledger.CellID(id))
		b = append(append(append(append(b[:0], c.Location...), 0), c.SKU...), 0)
		b = binary.BigEndian.AppendUint64(b, uint64(c.OnHand))
		for _, q := range c.UnavailableBy {
			b = binary.BigEndian.AppendUint64(b, uint64(q))
		}
		b = binary.BigEndian.AppendUint64(b, uint64(c.InTransit))
		b = binary.BigEndian.AppendUint64(b, uint64(c.Incoming))
		h := sha256.Sum256(b)
		for i := range d {
			d[i] += binary.BigEndian.Uint64(h[8*i:])
		}
	}
	return d, b
}
