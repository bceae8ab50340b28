package agent

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent/update"
	"tillwire/protocol"
)

// ErrRestart is what Run returns where another program is to go on in its place:
// the caller ends what is its own and calls Restart.
var ErrRestart = update.ErrRestart

// Boot hands over to a program that was fetched and proved itself, or is on trial.
// It returns false where this program is the one to run; see update.Boot.
func Boot(ctx context.Context, cfg *Config, version string, log zerolog.Logger) bool {
	return update.Boot(ctx, cfg.DataDir, version, cfg.Update.trusted(), time.Now, log)
}

// Restart starts anew with the installed program, which decides who is to run.
func Restart() error { return update.Restart() }

// FromSlot tells that this process was started by the installed program.
func FromSlot() bool { return update.FromSlot() != "" }

// StopAsked is closed where the process that started this one wants it to end; nil
// where none did.
func StopAsked() <-chan struct{} { return update.Stop() }

func (a *Agent) openUpdate() error {
	u, err := update.New(update.Options{
		DataDir: a.cfg.DataDir, Version: a.deps.Version, URL: a.cfg.Update.URL, Keys: a.cfg.Update.trusted(),
		Log: a.deps.Log, Now: a.cloudNow, Healthy: a.healthy,
	})
	a.update = u
	return err
}

// healthy tells whether this program does what it is for: its port serves, its
// journal takes sales, and the aggregator takes what it sends.
func (a *Agent) healthy() bool {
	select {
	case <-a.ready:
	default:
		return false
	}
	if a.journal.State().Phase != "running" {
		return false
	}
	return a.link == nil || a.link.Status().Session == "sending"
}

// updateState is what heartbeats and the status page say of updates; nil where this
// host does not update itself.
func (a *Agent) updateState() *protocol.UpdateState {
	s := a.update.Status()
	if s.State == update.StateOff && (s.Wanted == "" || s.Wanted == a.deps.Version) {
		return nil
	}
	if s.State == update.StateOff {
		s.Reason = "this host has no update.keys; install that version by hand"
	}
	return &protocol.UpdateState{Slot: s.Slot, State: s.State, Wanted: s.Wanted, Reason: s.Reason}
}
