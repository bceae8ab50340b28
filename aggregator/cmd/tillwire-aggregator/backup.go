package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tillwire/aggregator"
	"tillwire/protocol"
	"tillwire/store/ledger/bolt"
)

// backupCommand makes a copy: by the running aggregator where one serves the data
// folder, else of the stopped one's ledger.
func backupCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in, "backup")
	to := f.String("to", "", "`folder` of the copies; the configured one (backup.to) moves the safe mark, another is a copy and no more")
	begin := f.Bool("begin", false, "take the folder though it is not the one used before")
	verify := f.String("verify", "", "make no copy, but read this `folder`'s newest copy (or a manifest) back, restore it for a trial, and compare")
	at := f.String("at", "", "with --verify: the copy whose id `begins` so")
	scratch := f.String("scratch", os.TempDir(), "with --verify: `folder` for the trial; as large as the ledger")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	if *verify != "" {
		return aggregator.VerifyBackup(ctx, c, *verify, *at, *scratch, in.stdout)
	}
	if *to != "" {
		if *to, err = filepath.Abs(*to); err != nil {
			return fmt.Errorf("%w: --to: %w", errUsage, err)
		}
	}
	req := protocol.BackupRequest{To: *to, Begin: *begin}
	var made protocol.BackupCopy
	if bolt.CheckUnused(filepath.Join(c.DataDir, aggregator.LedgerFile)) != nil {
		made, err = askBackup(ctx, c, req)
	} else {
		made, err = stoppedBackup(ctx, c, req)
	}
	if err != nil {
		return err
	}
	folder := req.To
	if folder == "" {
		folder = c.Backup.To
	}
	_, err = fmt.Fprintf(in.stdout, "copy %s in %s: %d entries, %d journals, %d bytes, generation %d, read back and verified in %.1f s\n",
		made.ID, folder, made.Head, made.Agents, made.Bytes, made.Generation, made.DurationS)
	return err
}

func stoppedBackup(ctx context.Context, c aggregator.Config, r protocol.BackupRequest) (protocol.BackupCopy, error) {
	if r.To == "" {
		r.To = c.Backup.To
	}
	if r.To == "" {
		return protocol.BackupCopy{}, fmt.Errorf("%w: name a folder with --to, or set backup.to", errUsage)
	}
	began := time.Now()
	m, err := aggregator.BackupOffline(ctx, c, r.To, version, r.Begin)
	if err != nil {
		return protocol.BackupCopy{}, err
	}
	return protocol.BackupCopy{ID: m.ID, At: m.At, Head: m.Head, Generation: m.Generation, Bytes: m.Bytes(), Agents: len(m.Marks), DurationS: time.Since(began).Seconds()}, nil
}

// askBackup asks the aggregator that serves the data folder.
func askBackup(ctx context.Context, c aggregator.Config, r protocol.BackupRequest) (made protocol.BackupCopy, err error) {
	ask, err := askOwn(c, "admin", "backup-command", copyTakes)
	if err != nil {
		return made, err
	}
	b, err := ask.do(ctx, http.MethodPost, []string{"v1", "backups"}, r)
	return made, into(b, err, &made)
}

// copyTakes is longer than any copy should: the folder may be far away.
const copyTakes = 12 * time.Hour

func restoreCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in, "restore")
	from := f.String("from", "", "`folder` of the copies, whose newest is taken, or the manifest of one")
	at := f.String("at", "", "take the copy whose id `begins` so, e.g. 20261123T18")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	if *from == "" {
		return fmt.Errorf("%w: name the copies with --from", errUsage)
	}
	return aggregator.RestoreBackup(ctx, c, *from, *at, in.stdout)
}
