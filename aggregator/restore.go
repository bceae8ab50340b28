package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/backup"
	"tillwire/aggregator/credential"
	"tillwire/aggregator/fleet"
	"tillwire/aggregator/identity"
	"tillwire/aggregator/ingest"
	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// BackupOffline copies the ledger of a stopped aggregator. It moves no mark: the
// next copy of the running one does.
func BackupOffline(ctx context.Context, c Config, to, version string, begin bool) (*backup.Manifest, error) {
	path := filepath.Join(c.DataDir, LedgerFile)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("find ledger: %w; name its folder with --data-dir", err)
	}
	l, err := bolt.Open(bolt.Options{Path: path, Log: zerolog.Nop()})
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	defer func() { _ = l.Close() }()
	id, err := ledgerID(l)
	if err != nil {
		return nil, err
	}
	generation, err := ingest.ReadGeneration(l)
	if err != nil {
		return nil, err
	}
	m, _, err := backup.Make(ctx, &backup.Source{
		Ledger: l, ID: id, Generation: func() uint64 { return generation }, Spool: filepath.Join(c.DataDir, spoolDir), Version: version, Now: time.Now, Log: zerolog.Nop(),
		Freeze: func(_ context.Context, fn func(string) error) error {
			f, _, err := ingest.Load(l, c.rules())
			if err != nil {
				return err
			}
			return fn(f.Certificate())
		},
	}, to, "", begin)
	return m, err
}

// foldOf folds a ledger's whole log anew.
func foldOf(c Config) backup.Fold {
	return func(path string) (string, error) {
		l, err := bolt.Open(bolt.Options{Path: path, Log: zerolog.Nop()}) // writable: its index of ids may be still to make
		if err != nil {
			return "", err
		}
		defer func() { _ = l.Close() }()
		f, err := ingest.Rebuild(l, c.rules())
		if err != nil {
			return "", err
		}
		return f.Certificate(), nil
	}
}

// VerifyBackup reads a copy back whole, restores it into a scratch folder, folds it,
// and compares.
func VerifyBackup(ctx context.Context, c Config, from, at, scratch string, out io.Writer) error {
	f, m, err := backup.Find(from, at)
	if err == nil {
		err = f.Verify(ctx, m)
	}
	if err == nil {
		err = f.Rehearse(ctx, m, scratch, foldOf(c))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "copy %s of %s: %d entries, %d journals, generation %d, every checksum right; restored for a trial, its positions have the digest %s as they should\n",
		m.ID, m.At.Format(time.RFC3339), m.Head, len(m.Marks), m.Generation, m.StateHash)
	return err
}

// RestoreBackup replaces the ledger of a stopped aggregator by a copy and says what
// will happen.
func RestoreBackup(ctx context.Context, c Config, from, at string, out io.Writer) error {
	var lost string
	r, err := backup.Restore(ctx, &backup.RestoreOptions{
		From: from, At: at, Ledger: filepath.Join(c.DataDir, LedgerFile), Now: time.Now, Log: zerolog.Nop(), Fold: foldOf(c), Generation: generationAt,
		Adopt: func(path string, m *backup.Manifest, generation uint64) (err error) {
			lost, err = adopt(path, m, generation, time.Now())
			return err
		},
	})
	if err != nil {
		return err
	}
	agents := 0
	for i := range r.Manifest.Marks {
		if m := &r.Manifest.Marks[i]; !(protocol.Origin{Store: m.Store, Agent: m.Agent}).IsFeed() {
			agents++
		}
	}
	aside := "There was no ledger before."
	if r.Aside != "" {
		aside = "The ledger that was there before is now " + r.Aside + "; delete it when you are sure."
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, credential.KeyFile)); err != nil {
		aside += "\nWARNING: " + credential.KeyFile + " is not in " + c.DataDir + ". It signs every token and is never in a backup: put your own copy of it there\nbefore you start, or every agent and every key must be issued anew."
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, identity.Folder)); err != nil && c.ownCA() {
		aside += "\nWARNING: the folder " + identity.Folder + " is not in " + c.DataDir + ". It signs every certificate and is never in a backup: put your own copy of it there\nbefore you start, or every agent must be enrolled anew."
	}
	_, err = fmt.Fprintf(out, `Restored copy %s: the state of %s, %d entries, digest %s.
%s
The cloud generation is %d now.

When the aggregator starts:
- %d agents say hello, hear how far this ledger goes, and send again what they journaled since. Until a store
  has caught up its state is "rebuilding" and its numbers are marked provisional. Nothing counts twice.
- Click-and-collect tasks that a store knows and this ledger does not are taken back from the store.
- %s
The last point stands as an incident (cloud_restored) until somebody marks it as dealt with.
`, r.Manifest.ID, r.Manifest.At.Format(time.RFC3339), r.Manifest.Head, r.Manifest.StateHash, aside, r.Generation, agents, lost)
	return err
}

// generationAt is that of a ledger as far as it can be read; 0 where it cannot.
func generationAt(path string) uint64 {
	if _, err := os.Stat(path); err != nil {
		return 0
	}
	l, err := bolt.Open(bolt.Options{Path: path, Log: zerolog.Nop(), ReadOnly: true})
	if err != nil {
		return 0
	}
	defer func() { _ = l.Close() }()
	g, err := ingest.ReadGeneration(l)
	if err != nil {
		return 0
	}
	return g
}

// adopt makes a rebuilt copy the chain's ledger: a new generation, every mark safe
// (this very copy holds it), and an incident that names what is lost.
func adopt(path string, m *backup.Manifest, generation uint64, now time.Time) (lost string, err error) {
	l, err := bolt.Open(bolt.Options{Path: path, Log: zerolog.Nop()})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	marks, err := l.Marks()
	if err != nil {
		return "", err
	}
	lost = lostWith(marks, m.At, now)
	standing, err := l.Fact(factStanding)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return "", err
	}
	var list []protocol.Incident
	if len(standing) > 0 {
		if err := json.Unmarshal(standing, &list); err != nil {
			return "", fmt.Errorf("read standing incidents: %w", err)
		}
	}
	list = append(list, fleet.ChainIncident(fleet.CodeCloudRestored, fmt.Sprint(generation),
		fmt.Sprintf("The ledger was restored from the backup of %s (generation %d). %s", m.At.Format(time.RFC3339), generation, lost), now))
	value, err := json.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("write standing incidents: %w", err)
	}
	b := &ledger.Batch{Facts: []ledger.Fact{{Key: ingest.FactGeneration, Value: ingest.EncodeGeneration(generation)}, {Key: factStanding, Value: value}}}
	for i := range marks {
		x := marks[i]
		x.WasEpoch, x.WasLease, x.WasSeq = x.Epoch, x.Lease, x.Seq
		x.SafeSeq = x.Seq
		b.Marks = append(b.Marks, x)
	}
	return lost, l.Commit(context.Background(), b)
}

const feedsNamed = 20 // in the words of a restore

// lostWith says what only the aggregator knew: it came after the copy and stands in
// no store's journal.
func lostWith(marks []ledger.Mark, copied, now time.Time) string {
	var feeds []string
	for i := range marks {
		o := marks[i].Origin
		if !o.IsFeed() || o.Store == protocol.ChainStore || o.Agent == protocol.ReservationsOrigin.Agent || o.Agent == protocol.DecisionsOrigin.Agent {
			continue
		}
		feeds = append(feeds, fmt.Sprintf("%s of %s up to %s", strings.TrimPrefix(string(o.Agent), protocol.FeedAgentPrefix), o.Store, time.UnixMicro(marks[i].MergedUS).UTC().Format("15:04:05 on 2006-01-02")))
	}
	slices.Sort(feeds)
	more := ""
	if n := len(feeds) - feedsNamed; n > 0 {
		feeds, more = feeds[:feedsNamed], fmt.Sprintf(" and %d more", n)
	}
	s := fmt.Sprintf("What the aggregator itself took in between %s and %s is lost: reservations that no store knows of, items, policies, decisions, and feeds' documents.",
		copied.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	if len(feeds) > 0 {
		s += " Have these sources send again what is newer; what is known already does not count twice: " + strings.Join(feeds, "; ") + more + "."
	}
	return s
}
