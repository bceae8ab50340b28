package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// An export is JSON Lines, UTF-8, one object per line:
//
//	{"tillwire_export":1,"store":…,"agent":…,"install_id":…,"epoch":…,"merged_seq":…,"tail_seq":…,"chain":…,"exported_at":…}
//	{"seq":…,"recorded_us":…,"recorded_at":…,"chain":…,"event":…,"document":{…}}
//	…
//	{"end":true,"records":…,"head_seq":…,"chain":…}
//
// event is the event's own bytes in base64 (protocol/SPEC.md); document is their
// view for people; where a record was lost to damage problem says so in its place.
// The first line's chain stands in front of tail_seq; each record's is
// SHA-256(chain before ‖ uvarint(recorded_us) ‖ event)[:16] in hex, so that
// anybody can verify an export without Tillwire. A file without its last line is
// not whole. Fields may be added; none is renamed or removed within version 1.
const exportVersion = 1

type exportHeader struct {
	Version   int            `json:"tillwire_export"`
	Store     string         `json:"store"`
	Agent     string         `json:"agent"`
	InstallID string         `json:"install_id"`
	CreatedUS int64          `json:"created_us"`
	Epoch     uint64         `json:"epoch"`
	Merged    uint64         `json:"merged_seq"`
	Tail      uint64         `json:"tail_seq"`
	Chain     protocol.Chain `json:"chain"`
	At        time.Time      `json:"exported_at"`
}

type exportRecord struct {
	Seq      uint64         `json:"seq"`
	US       int64          `json:"recorded_us"`
	At       time.Time      `json:"recorded_at"`
	Chain    protocol.Chain `json:"chain"`
	Event    []byte         `json:"event"`
	Document map[string]any `json:"document,omitempty"`
	Problem  string         `json:"problem,omitempty"` // a place whose record was lost to damage
}

type exportEnd struct {
	End     bool           `json:"end"`
	Records uint64         `json:"records"`
	Head    uint64         `json:"head_seq"`
	Chain   protocol.Chain `json:"chain"`
}

// ExportResult says what an export holds.
type ExportResult struct {
	Records, Tail, Head uint64
	Chain               string
}

// Export writes the journal from a seq on (0 = all), each record verified by its
// checksum and the chain as it is written; it may run beside a working agent.
// verify has the whole journal verified first, index and pages included, so that
// nothing is written of a damaged one.
func Export(ctx context.Context, c Config, from uint64, verify bool, w io.Writer) (*ExportResult, error) {
	path := filepath.Join(c.DataDir, JournalFile)
	first, err := journal.Inspect(ctx, path, ^uint64(0), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w; name its folder with --data-dir", err)
	}
	if err == nil && verify {
		first, err = journal.Inspect(ctx, path, 0, nil)
	}
	if err != nil {
		return nil, err
	}
	if verify && first.Damage != nil {
		return nil, fmt.Errorf("%w; `tillwire-agent check` says what to do, export without --verify takes what stands in front of the damage", first.Damage)
	}
	out := bufio.NewWriterSize(w, 1<<16)
	x := exporter{c: c, enc: json.NewEncoder(out), about: first}
	x.enc.SetEscapeHTML(false)
	found, err := journal.Inspect(ctx, path, from, x.record)
	if err != nil {
		return nil, fmt.Errorf("export journal: %w", err)
	}
	if x.records == 0 && found.Damage == nil {
		if err := x.begin(found.Tail, found.ChainTail); err != nil {
			return nil, err
		}
	}
	if found.Damage != nil { // without its last line the file says itself that it is not whole
		return nil, errors.Join(fmt.Errorf("export journal: after %d events: %w", x.records, found.Damage), out.Flush())
	}
	if err := errors.Join(x.enc.Encode(exportEnd{End: true, Records: x.records, Head: found.Head, Chain: found.ChainHead}), out.Flush()); err != nil {
		return nil, fmt.Errorf("export journal: %w", err)
	}
	return &ExportResult{Records: x.records, Tail: found.Tail, Head: found.Head, Chain: found.ChainHead.String()}, nil
}

// exporter writes the lines. The chain in front of the first record is known from
// that record's own: it is asked of the journal by the record before.
type exporter struct {
	c       Config
	enc     *json.Encoder
	about   *journal.Inspection
	records uint64
}

func (x *exporter) begin(tail uint64, chain protocol.Chain) error {
	return x.enc.Encode(exportHeader{
		Version: exportVersion, Store: x.c.Store, Agent: x.c.Agent, InstallID: x.about.InstallID, CreatedUS: x.about.CreatedUS,
		Epoch: x.about.Epoch, Merged: x.about.Merged, Tail: tail, Chain: chain, At: time.Now().UTC(),
	})
}

func (x *exporter) record(seq uint64, us int64, rec []byte, before, chain protocol.Chain) error {
	if x.records == 0 {
		if err := x.begin(seq, before); err != nil {
			return err
		}
	}
	x.records++
	_, event, err := protocol.SplitRecord(rec)
	if err != nil {
		return err
	}
	line := exportRecord{Seq: seq, US: us, At: time.UnixMicro(us).UTC(), Chain: chain, Event: event}
	line.Document, line.Problem = view(rec)
	return x.enc.Encode(&line)
}
