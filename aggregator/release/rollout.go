package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// Options are what Rollouts work with.
type Options struct {
	Folder Folder
	Log    zerolog.Logger
	Now    func() time.Time
	Kept   []byte                                     // what Keep was given last; nil: nothing
	Keep   func(ctx context.Context, b []byte) error  // returns when it is durable
	Agents func(ctx context.Context) ([]Agent, error) // all that have ever connected
	Ask    func(ctx context.Context, o protocol.Origin, version, who string) error
	Raise  func(summary string) // an incident of the chain; "" closes it
}

// Rollouts work one rollout at a time.
type Rollouts struct {
	o         Options
	downloads chan struct{}
	wake      chan struct{}

	mu       sync.Mutex // guards all below
	rollout  *protocol.Rollout
	progress protocol.RolloutProgress
}

// New reads what was kept.
func New(o Options) (*Rollouts, error) {
	r := &Rollouts{o: o, downloads: make(chan struct{}, downloadsMax), wake: make(chan struct{}, 1)}
	if len(o.Kept) > 0 {
		if err := json.Unmarshal(o.Kept, &r.rollout); err != nil {
			return nil, fmt.Errorf("read the rollout: %w", err)
		}
	}
	return r, nil
}

// View tells what is released and who runs it.
func (r *Rollouts) View() (protocol.Releases, error) {
	r.mu.Lock()
	v := protocol.Releases{Rollout: r.rollout, Progress: r.progress}
	r.mu.Unlock()
	m, err := r.o.Folder.Current()
	if errors.Is(err, ErrNone) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.Released = &protocol.Released{Version: m.Version, Sequence: m.Sequence, ExpiresAt: m.ExpiresAt, Platforms: []string{}}
	for _, a := range m.Artifacts {
		v.Released.Platforms = append(v.Released.Platforms, a.OS+"/"+a.Arch)
	}
	return v, nil
}

// Set begins a rollout, or changes the one that is under way.
func (r *Rollouts) Set(ctx context.Context, next protocol.Rollout, who string) (protocol.Releases, error) {
	m, err := r.o.Folder.Current()
	if errors.Is(err, ErrNone) {
		return protocol.Releases{}, protocol.NewProblem(http.StatusConflict, "nothing_released", "Nothing is released", "", "publish a release first: `tillwire-aggregator release publish`")
	}
	if err != nil {
		return protocol.Releases{}, err
	}
	if field, what := check(&next, m.Version); field != "" {
		p := protocol.NewProblem(http.StatusUnprocessableEntity, "invalid_rollout", "The rollout is not acceptable", what, "correct the field named in errors[]; nothing was changed")
		p.Errors = []protocol.FieldError{{Pointer: field, Message: what}}
		return protocol.Releases{}, p
	}
	next.By, next.At = who, r.o.Now().UTC()
	if err := r.keep(ctx, &next); err != nil {
		return protocol.Releases{}, err
	}
	r.o.Raise("")
	r.o.Log.Info().Str("version", next.Version).Int("percent", next.Percent).Str("who", who).Msg("rollout set")
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return r.View()
}

func (r *Rollouts) keep(ctx context.Context, next *protocol.Rollout) error {
	b, err := json.Marshal(next)
	if err == nil {
		err = r.o.Keep(ctx, b)
	}
	if err != nil {
		return fmt.Errorf("keep the rollout: %w", err)
	}
	r.mu.Lock()
	r.rollout, r.progress = next, protocol.RolloutProgress{}
	r.mu.Unlock()
	return nil
}

// Run asks a few agents at a time until ctx ends.
func (r *Rollouts) Run(ctx context.Context) error {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		if err := r.tick(ctx); err != nil && ctx.Err() == nil {
			r.o.Log.Warn().Err(err).Msg("rollout did not go on")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-r.wake:
		}
	}
}

func (r *Rollouts) tick(ctx context.Context) error {
	r.mu.Lock()
	now := r.rollout
	r.mu.Unlock()
	if now == nil {
		return nil
	}
	agents, err := r.o.Agents(ctx)
	if err != nil {
		return err
	}
	p, next, stop := step(now, agents)
	r.mu.Lock()
	r.progress = p
	r.mu.Unlock()
	switch {
	case now.Paused != "":
		return nil
	case stop != "":
		paused := *now
		paused.Paused = stop
		if err := r.keep(ctx, &paused); err != nil {
			return err
		}
		r.o.Raise("The rollout of version " + now.Version + " stopped: " + stop + ".")
		r.o.Log.Error().Str("version", now.Version).Str("why", stop).Msg("rollout stopped")
		return nil
	}
	for _, o := range next {
		if err := r.o.Ask(ctx, o, now.Version, "rollout by "+now.By); err != nil {
			return fmt.Errorf("ask %s for version %s: %w", o, now.Version, err)
		}
	}
	return nil
}

// ServeOffer answers with what is offered. Anybody may read it: it is signed, and
// says nothing that a shop's machine does not hold.
func (r *Rollouts) ServeOffer(w http.ResponseWriter, _ *http.Request) error {
	b, err := r.o.Folder.Offer()
	if errors.Is(err, ErrNone) {
		return protocol.NewProblem(http.StatusNotFound, "nothing_released", "Nothing is released", "", "publish a release first: `tillwire-aggregator release publish`")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(b)
	return err
}

// ServeProgram sends one program, to a few shops at a time.
func (r *Rollouts) ServeProgram(w http.ResponseWriter, req *http.Request) error {
	select {
	case r.downloads <- struct{}{}:
		defer func() { <-r.downloads }()
	default:
		w.Header().Set("Retry-After", retryAfterS)
		return protocol.NewProblem(http.StatusServiceUnavailable, "downloads_full", "Too many shops fetch programs now", "", "come again in half a minute")
	}
	file, err := r.o.Folder.Program(req.PathValue("sha256"))
	if err != nil {
		return protocol.NewProblem(http.StatusNotFound, "no_program", "No such program", req.PathValue("sha256"), "GET /v1/releases/offer names those that are released")
	}
	defer func() { _ = file.Close() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(downloadLasts)) // a shop's line is slow; the socket knows the machine's clock only
	http.ServeContent(w, req, "", time.Time{}, file)
	return nil
}
