package update

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol/release"
)

// A program that was started out of a slot knows it by these, and where the
// installed one is.
const (
	slotVar      = "TILLWIRE_UPDATE_SLOT"
	installedVar = "TILLWIRE_UPDATE_INSTALLED"
)

// ErrRestart is how Run asks for a new start: another program is to go on.
var ErrRestart = errors.New("another program takes over")

// FromSlot names the slot that this process was started out of; "" is the
// installed program.
func FromSlot() string { return os.Getenv(slotVar) }

// Boot hands over to the program that is to run here. Where that is this one it
// returns false. Where the system cannot replace a process by another (Windows) it
// returns true when the other one has ended. What goes wrong it logs: tills get an
// agent in any case.
func Boot(ctx context.Context, dataDir, version string, keys release.Keys, now func() time.Time, log zerolog.Logger) bool {
	if FromSlot() != "" || keys.Threshold == 0 {
		return false
	}
	f := in(dataDir)
	for {
		if _, err := os.Stat(f.path("state.json")); err != nil {
			return false // never updated itself
		}
		chosen, err := f.choose(version, keys, now())
		if err != nil || chosen == "" {
			if err != nil {
				log.Error().Err(err).Msg("the installed program runs")
			}
			return false
		}
		log.Info().Str("slot", chosen).Msg("a fetched program goes on")
		err = handOver(ctx, f.program(chosen), chosen)
		switch {
		case ctx.Err() != nil:
			return true
		case errors.Is(err, ErrRestart):
			continue
		}
		log.Error().Err(err).Str("slot", chosen).Msg("a fetched program ended")
		if errors.Is(err, errNotStarted) {
			if err := f.giveUp(chosen, err.Error(), keys, now()); err != nil {
				log.Error().Err(err).Msg("the installed program runs")
				return false
			}
		}
	}
}

// errNotStarted is of a file that the system does not run. One that ran and died is
// counted by its starts.
var errNotStarted = errors.New("it could not be started")

// choose takes the next step of the state and checks the program that it leads to.
// A program that is not whole any more is given up for the one before.
func (f folder) choose(version string, keys release.Keys, now time.Time) (string, error) {
	for {
		s, err := f.load(keys)
		if err != nil {
			return "", err
		}
		chosen := s.begin(version, now)
		if err := f.save(s); err != nil { // a start that cannot be counted could repeat for ever
			return "", err
		}
		if chosen == "" {
			return "", nil
		}
		err = f.verify(chosen, s.Slots[chosen])
		if err == nil {
			return chosen, nil
		}
		if err := f.giveUp(chosen, err.Error(), keys, now); err != nil { // a slot less with each turn
			return "", err
		}
	}
}

func (f folder) giveUp(name, why string, keys release.Keys, now time.Time) error {
	s, err := f.load(keys)
	if err != nil {
		return err
	}
	s.giveUp(name, why, now)
	return f.save(s)
}

// handed is the environment of a program in a slot.
func handed(slot string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return append(cleared(), slotVar+"="+slot, installedVar+"="+self), nil
}

// cleared is our environment without what a start out of a slot added.
func cleared() []string {
	var env []string
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name != slotVar && name != installedVar {
			env = append(env, v)
		}
	}
	return env
}
