package bolt

import (
	"encoding/binary"
	"fmt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// A mark's payload; numbers are uvarints unless said otherwise:
//
//	format (1 byte) epoch lease seq chain (16 bytes) safe_seq head_seen
//	zigzag(record_us) zigzag(merged_us) install_id boot_id
//	forks { epoch after } × forks  own
//
// with strings as length ‖ bytes. A batch of live frames moves a mark for every
// two or three events, and as JSON the marks were more bytes than the events.
//
// Format 1 had no own; it is read as none.
const markFormat = 2

func appendMark(b []byte, m *ledger.Mark) []byte {
	b = append(b, markFormat)
	b = binary.AppendUvarint(b, m.Epoch)
	b = binary.AppendUvarint(b, m.Lease)
	b = binary.AppendUvarint(b, m.Seq)
	b = append(b, m.Chain[:]...)
	b = binary.AppendUvarint(b, m.SafeSeq)
	b = binary.AppendUvarint(b, m.HeadSeen)
	b = binary.AppendVarint(b, m.RecordUS)
	b = binary.AppendVarint(b, m.MergedUS)
	for _, s := range []string{m.InstallID, m.BootID} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Forks)))
	for _, f := range m.Forks {
		b = binary.AppendUvarint(b, f.Epoch)
		b = binary.AppendUvarint(b, f.After)
	}
	return binary.AppendUvarint(b, m.Own)
}

func decodeMark(o protocol.Origin, b []byte) (ledger.Mark, error) {
	d := decoder{b: b}
	m := ledger.Mark{Origin: o}
	format := d.byte()
	m.Epoch, m.Lease, m.Seq = d.uint(), d.uint(), d.uint()
	copy(m.Chain[:], d.take(len(m.Chain)))
	m.SafeSeq, m.HeadSeen = d.uint(), d.uint()
	m.RecordUS, m.MergedUS = d.int(), d.int()
	m.InstallID, m.BootID = d.string(), d.string()
	for n := d.uint(); n > 0 && !d.bad; n-- {
		m.Forks = append(m.Forks, ledger.Fork{Epoch: d.uint(), After: d.uint()})
	}
	if format > 1 {
		m.Own = d.uint()
	}
	if d.bad || len(d.b) > 0 || format == 0 || format > markFormat {
		return m, fmt.Errorf("decode mark of %s: %w: format %d, want at most %d, %d bytes left over", o, ledger.ErrCorrupt, format, markFormat, len(d.b))
	}
	return m, nil
}

func (d *decoder) string() string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return ""
	}
	return string(d.take(int(n)))
}
