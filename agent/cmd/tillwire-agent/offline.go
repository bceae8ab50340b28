package main

import (
	"context"
	"fmt"

	"tillwire/agent"
)

func checkCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	if err := f.parse(in); err != nil {
		return err
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	r, err := agent.Check(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(in.stdout, "%d events verified, seq %d to %d; chain at head %s\n", r.Events, r.Tail, r.Head, r.Chain)
	if r.Salvaged != "" {
		return fmt.Errorf("the journal was damaged: %s; the damaged file stands beside it, its readable events are kept, and the aggregator is told what is missing", r.Salvaged)
	}
	return nil
}

func exportCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	from := f.Uint64("from", 1, "`seq` to start at")
	if err := f.parse(in); err != nil {
		return err
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	return agent.Export(ctx, c, *from, in.stdout)
}
