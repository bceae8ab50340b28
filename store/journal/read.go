package journal

import (
	"errors"
	"fmt"
	"sort"

	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// view runs fn in one read transaction. Damage of pages shows as a panic inside
// bbolt or a fault of the mapping; both become a *CorruptError.
func (j *Journal) view(fn func(*bolt.Tx, []segment) error) error {
	j.dbMu.RLock()
	defer j.dbMu.RUnlock()
	if j.db == nil {
		if err := j.snapshot.Load().phase.err(); err != nil {
			return err
		}
		return ErrRecovering
	}
	err := safely("read transaction", func() error {
		return j.db.View(func(tx *bolt.Tx) error { return fn(tx, segmentsOf(tx)) })
	})
	var c *CorruptError
	if errors.As(err, &c) {
		j.counters.corruptRecords.Add(1)
		j.suspect.CompareAndSwap(nil, c)
		j.wakeCommitter()
	}
	return err
}

// locate finds the segment that holds seq.
func locate(segs []segment, seq uint64) (segment, bool) {
	i := sort.Search(len(segs), func(i int) bool { return segs[i].first > seq })
	if i == 0 {
		return segment{}, false
	}
	return segs[i-1], true
}

// getRow reads and verifies one record; the row is valid inside tx.
func getRow(tx *bolt.Tx, segs []segment, seq uint64) (row, error) {
	s, ok := locate(segs, seq)
	if !ok {
		return row{}, ErrTrimmed
	}
	v := tx.Bucket(s.name()).Get(key(seq))
	if v == nil {
		return row{}, &CorruptError{What: fmt.Sprintf("record %d", seq), Got: "none", Want: "a record"}
	}
	return decodeValue(seq, v)
}

// tipAt tells what stands in front of seq+1: from a record or, in front of a
// segment, from its header. The time is that of seq.
func tipAt(tx *bolt.Tx, segs []segment, seq uint64) (tip, error) {
	if seq == 0 && len(segs) == 0 {
		return tip{}, nil
	}
	if s, ok := locate(segs, seq+1); ok && s.first == seq+1 {
		return decodeHeader(s.first, tx.Bucket(s.name()).Get(key(0)))
	}
	r, err := getRow(tx, segs, seq)
	if err != nil {
		return tip{}, err
	}
	us, err := r.recordTime()
	return tip{seq: seq, us: us, total: r.total, chain: r.chain}, err
}

// bounds checks seq against what is retained, tail-1 included.
func (s *State) bounds(seq uint64) error {
	if seq > s.Head {
		return fmt.Errorf("seq %d: %w (%d)", seq, ErrBeyondHead, s.Head)
	}
	if seq+1 < s.Tail {
		return fmt.Errorf("seq %d: %w (retained from %d)", seq, ErrTrimmed, s.Tail)
	}
	return nil
}

// Read copies records from seq from on: at most maxEvents of them and, but for
// the first, not more than maxBytes. All come from one short transaction and
// are verified by checksum and chain. prevChain is the chain in front of the
// first, lastChain behind the last. Nothing behind the head is no error.
//
// buf, if given, is a former result whose memory is used again.
func (j *Journal) Read(from uint64, maxEvents, maxBytes int, buf [][]byte) (records [][]byte, prevChain, lastChain protocol.Chain, err error) {
	from = max(from, 1)
	st := j.snapshot.Load()
	if err := st.bounds(from - 1); err != nil {
		return nil, prevChain, lastChain, fmt.Errorf("read journal: %w", err)
	}
	n := min(uint64(max(1, min(maxEvents, readEventsMax))), st.Head+1-from)
	records = buf[:0]
	err = j.view(func(tx *bolt.Tx, segs []segment) error {
		at, err := tipAt(tx, segs, from-1)
		if err != nil {
			return err
		}
		prevChain = at.chain
		size := 0
		err = eachRow(tx, segs, from, from+n-1, func(seq uint64, v []byte) (bool, error) {
			r, err := decodeValue(seq, v)
			if err != nil {
				return false, err
			}
			if size += len(r.record); len(records) > 0 && size > maxBytes {
				return false, nil
			}
			if at, err = at.follow(r); err != nil {
				return false, err
			}
			records = appendCopy(records, r.record)
			return true, nil
		})
		lastChain = at.chain
		return err
	})
	if err != nil {
		return nil, protocol.Chain{}, protocol.Chain{}, fmt.Errorf("read journal from %d: %w", from, err)
	}
	return records, prevChain, lastChain, nil
}

// appendCopy grows records by a copy of rec, in the memory of a former element
// where there is one.
func appendCopy(records [][]byte, rec []byte) [][]byte {
	if n := len(records); n < cap(records) {
		old := records[:n+1][n]
		return append(records, append(old[:0], rec...))
	}
	return append(records, append([]byte(nil), rec...))
}

// eachRow calls fn with the values of first..last, across segments, until it
// answers false. A missing key is damage.
func eachRow(tx *bolt.Tx, segs []segment, first, last uint64, fn func(uint64, []byte) (bool, error)) error {
	for seq := first; seq <= last; {
		s, ok := locate(segs, seq)
		if !ok {
			return ErrTrimmed
		}
		c := tx.Bucket(s.name()).Cursor()
		start := seq
		for k, v := c.Seek(key(seq)); k != nil && seq <= last; k, v = c.Next() {
			if len(k) != 8 || keySeq(k) != seq {
				return &CorruptError{What: fmt.Sprintf("record %d", seq), Got: fmt.Sprintf("key %x", k), Want: "the next seq"}
			}
			more, err := fn(seq, v)
			if err != nil || !more {
				return err
			}
			seq++
		}
		if seq == start {
			return &CorruptError{What: fmt.Sprintf("record %d", seq), Got: "none", Want: "a record"}
		}
	}
	return nil
}

// ChainAt is the chain over all records up to seq, for seq from Tail-1 to Head.
func (j *Journal) ChainAt(seq uint64) (protocol.Chain, error) {
	if err := j.snapshot.Load().bounds(seq); err != nil {
		return protocol.Chain{}, fmt.Errorf("chain at: %w", err)
	}
	var at tip
	err := j.view(func(tx *bolt.Tx, segs []segment) (err error) {
		at, err = tipAt(tx, segs, seq)
		return err
	})
	if err != nil {
		return protocol.Chain{}, fmt.Errorf("chain at %d: %w", seq, err)
	}
	return at.chain, nil
}

// Scan calls fn for each record from seq from (or the tail, if later) up to the
// head as it was when Scan began. rec is only valid during the call; no
// transaction is open meanwhile. An error of fn ends the scan and is returned.
func (j *Journal) Scan(from uint64, fn func(seq uint64, recordUS int64, rec []byte) error) error {
	head := j.snapshot.Load().Head
	var buf [][]byte
	for seq := max(from, j.snapshot.Load().Tail); seq <= head; {
		records, _, _, err := j.Read(seq, int(min(scanBatch, head-seq+1)), protocol.FrameRawBytesMax, buf)
		if errors.Is(err, ErrTrimmed) {
			if tail := j.snapshot.Load().Tail; tail > seq {
				seq = tail
				continue
			}
		}
		if err != nil {
			return err
		}
		for _, rec := range records {
			us, _, err := protocol.SplitRecord(rec)
			if err != nil {
				return fmt.Errorf("scan journal at %d: %w", seq, err)
			}
			if err := fn(seq, us, rec); err != nil {
				return err
			}
			seq++
		}
		buf = records
	}
	return nil
}

// CutAt is the highest seq whose record time is ≤ us; 0, or Tail-1, where all
// retained records are later. Where the file cannot be read it is 0.
func (j *Journal) CutAt(us int64) uint64 {
	st := j.snapshot.Load()
	if us >= st.HeadUS {
		return st.Head
	}
	cut := uint64(0)
	_ = j.view(func(tx *bolt.Tx, segs []segment) error {
		cut = cutIn(tx, segs, tip{seq: st.Head, us: st.HeadUS}, us)
		return nil
	})
	return cut
}

// cutIn searches by halving: record times rise with seq. A damaged record
// panics; safely turns that into the error that it is.
func cutIn(tx *bolt.Tx, segs []segment, head tip, us int64) uint64 {
	if us >= head.us {
		return head.seq
	}
	if len(segs) == 0 {
		return 0
	}
	tail := segs[0].first
	n := sort.Search(int(head.seq-tail+1), func(i int) bool {
		return timeOf(tx, segs, tail+uint64(i)) > us
	})
	return tail + uint64(n) - 1
}

// timeOf reads a record's time inside a transaction run by safely.
func timeOf(tx *bolt.Tx, segs []segment, seq uint64) int64 {
	r, err := getRow(tx, segs, seq)
	if err != nil {
		panic(err) //nolint:forbidigo // safely, which runs this, turns it into the journal's damage
	}
	us, err := r.recordTime()
	if err != nil {
		panic(err) //nolint:forbidigo // safely, which runs this, turns it into the journal's damage
	}
	return us
}

// fillBacklog completes a snapshot by what stands at its merged mark.
func (j *Journal) fillBacklog(st *State) {
	if st.Merged+1 < st.Tail {
		return // merged lies before the tail: only a salvage does that
	}
	_ = j.view(func(tx *bolt.Tx, segs []segment) error {
		at, err := tipAt(tx, segs, st.Merged)
		if err != nil {
			return err
		}
		st.ChainMerged = at.chain
		if st.Merged == st.Head {
			return nil
		}
		end, err := tipAt(tx, segs, st.Head)
		if err != nil {
			return err
		}
		st.BacklogBytes = end.total - at.total
		r, err := getRow(tx, segs, st.Merged+1)
		if err != nil {
			return err
		}
		st.OldestUnackedUS, err = r.recordTime()
		return err
	})
}
