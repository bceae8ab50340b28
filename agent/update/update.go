package update

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol/release"
)

// Options are what an Updater works with.
type Options struct {
	DataDir string
	Version string // of this process's program
	URL     string // where releases are served, e.g. https://stock.example
	Keys    release.Keys
	Log     zerolog.Logger
	Now     func() time.Time // the aggregator's clock, as far as it is known
	// Healthy tells whether this program does what it is for: takes sales and
	// speaks with the aggregator.
	Healthy func() bool
	Client  *http.Client
}

// Status is what people and heartbeats see.
type Status struct {
	Slot   string `json:"slot,omitempty"` // "" is the installed program
	State  string `json:"state"`          // off, idle, looking, fetching, trial, failed
	Wanted string `json:"wanted,omitempty"`
	Reason string `json:"reason,omitempty"` // why the wanted version does not run
}

// States of a Status.
const (
	StateOff      = "off"
	StateIdle     = "idle"
	StateLooking  = "looking"
	StateFetching = "fetching"
	StateTrial    = "trial"
	StateFailed   = "failed"
)

// Updater is safe for concurrent use. Run works it.
type Updater struct {
	o      Options
	folder folder
	source source
	wake   chan struct{}

	mu     sync.Mutex // guards all below
	status Status
}

// New checks the options. Without keys nothing is ever fetched.
func New(o Options) (*Updater, error) {
	u := &Updater{o: o, folder: in(o.DataDir), wake: make(chan struct{}, 1), status: Status{Slot: FromSlot(), State: StateOff}}
	if o.Keys.Threshold == 0 {
		return u, nil
	}
	if err := o.Keys.Check(); err != nil {
		return nil, fmt.Errorf("update.keys: %w", err)
	}
	base, err := url.Parse(o.URL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, fmt.Errorf("update.url %q is not an http or https URL", o.URL)
	}
	if o.Client == nil {
		u.o.Client = &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: answerWithin, TLSHandshakeTimeout: answerWithin}}
	}
	u.source = source{base: base, client: u.o.Client, stall: stallAfter}
	u.status.State = StateIdle
	return u, nil
}

// Want says which version this host is to run. It never waits.
func (u *Updater) Want(version string) {
	u.mu.Lock()
	changed := u.status.Wanted != version
	u.status.Wanted = version
	u.mu.Unlock()
	if changed {
		select {
		case u.wake <- struct{}{}:
		default:
		}
	}
}

// Status tells how things stand.
func (u *Updater) Status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status
}

func (u *Updater) say(state, reason string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.status.State, u.status.Reason = state, reason[:min(len(reason), reasonBytesMax)]
}

// Run first proves this program, where it is on trial; then it fetches what is
// wanted. It returns ErrRestart where another program is to go on, after which the
// caller ends as it always does and calls Restart. No other error ends it, and with it
// the agent: tills are served whatever becomes of updates.
func (u *Updater) Run(ctx context.Context) error {
	if u.Status().State == StateOff {
		<-ctx.Done()
		return nil
	}
	err := u.prove(ctx)
	if errors.Is(err, ErrRestart) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		u.say(StateFailed, err.Error())
		u.o.Log.Warn().Err(err).Msg("what is known of updates cannot be read or kept")
	}
	wait := rand.N(firstLookMax) //nolint:gosec // spreads a chain's calls, guards nothing
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		case <-u.wake:
			t.Stop()
		}
		staged, err := u.look(ctx)
		switch {
		case ctx.Err() != nil: // a stop; what was under way is begun again
			return nil //nolint:nilerr // the stop is why
		case staged:
			return ErrRestart
		case err != nil:
			u.say(StateFailed, err.Error())
			u.o.Log.Warn().Err(err).Str("wanted", u.Status().Wanted).Msg("the wanted version was not had")
		default:
			u.say(StateIdle, "")
		}
		wait = lookEvery/2 + rand.N(lookEvery) //nolint:gosec // as above
	}
}

// prove waits for a program on trial to be healthy, and confirms it, or gives it up.
func (u *Updater) prove(ctx context.Context) error {
	s, err := u.folder.load(u.o.Keys)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if u.status.Slot == "" || s.Trial != u.status.Slot {
		return nil
	}
	u.say(StateTrial, "")
	end := time.NewTimer(confirmWithin)
	defer end.Stop()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for !u.o.Healthy() {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-end.C:
			s.fail(fmt.Sprintf("it did not take sales and reach the aggregator within %s", confirmWithin), u.o.Now())
			if err := u.folder.save(s); err != nil { // started anew, it would be tried again, for ever
				return err
			}
			u.o.Log.Error().Msg("this program did not prove itself; the one before comes back")
			return ErrRestart
		}
	}
	s.confirm()
	if err := u.folder.save(s); err != nil {
		return err
	}
	u.say(StateIdle, "")
	u.o.Log.Info().Str("version", u.o.Version).Msg("this program proved itself")
	return nil
}

// look brings the wanted version into a slot, where it is offered and may be tried.
//
//	offer ▸ what was seen is kept ▸ program whole on disk ▸ staged ▸ a new start
//
// Killed anywhere before staged: the next start runs what this one runs, and a half
// program is overwritten. After it: the next start tries the new one.
func (u *Updater) look(ctx context.Context) (staged bool, err error) {
	wanted := u.Status().Wanted
	if wanted == "" || wanted == u.o.Version {
		return false, nil
	}
	u.say(StateLooking, "")
	b, err := u.source.offer(ctx)
	if err != nil {
		return false, err
	}
	s, err := u.folder.load(u.o.Keys)
	if err != nil {
		return false, err
	}
	was := s.Trust
	trust, m, refused := s.Trust.Follow(b, u.o.Now())
	s.Trust = trust
	if trust.Sequence != was.Sequence || trust.Keys.Version != was.Keys.Version {
		if s.Base == "" {
			s.Base = u.o.Version
		}
		if err := u.folder.save(s); err != nil {
			return false, err
		}
	}
	switch {
	case refused != nil:
		return false, refused
	case m.Version != wanted:
		return false, fmt.Errorf("version %s is wanted, but %s is released", wanted, m.Version)
	}
	a, err := m.Artifact(runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return false, err
	}
	if mine, ok := s.Slots[FromSlot()]; ok && mine.SHA256 == a.SHA256 { // or it would be fetched and started for ever
		return false, fmt.Errorf("release %s is the program that runs here, but that calls itself %s", m.Version, u.o.Version)
	}
	if why := s.refuses(a.SHA256, u.o.Now()); why != "" {
		return false, fmt.Errorf("version %s is not tried: %s", m.Version, why)
	}
	u.say(StateFetching, "")
	to := s.spare()
	if err := u.source.program(ctx, a, u.folder.program(to)); err != nil {
		return false, fmt.Errorf("fetch version %s: %w", m.Version, err)
	}
	s.stage(to, slot{Version: m.Version, Sequence: m.Sequence, SHA256: a.SHA256})
	if err := u.folder.save(s); err != nil {
		return false, err
	}
	u.o.Log.Info().Str("version", m.Version).Str("slot", to).Msg("another version was fetched and is tried now")
	return true, nil
}
