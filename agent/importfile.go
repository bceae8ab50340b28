package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// importLineMax bounds one line of an export: a record of the largest size in
// base64, and its view.
const importLineMax = 4 << 20

// exportReader reads an export and verifies it, line by line.
type exportReader struct {
	scan    *bufio.Scanner
	line    int
	head    exportHeader
	chain   protocol.Chain
	seq     uint64 // of the last record
	records uint64
	ended   bool
}

func readExport(r io.Reader) (*exportReader, error) {
	x := &exportReader{scan: bufio.NewScanner(r)}
	x.scan.Buffer(make([]byte, 0, 1<<16), importLineMax)
	b, err := x.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; write it with `tillwire-agent export`")
	}
	if err != nil {
		return nil, err
	}
	switch err := json.Unmarshal(b, &x.head); {
	case err != nil || x.head.Version == 0:
		return nil, errors.New("line 1 is not the first line of an export; write the file with `tillwire-agent export`")
	case x.head.Version != exportVersion:
		return nil, fmt.Errorf("the export has version %d, this agent reads version %d; use a newer agent", x.head.Version, exportVersion)
	case x.head.Tail == 0:
		return nil, errors.New("line 1: tail_seq is 0")
	}
	x.chain, x.seq = x.head.Chain, x.head.Tail-1
	return x, nil
}

func (x *exportReader) next() ([]byte, error) {
	for x.scan.Scan() {
		x.line++
		if b := bytes.TrimSpace(x.scan.Bytes()); len(b) > 0 {
			return b, nil
		}
	}
	if err := x.scan.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", x.line+1, err)
	}
	return nil, io.EOF
}

// record reads the next record; io.EOF after the last line, which it verifies.
// event is valid until the next call.
func (x *exportReader) record() (exportRecord, error) {
	b, err := x.next()
	if errors.Is(err, io.EOF) {
		if x.ended {
			return exportRecord{}, io.EOF
		}
		return exportRecord{}, fmt.Errorf("the file ends behind seq %d without its last line: it is cut short; export again", x.seq)
	}
	if err != nil {
		return exportRecord{}, err
	}
	var line struct {
		exportRecord
		End     bool   `json:"end"`
		Records uint64 `json:"records"`
		Head    uint64 `json:"head_seq"`
	}
	if err := json.Unmarshal(b, &line); err != nil {
		return exportRecord{}, fmt.Errorf("line %d is no JSON of an export: %w", x.line, err)
	}
	switch {
	case x.ended:
		return exportRecord{}, fmt.Errorf("line %d stands behind the last line", x.line)
	case line.End && (line.Records != x.records || line.Head != x.seq || line.Chain != x.chain):
		return exportRecord{}, fmt.Errorf("line %d says %d records up to seq %d with chain %s; read were %d up to %d with %s", x.line, line.Records, line.Head, line.Chain, x.records, x.seq, x.chain)
	case line.End:
		x.ended = true
		return x.record()
	case line.Seq != x.seq+1:
		return exportRecord{}, fmt.Errorf("line %d holds seq %d, want %d", x.line, line.Seq, x.seq+1)
	case len(line.Event) == 0 || len(line.Event) > protocol.RecordBytesMax:
		return exportRecord{}, fmt.Errorf("line %d: the event of seq %d has %d bytes, want 1 to %d", x.line, line.Seq, len(line.Event), protocol.RecordBytesMax)
	}
	rec := append(binary.AppendUvarint(nil, uint64(line.US)), line.Event...)
	if x.chain = x.chain.Next(rec); line.US <= 0 || x.chain != line.Chain {
		return exportRecord{}, fmt.Errorf("line %d: seq %d does not fit the chain: got %s, want %s; the file was changed", x.line, line.Seq, line.Chain, x.chain)
	}
	x.seq++
	x.records++
	return line.exportRecord, nil
}

// ImportFile is an export that was verified to its last line.
type ImportFile struct {
	Path                string
	Store, Agent        string
	Records, Tail, Head uint64
	Lost                uint64 // places of records that were lost to damage
	head                exportHeader
	chain               protocol.Chain
}

// VerifyExport reads an export whole and verifies each record, its place and the
// last line.
func VerifyExport(ctx context.Context, path string) (*ImportFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read export: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	x, err := readExport(f)
	if err != nil {
		return nil, fmt.Errorf("read export %s: %w", path, err)
	}
	r := &ImportFile{Path: path, Store: x.head.Store, Agent: x.head.Agent, Tail: x.head.Tail, head: x.head}
	for {
		line, err := x.record()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("read export %s: %w", path, err)
		}
		var e protocol.Event
		if protocol.DecodeEvent(line.Event, &e) != nil {
			r.Lost++
		}
	}
	r.Records, r.Head, r.chain = x.records, x.seq, x.chain
	return r, nil
}

// name is that of the copy in the agent's import folder: the same for the same
// export, so that importing it twice is going on with it.
func (f *ImportFile) name() string {
	return fmt.Sprintf("%.16s-%d-%d-%s", hex.EncodeToString([]byte(f.head.InstallID)), f.Tail, f.Head, hex.EncodeToString(f.chain[:4]))
}

// RestoreJournal makes a journal of an export in a folder that has none: the same
// events under the same numbers and chain, so that the aggregator goes on with
// it where it stood.
func RestoreJournal(ctx context.Context, c Config, file *ImportFile) error {
	f, err := os.Open(file.Path)
	if err != nil {
		return fmt.Errorf("read export: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	x, err := readExport(f)
	if err != nil {
		return err
	}
	err = journal.Restore(filepath.Join(c.DataDir, JournalFile), journal.Restored{
		InstallID: x.head.InstallID, CreatedUS: x.head.CreatedUS, Tail: x.head.Tail, ChainTail: x.head.Chain,
		Epoch: x.head.Epoch, Merged: x.head.Merged, ChainHead: func() protocol.Chain { return x.chain },
		Next: func() (int64, []byte, error) {
			line, err := x.record()
			if err == nil {
				err = ctx.Err()
			}
			return line.US, line.Event, err
		},
	})
	if err != nil {
		return err
	}
	return keepOwner(c.DataDir)
}
