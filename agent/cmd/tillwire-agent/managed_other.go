//go:build !windows

package main

import (
	"context"

	"github.com/rs/zerolog"

	"tillwire/agent"
)

func afterInstall() error { return nil }

// runManaged: systemd and launchd stop a service by a signal, which ends ctx, and
// judge it by its exit code.
func runManaged(ctx context.Context, run func(context.Context) error, log zerolog.Logger) error {
	err := run(ctx)
	if err != nil {
		log.Error().Err(err).Msg("agent ended; the service manager restarts it")
	}
	return err
}

// managedLog: stderr goes to the manager's journal.
func managedLog(c agent.Config) string { return c.Log.File }

func eventLog() (reporter, func()) { return nil, nil }
