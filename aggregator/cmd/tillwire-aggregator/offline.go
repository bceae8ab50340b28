package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tillwire/aggregator"
)

// tokenCommand prints a credential alone on stdout, for scripts.
func tokenCommand(_ context.Context, in *invocation) error {
	f := newFlags(in, "token")
	store := f.String("store", "", "`shop` of the agent")
	agent := f.String("agent", "server", "`name` of the agent within the shop")
	role := f.String("role", "", "`role` of an API key: channel, feed, ops or admin")
	name := f.String("name", "", "`name` of an API key, shown in logs and audits")
	enroll := f.Bool("enroll", false, "print a one-off enrolment token for --store")
	valid := f.Duration("valid", 0, "how long it is good: an enrolment token 24h, which is the most; an API key without end")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	var token string
	switch {
	case (*role != "") == (*store != ""):
		return fmt.Errorf("%w: name either --store for an agent, or --role and --name for an API key", errUsage)
	case *role != "":
		token, err = aggregator.IssueKey(c, *role, *name, *valid)
	case *enroll:
		if *valid == 0 {
			*valid = 24 * time.Hour
		}
		token, err = aggregator.IssueEnrolment(c, *store, *valid)
	default:
		token, err = aggregator.IssueAgent(c, *store, *agent)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	_, err = fmt.Fprintln(in.stdout, token)
	return err
}

func fsckCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in, "fsck")
	asJSON := f.Bool("json", false, "print the result as JSON")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	r, err := aggregator.Fsck(ctx, c)
	if err != nil {
		return err
	}
	if *asJSON {
		if err := json.NewEncoder(in.stdout).Encode(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(in.stdout, "%d log entries, %d positions; %d differ between the log and the stored fold\n", r.Entries, r.Positions, len(r.Differences))
		for _, d := range r.Differences {
			fmt.Fprintf(in.stdout, "  %s %s: stored %s, log %s\n", d.Location, d.SKU, d.Stored, d.Log)
		}
		fmt.Fprintf(in.stdout, "state hash %s\n", r.StateHash)
	}
	if len(r.Differences) > 0 {
		return errors.New("positions differ; the log is the truth: delete the checkpoint by restoring the ledger, or report this as a defect")
	}
	return nil
}

func exportCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in, "export")
	from := f.Uint64("from", 1, "`position` to start at")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	return aggregator.Export(ctx, c, *from, in.stdout)
}
