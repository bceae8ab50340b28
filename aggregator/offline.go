package aggregator

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/credential"
	"tillwire/aggregator/identity"
	"tillwire/aggregator/ingest"
	"tillwire/aggregator/merge"
	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// What can be done with a data folder without serving it.

// IssueAgent makes an agent's secret.
func IssueAgent(c Config, store, agent string) (string, error) {
	for _, n := range []struct{ flag, name string }{{"--store", store}, {"--agent", agent}} {
		if err := protocol.CheckName(n.name); err != nil {
			return "", fmt.Errorf("%s %q %w", n.flag, n.name, err)
		}
	}
	keys, err := credential.Open(c.DataDir, time.Now)
	if err != nil {
		return "", err
	}
	return keys.Agent(protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}), nil
}

// IssueKey makes an API key. valid 0 never ends.
func IssueKey(c Config, role, name string, valid time.Duration) (string, error) {
	keys, err := credential.Open(c.DataDir, time.Now)
	if err != nil {
		return "", err
	}
	return keys.Key(credential.Role(role), name, valid)
}

// passingKeyLife is longer than any command works.
const passingKeyLife = time.Hour

// PassingKey makes one for a command beside a running aggregator.
func PassingKey(c Config, role, name string) (string, error) {
	keys, err := credential.Open(c.DataDir, time.Now)
	if err != nil {
		return "", err
	}
	return keys.Passing(credential.Role(role), name, passingKeyLife)
}

// APIKeys lists the keys of a data folder.
func APIKeys(c Config) ([]protocol.APIKey, error) {
	keys, err := credential.Open(c.DataDir, time.Now)
	if err != nil {
		return nil, err
	}
	return keys.Keys()
}

// RevokeKey ends a key by its id, or all of a name; a running aggregator knows within
// a second or two.
func RevokeKey(c Config, idOrName string) error {
	keys, err := credential.Open(c.DataDir, time.Now)
	if err != nil {
		return err
	}
	return keys.RevokeKey(idOrName)
}

// IssueEnrolment makes a one-off code with which a host of the store enrols.
func IssueEnrolment(c Config, store string, valid time.Duration) (string, error) {
	if err := protocol.CheckName(store); err != nil {
		return "", fmt.Errorf("--store %q %w", store, err)
	}
	if valid <= 0 || valid > 24*time.Hour {
		return "", fmt.Errorf("--valid %s is not between 0 and 24h", valid)
	}
	keys, err := credential.Open(c.DataDir, time.Now)
	if err != nil {
		return "", err
	}
	if c.ownCA() {
		ca, err := identity.OpenOrInit(c.DataDir, caName, time.Now)
		if err != nil {
			return "", fmt.Errorf("open authority: %w", err)
		}
		keys.Pin(ca.Pin())
	}
	code, _ := keys.Enrolment(protocol.StoreID(store), "", valid)
	return code, nil
}

// openOffline opens the ledger for reading. It fails while an aggregator runs
// on the folder.
func openOffline(c Config) (*bolt.Ledger, error) {
	path := filepath.Join(c.DataDir, LedgerFile)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("find ledger: %w; name its folder with --data-dir", err)
	}
	l, err := bolt.Open(bolt.Options{Path: path, Log: zerolog.Nop(), ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("open ledger (stop the aggregator first): %w", err)
	}
	return l, nil
}

// FsckResult compares the log with the fold that the aggregator would start from.
type FsckResult struct {
	Entries     uint64       `json:"entries"`
	Positions   int          `json:"positions"`
	Differences []Difference `json:"differences"`
	StateHash   string       `json:"state_hash"` // of the log's positions
}

// Difference is one position on which they disagree.
type Difference struct {
	Location protocol.StoreID  `json:"location"`
	SKU      protocol.SKU      `json:"sku"`
	Stored   protocol.Quantity `json:"stored"`
	Log      protocol.Quantity `json:"log"`
}

const differencesMax = 1000

// Fsck folds the whole log anew and compares every position with the stored
// checkpoint plus the log behind it. Every entry's checksum is verified on the
// way.
func Fsck(_ context.Context, c Config) (*FsckResult, error) {
	l, err := openOffline(c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	stored, _, err := ingest.Load(l, c.rules())
	if err != nil {
		return nil, fmt.Errorf("load the stored fold: %w", err)
	}
	whole, err := ingest.Rebuild(l, c.rules())
	if err != nil {
		return nil, err
	}
	r := &FsckResult{Entries: uint64(l.Head()), Positions: whole.Cells(), Differences: []Difference{}, StateHash: whole.Certificate()}
	whole.Each(func(w merge.Cell) {
		s := merge.Cell{}
		if int(w.ID) <= stored.Cells() {
			s = stored.Cell(w.ID)
		}
		w.LastUS, s.LastUS = 0, 0
		if s != w && len(r.Differences) < differencesMax {
			r.Differences = append(r.Differences, Difference{w.Location, w.SKU, s.OnHand, w.OnHand})
		}
	})
	return r, nil
}

// exported is one line of Export.
type exported struct {
	Position uint64          `json:"position"`
	Origin   protocol.Origin `json:"origin"`
	Epoch    uint64          `json:"epoch"`
	Seq      uint64          `json:"seq"`
	MergedAt time.Time       `json:"merged_at"`
	Recorded time.Time       `json:"recorded_at"`
	Document map[string]any  `json:"document"`
}

// Export writes the log as NDJSON from a position on.
func Export(ctx context.Context, c Config, from uint64, w io.Writer) error {
	l, err := openOffline(c)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	journals, err := l.Journals()
	if err != nil {
		return err
	}
	names := map[ledger.OriginID]protocol.Origin{}
	for _, j := range journals {
		names[j.ID] = j.Origin
	}
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	err = l.Scan(ledger.Position(from), func(en *ledger.Entry) error {
		if en.Ref != 0 {
			return ctx.Err()
		}
		var ev protocol.Event
		us, err := protocol.DecodeRecord(en.Record, &ev)
		if err != nil {
			return fmt.Errorf("decode entry %d: %w", en.Position, err)
		}
		return enc.Encode(exported{
			Position: uint64(en.Position), Origin: names[en.Origin], Epoch: en.Epoch, Seq: en.Seq,
			MergedAt: time.UnixMicro(en.MergedUS).UTC(), Recorded: time.UnixMicro(us).UTC(), Document: protocol.ViewDocument(&ev),
		})
	})
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return out.Flush()
}
