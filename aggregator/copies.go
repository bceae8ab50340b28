package aggregator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"tillwire/aggregator/backup"
	"tillwire/aggregator/fleet"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// factLedgerID tells one chain's ledger from another's: copies of two never lie in
// one folder.
const factLedgerID = "ledger/id"

const spoolDir = "backup-spool"

// ledgerID reads the ledger's id, or gives it one.
func ledgerID(l ledger.Ledger) (string, error) {
	b, err := l.Fact(factLedgerID)
	if err == nil {
		return string(b), nil
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return "", fmt.Errorf("read ledger id: %w", err)
	}
	random := make([]byte, 12)
	_, _ = rand.Read(random) // never fails
	id := hex.EncodeToString(random)
	if err := l.Commit(context.Background(), &ledger.Batch{Facts: []ledger.Fact{{Key: factLedgerID, Value: []byte(id)}}}); err != nil {
		return "", fmt.Errorf("set ledger id: %w", err)
	}
	return id, nil
}

// openBackups makes the keeper of copies.
func (a *Aggregator) openBackups() error {
	scratch := filepath.Join(a.cfg.DataDir, spoolDir)
	if err := backup.SpoolLeft(scratch); err != nil {
		return err
	}
	b := &a.cfg.Backup
	k, err := backup.NewKeeper(&backup.Source{
		Ledger: a.ledger, ID: a.ledgerID, Freeze: a.ingest.Freeze, Generation: a.ingest.Generation, Spool: scratch,
		Version: a.deps.Version, Now: a.deps.Now, Log: a.deps.Log,
	}, backup.Options{
		To: b.To, Every: time.Duration(b.Every), Keep: b.Keep, After: b.After, AfterTimeout: time.Duration(b.AfterTimeout),
		Rehearse: time.Duration(b.Rehearse), Covered: a.ingest.Covered, Changed: a.backupChanged,
		Trial: func(ctx context.Context, manifest string) error { return a.trial(ctx, manifest, scratch) },
	})
	if err != nil {
		return fmt.Errorf("open backups: %w", err)
	}
	a.backups = k
	return nil
}

// trial restores a copy beside everything. Where we know our own program it is
// another process: bbolt may end the one that opens a damaged file.
func (a *Aggregator) trial(ctx context.Context, manifest, scratch string) error {
	if a.deps.Self == "" {
		return VerifyBackup(ctx, a.cfg, manifest, "", scratch, io.Discard)
	}
	cmd := exec.CommandContext(ctx, a.deps.Self, "backup", "--verify", manifest, "--scratch", scratch) //nolint:gosec // our own program
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("rehearse restore: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// backupChanged raises and closes the incidents of the copies.
func (a *Aggregator) backupChanged(s backup.Status) {
	failed, overdue := "", ""
	if s.LastError != "" {
		failed = "The last backup failed: " + s.LastError
	}
	if s.Overdue {
		overdue = fmt.Sprintf("There is no backup yet; one is due every %s. Stores keep all that they journal, and their disks fill.", a.cfg.Backup.Every)
		if s.Last != nil {
			overdue = fmt.Sprintf("The newest backup is of %s; one is due every %s. Stores keep all that they journaled since, and their disks fill.",
				s.Last.At.Format(time.RFC3339), a.cfg.Backup.Every)
		}
	}
	a.fleet.Chain(fleet.CodeBackupFailed, failed)
	a.fleet.Chain(fleet.CodeBackupOverdue, overdue)
}

// followBackups looks now and then whether the newest copy has become too old:
// time alone makes it so.
func (a *Aggregator) followBackups(ctx context.Context) error {
	if a.cfg.Backup.To == "" {
		return nil
	}
	t := time.NewTicker(min(time.Minute, time.Duration(a.cfg.Backup.Every)))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			a.backupChanged(a.backups.Status())
		}
	}
}

// raised tells of a ledger that was found to be older than what agents have seen.
func (a *Aggregator) raised(generation uint64, why string) {
	a.fleet.StandChain(fleet.CodeCloudRolledBack, fmt.Sprint(generation), fmt.Sprintf(
		"This ledger is older than what the stores have seen (%s), and nobody restored it by the restore command. It is of generation %d now. Stores send again what they still have; what the aggregator itself took in (reservations, feeds, items, policies, decisions) since the older state is lost.", why, generation))
}

// Backups tells how the copies stand.
func (a *Aggregator) Backups() protocol.BackupStatus { return a.backups.Status().BackupStatus }

// MakeBackup makes a copy now.
func (a *Aggregator) MakeBackup(ctx context.Context, r protocol.BackupRequest) (protocol.BackupCopy, error) {
	if r.To != "" && !filepath.IsAbs(r.To) {
		return protocol.BackupCopy{}, protocol.NewProblem(422, protocol.CodeInvalidField, "A field is not acceptable", "/to is not an absolute path", "name the folder on the aggregator's machine from its root")
	}
	began := a.deps.Now()
	m, err := a.backups.Make(ctx, r.To, r.Begin)
	if err != nil {
		return protocol.BackupCopy{}, protocol.NewProblem(409, "backup_failed", "The backup could not be made", err.Error(), "mend what the detail says and ask again; nothing was lost, and no older copy was touched")
	}
	return protocol.BackupCopy{
		ID: m.ID, At: m.At, Head: m.Head, Generation: m.Generation, StateHash: m.StateHash, Bytes: m.Bytes(), Agents: len(m.Marks),
		DurationS: a.deps.Now().Sub(began).Seconds(), CarriedAway: (r.To == "" || filepath.Clean(r.To) == filepath.Clean(a.cfg.Backup.To)) && len(a.cfg.Backup.After) > 0,
	}, nil
}
