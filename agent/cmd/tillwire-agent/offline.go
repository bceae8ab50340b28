package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"tillwire/agent"
	"tillwire/store/journal"
)

func checkCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	asJSON := f.Bool("json", false, "print the report as JSON")
	repair := f.Bool("repair", false, "on a stopped agent: set a damaged journal aside and salvage it, as the agent's start would")
	if err := f.parse(in); err != nil {
		return err
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	if *repair {
		what, err := agent.Repair(c)
		if err != nil {
			return err
		}
		if what != "" {
			fmt.Fprintf(in.stderr, "repaired: %s\n", what)
		}
	}
	r, err := agent.Check(ctx, c)
	if err != nil {
		return err
	}
	if *asJSON {
		if err := json.NewEncoder(in.stdout).Encode(r); err != nil {
			return err
		}
	} else {
		sayReport(in.stdout, r)
	}
	if r.Failed() {
		return errors.New("a person must act: see what failed, and its remedy, above")
	}
	return nil
}

// sayReport prints what, result, and the remedy where there is one.
func sayReport(w io.Writer, r *agent.CheckReport) {
	state := "stopped"
	if r.Running {
		state = "running"
	}
	fmt.Fprintf(w, "%s (agent %s)\n", r.DataDir, state)
	sayItems(w, r.Items)
}

func sayItems(w io.Writer, items []agent.CheckItem) {
	for _, i := range items {
		fmt.Fprintf(w, "  %-7s  %-13s %s\n", i.Result, i.What, i.Detail)
		if i.Remedy != "" {
			fmt.Fprintf(w, "  %-7s  %-13s → %s\n", "", "", i.Remedy)
		}
	}
}

func exportCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	from := f.Uint64("from", 1, "`seq` to start at")
	verify := f.Bool("verify", false, "verify the whole journal first, and write nothing where it is damaged")
	out := f.String("out", "", "`file` to write, whole or not at all; default stdout")
	if err := f.parse(in); err != nil {
		return err
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	var r *agent.ExportResult
	if *out == "" {
		r, err = agent.Export(ctx, c, *from, *verify, in.stdout)
	} else {
		err = writeWhole(*out, func(w io.Writer) (err error) {
			r, err = agent.Export(ctx, c, *from, *verify, w)
			return err
		})
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(in.stderr, "%d events verified and exported, seq %d to %d; chain %s\n", r.Records, r.Tail, r.Head, r.Chain)
	return nil
}

// writeWhole gives path its name when fill has succeeded and all is on disk.
func writeWhole(path string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path+".partial", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path+".partial"))
	}
	if err := os.Rename(path+".partial", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

const (
	importPoll = 100 * time.Millisecond // how often the agent's progress is read
	importSay  = 20                     // polls between two lines of progress
	importIdle = 100                    // polls without an agent before that is told
)

func importCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	f.operands = 1
	dryRun := f.Bool("dry-run", false, "verify the file to its last line, and import nothing")
	if err := f.parse(in); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return fmt.Errorf("%w: name the file that `tillwire-agent export` wrote", errUsage)
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	file, err := agent.VerifyExport(ctx, f.Arg(0))
	if err != nil {
		return err
	}
	fmt.Fprintf(in.stdout, "verified: %d events of %s/%s, seq %d to %d\n", file.Records-file.Lost, file.Store, file.Agent, file.Tail, file.Head)
	if file.Lost > 0 {
		fmt.Fprintf(in.stdout, "%d places hold no event: their records were lost to damage before the export\n", file.Lost)
	}
	if *dryRun {
		return nil
	}
	if file.Store != c.Store {
		return fmt.Errorf("the file is of store %s, this agent is of store %q: import it where it belongs, or correct store in agent.toml (--store)", file.Store, c.Store)
	}
	path := filepath.Join(c.DataDir, agent.JournalFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := agent.RestoreJournal(ctx, c, file); err != nil {
			return err
		}
		fmt.Fprintf(in.stdout, "restored: a new journal in %s, the same events under the same numbers; start the agent and the aggregator goes on where it stood\n", c.DataDir)
		return nil
	}
	if !journal.InUse(path) {
		return fmt.Errorf("%w: there is a journal in %s and no agent works on it; start the agent and import again, or name an empty folder with --data-dir to restore the journal as it was", errNotReady, c.DataDir)
	}
	state, err := agent.LayImport(c, file)
	if err != nil {
		return err
	}
	return followImport(ctx, in, path, state)
}

// followImport shows how the agent takes the file, to the end.
func followImport(ctx context.Context, in *invocation, path, state string) error {
	tick := time.NewTicker(importPoll)
	defer tick.Stop()
	for n, idle := 1, 0; ; n++ {
		s, err := agent.ReadImportState(state)
		if err != nil {
			return err
		}
		if s != nil && s.Done {
			return sayImported(in, s)
		}
		if s != nil && n%importSay == 0 {
			fmt.Fprintf(in.stderr, "at seq %d: %d new, %d known already, %d skipped, %d refused\n", s.Seq, s.Accepted, s.Duplicates, s.Skipped, s.Refused)
			if s.Waiting != "" {
				fmt.Fprintf(in.stderr, "waiting: %s\n", s.Waiting)
			}
		}
		if idle++; journal.InUse(path) {
			idle = 0
		}
		if idle > importIdle {
			return fmt.Errorf("%w: the agent has stopped; it goes on with the import when it is started again", errNotReady)
		}
		select {
		case <-ctx.Done():
			fmt.Fprintln(in.stderr, "the agent goes on with the import by itself; call import with the same file again to follow it")
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func sayImported(in *invocation, s *agent.ImportState) error {
	fmt.Fprintf(in.stdout, "imported: %d new, %d known already, %d skipped (the agent's own clock readings, lost records), %d refused\n", s.Accepted, s.Duplicates, s.Skipped, s.Refused)
	for _, c := range s.Conflicts {
		fmt.Fprintln(in.stdout, "  refused: "+c)
	}
	switch {
	case s.Error != "":
		return fmt.Errorf("import stopped behind seq %d: %s", s.Seq, s.Error)
	case s.Refused > 0:
		return fmt.Errorf("%d events were refused: compare them with what stands in the journal; nothing was overwritten", s.Refused)
	}
	return nil
}

// checkJournalCommand is what `run` starts as a process of its own to look at a
// suspect journal: bbolt may take that process down.
func checkJournalCommand(_ context.Context, in *invocation) error {
	f := bareFlags(in)
	f.operands = 1
	if err := f.parse(in); err != nil {
		return err
	}
	return agent.CheckFile(f.Arg(0))
}
