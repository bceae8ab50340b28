package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// A folder of copies:
//
//	tillwire-backups.json                 whose ledger's copies these are
//	log/00000012-3fa9c1….seg.zst          segment 12 of the log; shared, never changed
//	copies/20261123T181500Z-g1-….state    all that is not a full segment
//	copies/20261123T181500Z-g1-….json     the manifest: a copy is there when this is
//	tmp/                                  what was being written
const (
	markerName = "tillwire-backups.json"
	logDir     = "log"
	copiesDir  = "copies"
	tmpDir     = "tmp"
	stateExt   = ".state.zst"
	segmentExt = ".seg.zst"
	listExt    = ".json"
)

// ErrDamaged says that a copy is not what its manifest says.
var ErrDamaged = errors.New("backup is damaged")

// Manifest describes a copy. Whoever holds it and the files it names can make the
// ledger again.
type Manifest struct {
	Format     int       `json:"format"`
	ID         string    `json:"id"`
	Ledger     string    `json:"ledger"` // id of the ledger
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"` // the moment that the copy is of
	Version    string    `json:"version"`
	Head       uint64    `json:"head"` // position of the newest entry
	Checkpoint uint64    `json:"checkpoint"`
	StateHash  string    `json:"state_hash"` // digest of the positions, as of Head
	State      File      `json:"state"`
	Segments   []Segment `json:"segments"`
	Marks      []Mark    `json:"marks"`
}

// File is one file of a copy.
type File struct {
	Name   string `json:"name"` // below the folder, with slashes
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Segment is a full segment of the log. Its tip tells whether the ledger still has
// the same one: after a restore it may not.
type Segment struct {
	File
	No       uint64    `json:"no"`
	Tip      bolt.Tip  `json:"tip"`
	Verified time.Time `json:"verified"` // last read back whole
}

// Mark is how far a journal is contained.
type Mark struct {
	Store protocol.StoreID `json:"store"`
	Agent protocol.AgentID `json:"agent"`
	Epoch uint64           `json:"epoch"`
	Seq   uint64           `json:"seq"`
	Chain protocol.Chain   `json:"chain"`
}

func marksOf(list []ledger.Mark) []Mark {
	out := make([]Mark, len(list))
	for i := range list {
		m := &list[i]
		out[i] = Mark{m.Origin.Store, m.Origin.Agent, m.Epoch, m.Seq, m.Chain}
	}
	return out
}

// LedgerMarks are the marks as the door takes them.
func (m *Manifest) LedgerMarks() []ledger.Mark {
	out := make([]ledger.Mark, len(m.Marks))
	for i, x := range m.Marks {
		out[i] = ledger.Mark{Origin: protocol.Origin{Store: x.Store, Agent: x.Agent}, Epoch: x.Epoch, Seq: x.Seq, Chain: x.Chain}
	}
	return out
}

// Bytes is what the copy's files take, those that it shares included.
func (m *Manifest) Bytes() int64 {
	n := m.State.Bytes
	for i := range m.Segments {
		n += m.Segments[i].Bytes
	}
	return n
}

// files lists the names of a copy's files.
func (m *Manifest) files() []string {
	out := []string{m.State.Name}
	for i := range m.Segments {
		out = append(out, m.Segments[i].Name)
	}
	return out
}

// idOf names a copy: names sort by time.
func idOf(at time.Time, generation, head uint64) string {
	return fmt.Sprintf("%s-g%d-%012d", at.UTC().Format("20060102T150405.000Z"), generation, head)
}

// generationOf reads it from a copy's id; 0 where it is no id of ours.
func generationOf(id string) uint64 {
	var g, head uint64
	if _, rest, ok := strings.Cut(id, "-"); ok {
		_, _ = fmt.Sscanf(rest, "g%d-%d", &g, &head)
	}
	return g
}

// sealedManifest is the file: the manifest's own bytes, and their sum.
type sealedManifest struct {
	Manifest json.RawMessage `json:"manifest"`
	SHA256   string          `json:"sha256"`
}

func encodeManifest(m *Manifest) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	b, err := json.Marshal(sealedManifest{body, sum(body)})
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return append(b, '\n'), nil
}

func decodeManifest(b []byte) (*Manifest, error) {
	var s sealedManifest
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("decode manifest: %w: %w", ErrDamaged, err)
	}
	if got := sum(s.Manifest); got != s.SHA256 {
		return nil, fmt.Errorf("decode manifest: %w: its sum is %s, want %s", ErrDamaged, got, s.SHA256)
	}
	m := &Manifest{}
	if err := json.Unmarshal(s.Manifest, m); err != nil {
		return nil, fmt.Errorf("decode manifest: %w: %w", ErrDamaged, err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("decode manifest: format is %d, this version reads %d; use the version that wrote it (%s)", m.Format, manifestFormat, m.Version)
	}
	return m, m.check()
}

// check refuses what no run has written: names are opened below the folder.
func (m *Manifest) check() error {
	for _, name := range m.files() {
		dir, file, ok := strings.Cut(name, "/")
		if !ok || dir != logDir && dir != copiesDir || file == "" || strings.ContainsAny(file, `/\:`) || strings.HasPrefix(file, ".") {
			return fmt.Errorf("check manifest %s: %w: it names the file %q", m.ID, ErrDamaged, name)
		}
	}
	for i := range m.Segments {
		if m.Segments[i].No != uint64(i) {
			return fmt.Errorf("check manifest %s: %w: segment %d stands where %d should", m.ID, ErrDamaged, m.Segments[i].No, i)
		}
	}
	if want := m.Head / bolt.SegmentEntries; uint64(len(m.Segments)) != want {
		return fmt.Errorf("check manifest %s: %w: it has %d segments, want %d", m.ID, ErrDamaged, len(m.Segments), want)
	}
	return nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// marker says whose copies a folder holds.
type marker struct {
	Ledger string `json:"ledger"`
	Folder string `json:"folder"` // random: tells a folder from an empty mount point
}

func decodeMarker(b []byte) (marker, error) {
	var m marker
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&m); err != nil || m.Ledger == "" || m.Folder == "" {
		return m, fmt.Errorf("read %s: %w", markerName, ErrDamaged)
	}
	return m, nil
}
