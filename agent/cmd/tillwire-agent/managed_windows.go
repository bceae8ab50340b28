package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"

	"tillwire/agent"
)

// stopWithin is how long the service manager is asked to wait for the agent's end.
const stopWithin = 5 * time.Second

// runManaged speaks to the service manager itself, without asking first whether
// there is one: what svc.IsWindowsService looks at is not true everywhere.
func runManaged(_ context.Context, run func(context.Context) error, log zerolog.Logger) error {
	err := svc.Run(serviceName, &managed{run, log})
	if errors.Is(err, windows.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
		return fmt.Errorf("%w: --service is for the service manager; leave it out to run in a console", errUsage)
	}
	if err != nil {
		return fmt.Errorf("run as a service: %w", err)
	}
	return nil
}

// managed is the agent as the service manager sees it.
type managed struct {
	run func(context.Context) error
	log zerolog.Logger
}

// Execute says at once that it runs: a manager that waits for a large journal to
// open would give up after 30 s.
func (m *managed) Execute(_ []string, asks <-chan svc.ChangeRequest, say chan<- svc.Status) (specific bool, code uint32) {
	say <- svc.Status{State: svc.StartPending}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.run(ctx) }()
	say <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	for {
		select {
		case err := <-ended: // unasked: the recovery actions start it again
			m.log.Error().Err(err).Msg("agent ended; the service manager restarts it")
			return true, exitFailed
		case ask := <-asks:
			switch ask.Cmd {
			case svc.Interrogate:
				say <- ask.CurrentStatus
			case svc.Stop, svc.Shutdown:
				say <- svc.Status{State: svc.StopPending, WaitHint: uint32(stopWithin / time.Millisecond)}
				cancel()
				select { // what is journaled stays, so nothing is lost when time runs out
				case <-ended: //nolint:errcheck // it was asked to end
				case <-time.After(stopWithin):
				}
				return false, 0
			default: // not accepted, so not sent
			}
		}
	}
}

// managedLog: a service has no stderr.
func managedLog(c agent.Config) string {
	if c.Log.File != "" {
		return c.Log.File
	}
	return filepath.Join(c.DataDir, "log", "agent.log")
}

// eventLog is nil where the source was never registered.
func eventLog() (reporter, func()) {
	l, err := eventlog.Open(serviceName)
	if err != nil {
		fmt.Fprintln(os.Stderr, "event log:", err)
		return nil, nil
	}
	return l, func() { _ = l.Close() }
}

// eventSourceExists: a source of an earlier installation is as good.
func eventSourceExists() bool {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Services\EventLog\Application\`+serviceName, registry.QUERY_VALUE)
	if err != nil {
		return false
	}
	return k.Close() == nil
}
