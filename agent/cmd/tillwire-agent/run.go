package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/DeRuina/timberjack"
	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/store/config"
)

func runCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	listen := f.String("http", "", "`address` of the POS port, over http.listen")
	broker := f.String("broker", "", "`URL` of the broker, over link.broker")
	managed := f.Bool("service", false, "started by the service manager")
	if err := f.parse(in); err != nil {
		return err
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	if *listen != "" {
		c.HTTP.Listen = *listen
	}
	if *broker != "" {
		c.Link.Broker = *broker
	}
	if err := c.Check(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if *managed {
		c.Log.File = managedLog(c)
	}
	log, closeLog, err := openLog(c, in.stderr, *managed)
	if err != nil {
		return err
	}
	defer closeLog()
	notify := newNotifier(in.lookup, log)
	var prove func(string) error
	if self, err := os.Executable(); err == nil {
		prove = agent.ProveInChild(self, "check-journal")
	}
	run := func(ctx context.Context) error {
		if agent.Boot(ctx, &c, version, log) {
			return nil // another program ran in this one's place, and ended with it
		}
		a, err := agent.New(c, agent.Deps{Log: log, Version: version, Prove: prove})
		if err != nil {
			return err
		}
		return restarted(runNotified(ctx, a, notify), closeLog)
	}
	if !*managed || agent.FromSlot() {
		ctx, stop := askedToStop(ctx)
		defer stop()
		return run(ctx)
	}
	return runManaged(ctx, run, log)
}

// runNotified runs an agent, and tells the service manager how it does.
func runNotified(ctx context.Context, a *agent.Agent, n *notifier) error {
	if n == nil {
		return a.Run(ctx)
	}
	following, stop := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		n.follow(following, a)
	}()
	err := a.Run(ctx)
	stop()
	<-told
	return err
}

// restarted begins anew where another program is to go on; the journal is closed.
func restarted(err error, closeLog func()) error {
	if !errors.Is(err, agent.ErrRestart) {
		return err
	}
	closeLog()
	return agent.Restart()
}

// askedToStop ends also when the program that started this one asks for it.
func askedToStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if asked := agent.StopAsked(); asked != nil {
		go func() {
			select {
			case <-asked:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	return ctx, cancel
}

// openLog writes to a rotated file where one is named, else to stderr; under a
// service manager also to the system's event log, where there is one.
func openLog(c agent.Config, stderr io.Writer, managed bool) (zerolog.Logger, func(), error) {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	level, err := zerolog.ParseLevel(c.Log.Level)
	if err != nil {
		return zerolog.Nop(), nil, fmt.Errorf("%w: log.level %q is not debug, info, warn or error", errUsage, c.Log.Level)
	}
	out, done := stderr, func() {}
	if c.Log.File != "" {
		file := &timberjack.Logger{Filename: c.Log.File, MaxSize: 20, MaxBackups: 5, MaxAge: 35, Compression: "gzip"}
		out, done = file, func() { _ = file.Close() }
	}
	if managed {
		if events, closeEvents := eventLog(); events != nil {
			closeFile := done
			out, done = &mirror{out, events}, func() { closeEvents(); closeFile() }
		}
	}
	return zerolog.New(agent.Masked(out)).Level(level).With().Timestamp().Logger(), done, nil
}

func configCommand(_ context.Context, in *invocation) error {
	f := newFlags(in)
	if err := f.parse(in); err != nil {
		return err
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	for _, k := range config.Keys(&c) {
		if _, err := fmt.Fprintf(in.stdout, "%-24s %-32s %-28q %s\n", k.Name, k.Env, k.Shown(), k.Help); err != nil {
			return err
		}
	}
	if err := c.Check(); err != nil {
		return fmt.Errorf("%w: %w", errNotReady, err)
	}
	return nil
}
