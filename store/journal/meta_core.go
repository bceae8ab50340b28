package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"tillwire/protocol"
)

// Small values of the meta bucket are JSON behind a CRC32C: they are few,
// written rarely, and a person with a hex dump can read them.

const formatVersion = 1

// identity is written once, when a file is made (key "identity").
type identity struct {
	Format    int    `json:"format"`
	InstallID string `json:"install_id"` // 32 hex digits
	CreatedUS int64  `json:"created_us"`
	Origin    string `json:"origin"` // why the file was made: "fresh" or what was salvaged
}

// marks are what the aggregator said (key "marks").
type marks struct {
	Update     uint64 `json:"update"` // rises with each write; a salvage takes the highest
	Epoch      uint64 `json:"epoch"`
	Lease      uint64 `json:"lease"`
	Merged     uint64 `json:"merged"`
	Safe       uint64 `json:"safe"`
	Generation uint64 `json:"generation"`
	Boot       uint64 `json:"boot"` // opens of this file
}

// checkpoint bounds the scan at open (key "checkpoint"): the index holds all
// ids up to Seq in runs, and Registers is as of Seq.
type checkpoint struct {
	Seq       uint64                  `json:"seq"`
	Registers []protocol.RegisterSeen `json:"registers"`
}

func encodeMeta(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode meta: %w", err)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), crc32.Checksum(body, castagnoli))
	return append(b, body...), nil
}

func decodeMeta(what string, b []byte, v any) error {
	if len(b) < 4 {
		return &CorruptError{What: what, Got: fmt.Sprintf("%d bytes", len(b)), Want: "at least 4"}
	}
	if got, want := crc32.Checksum(b[4:], castagnoli), binary.BigEndian.Uint32(b); got != want {
		return &CorruptError{What: "checksum of " + what, Got: fmt.Sprintf("%08x", got), Want: fmt.Sprintf("%08x", want)}
	}
	d := json.NewDecoder(bytes.NewReader(b[4:]))
	if err := d.Decode(v); err != nil {
		return &CorruptError{What: what, Got: err.Error(), Want: "JSON"}
	}
	return nil
}

// move judges a SetMerged against the marks and the journal's ends. Safe may go
// back: an aggregator that got its first backup no longer calls safe what no
// backup holds, and a journal that keeps more loses nothing.
func (m marks) move(epoch, merged, safe, generation, head uint64) (marks, error) {
	if merged > head {
		return m, fmt.Errorf("set merged %d: %w (%d)", merged, ErrBeyondHead, head)
	}
	if epoch == m.Epoch && generation == m.Generation && merged < m.Merged {
		return m, fmt.Errorf("set merged %d: is behind %d within epoch %d", merged, m.Merged, epoch)
	}
	next := m
	next.Epoch, next.Generation, next.Merged, next.Safe = epoch, generation, merged, min(safe, merged)
	return next, nil
}

// noRegister stands for the agent itself: what it journals of its own clock is no
// work of a till, and must not make a silent one look busy.
const noRegister = "\x00agent"

// registers remembers the last write of each register.
type registers map[string]int64

func (r registers) seen(name string, us int64) {
	if name == "" || name == noRegister {
		return
	}
	if _, ok := r[name]; !ok && len(r) >= registersMax {
		oldest, at := "", int64(-1)
		for n, t := range r {
			if at < 0 || t < at || (t == at && n < oldest) {
				oldest, at = n, t
			}
		}
		delete(r, oldest)
	}
	r[name] = us
}
