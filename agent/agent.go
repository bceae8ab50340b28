package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"tillwire/agent/front"
	"tillwire/agent/identity"
	"tillwire/agent/inbox"
	"tillwire/agent/intake"
	"tillwire/agent/link"
	"tillwire/agent/orders"
	"tillwire/agent/siblings"
	"tillwire/agent/update"
	"tillwire/protocol"
	"tillwire/protocol/csvdoc"
	"tillwire/store/config"
	"tillwire/store/journal"
)

// JournalFile is the journal's name in the data folder.
const JournalFile = "journal.db"

const (
	shutdownWait = 3 * time.Second
	trimEvery    = 10 * time.Minute
)

// Deps are what a host program or a test gives in; zero values mean the real
// clock, network and a codec of the agent's own.
type Deps struct {
	Log     zerolog.Logger
	Now     func() time.Time
	Version string
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	Listen  func(network, addr string) (net.Listener, error)
	Codec   *protocol.FrameCodec // shared by agents of one process
	Timing  link.Timing
	Prove   func(path string) error // checks a suspect journal in a child process; nil: in this one
}

// Agent is one shop's agent, wired.
type Agent struct {
	cfg   Config
	deps  Deps
	ready chan struct{}

	journal  *journal.Journal
	intake   *intake.Intake
	link     *link.Link         // nil without a broker
	identity *identity.Identity // nil with a token
	orders   *orders.Orders
	update   *update.Updater
	inbox    runner // nil without a folder
	writer   writer // the journal, as those see it who write documents

	siblings *siblings.Siblings // nil where the shop has one agent
	lan      net.Listener       // nil where no sibling may ask

	ln    net.Listener
	clock chan reading // newest estimate of this machine's clock
	boot  string
}

// runner is a part with a lifetime.
type runner interface {
	Run(ctx context.Context) error
}

// writer is the journal for those who write documents into it.
type writer interface {
	intake.Journal
	inbox.Journal
}

// New opens the journal (verified, repaired or set aside where it is damaged)
// and binds the POS port. Run serves.
func New(cfg Config, d Deps) (*Agent, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Listen == nil {
		d.Listen = net.Listen
	}
	d.Log = d.Log.With().Str("store", cfg.Store).Str("agent", cfg.Agent).Logger()
	a := &Agent{cfg: cfg, deps: d, ready: make(chan struct{}), clock: make(chan reading, 1), boot: uuid.NewString()}
	for _, step := range []func() error{a.openJournal, a.openUpdate, a.openLAN, a.openLink, a.openOrders, a.openIntake, a.openInbox, a.listen} {
		if err := step(); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	return a, nil
}

func (a *Agent) openJournal() error {
	ballast := a.cfg.Journal.BallastMiB << 20
	if ballast == 0 {
		ballast = -1 // the journal's word for none
	}
	j, err := journal.Open(journal.Options{
		Path: filepath.Join(a.cfg.DataDir, JournalFile), Now: a.deps.Now, Log: a.deps.Log,
		Retention: a.cfg.Retention(), BallastBytes: ballast, Prove: a.deps.Prove,
	})
	if errors.Is(err, journal.ErrLocked) {
		return fmt.Errorf("%w: another agent works in this folder; stop it, or name another data_dir", err)
	}
	if err != nil {
		return fmt.Errorf("%w; is data_dir (--data-dir) a folder that this user may write?", err)
	}
	a.journal = j
	return nil
}

func (a *Agent) origin() protocol.Origin {
	return protocol.Origin{Store: protocol.StoreID(a.cfg.Store), Agent: protocol.AgentID(a.cfg.Agent)}
}

func (a *Agent) openLink() error {
	if a.cfg.Link.Broker == "" {
		return nil
	}
	codec := a.deps.Codec
	if codec == nil {
		var err error
		if codec, err = protocol.NewFrameCodec(); err != nil {
			return err
		}
	}
	tlsConfig, err := a.tlsConfig()
	if err != nil {
		return err
	}
	o := link.Options{
		Origin: a.origin(), Broker: a.cfg.Link.Broker, Token: a.cfg.Link.Token, Journal: a.journal, Codec: codec,
		Dial: a.deps.Dial, TLS: tlsConfig, Now: a.deps.Now, Log: a.deps.Log, Version: a.deps.Version,
		BootID: a.boot, Timing: a.deps.Timing, Counters: a.counters,
		Desired: func(d *protocol.Desired) { a.orders.Desired(d) }, Command: func(c *protocol.Command) { a.orders.Command(c) },
		DesiredState: func() (uint64, string) { return a.orders.State() },
		Holds:        func(h *protocol.Holds) error { return a.intake.TakeHolds(h) },
		HoldsRev:     func() uint64 { return a.intake.HoldsRev() }, Clock: a.heardClock, Digest: a.digest, Update: a.updateState,
	}
	if a.identity != nil { // an interface that holds a nil pointer is not nil
		o.Renewal = a.identity
	}
	l, err := link.New(o)
	if err != nil {
		return fmt.Errorf("make link: %w", err)
	}
	a.link = l
	return nil
}

// counters are what heartbeats carry up: every refusal, so that ops see it.
func (a *Agent) counters() map[string]uint64 {
	c := a.journal.State().Counters
	m := a.intake.Counters()
	var o orders.Counts
	if a.orders != nil {
		o = a.orders.Counts()
	}
	for name, n := range map[string]uint64{
		"id_reused": c.IDReused, "refused_disk_full": c.RefusedFull, "refused_recovering": c.RefusedRecovering,
		"refused_queue_full": c.RefusedQueueFull, "commit_errors": c.CommitErrors, "recoveries": c.Recoveries,
		protocol.CounterCorrupt: c.CorruptRecords, protocol.CounterSalvaged: c.SalvagedRecords, protocol.CounterLost: c.LostRecords,
		"ballast_freed": c.BallastFreed, "disk_errors": c.DiskErrors,
		"desired_refused": o.DesiredRefused, "commands_refused": o.CommandsRefused, "commands_expired": o.CommandsExpired, "commands_failed": o.CommandsFailed,
	} {
		if n > 0 {
			m[name] = n
		}
	}
	return m
}

func (a *Agent) openIntake() error {
	zone, err := a.zone()
	if err != nil {
		return err
	}
	holds, err := a.readHolds()
	if err != nil {
		return err
	}
	in, err := intake.New(intake.Options{
		Store: a.origin().Store, Agent: a.origin().Agent, Journal: a.writer, Log: a.deps.Log, Now: a.deps.Now, Version: a.deps.Version,
		Tokens: a.cfg.HTTP.Tokens, AllowedHosts: a.cfg.HTTP.Hosts, Dev: a.cfg.Dev, Link: a.linkStatus, Zone: zone,
		Schemes: a.cfg.Barcodes, Holds: holds, KeepHolds: a.keepHolds, Siblings: a.siblingStatus, Update: a.updateState,
	})
	if err != nil {
		return err
	}
	a.intake = in
	return nil
}

func (a *Agent) linkStatus() intake.LinkStatus {
	if a.link == nil {
		return intake.LinkStatus{Off: true}
	}
	s := a.link.Status()
	out := intake.LinkStatus{Connected: s.Connected, Broker: a.cfg.Link.Broker, Since: s.Since, NextTry: s.NextTry, LastError: s.LastError}
	if s.ClockErrorUS != 0 { // an estimate is never exact
		ms := s.ClockOffsetUS / 1000
		out.ClockOffsetMS = &ms
	}
	if s.Connected && s.Session == "resting" { // refused: it rests before it asks again
		out.Refused = s.LastError
	}
	if s.Unwelcome {
		out.Refused = "Its certificate or token is not accepted (any more)"
	}
	return out
}

func (a *Agent) listen() error {
	ln, err := a.deps.Listen("tcp", a.cfg.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("listen for the POS: %w; is another agent running, or http.listen taken?", err)
	}
	a.ln = ln
	b, err := json.Marshal(map[string]string{"http": a.HTTPAddr()})
	if err != nil {
		return err
	}
	path := filepath.Join(a.cfg.DataDir, "addresses.json")
	if err := os.WriteFile(path+".tmp", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	return nil
}

// Run serves until ctx ends: the port first stops taking, then the link ends,
// then the journal closes. What was answered 201 is on disk at any moment.
func (a *Agent) Run(ctx context.Context) error {
	g, serving := errgroup.WithContext(ctx)
	g.Go(func() error { return serve(serving, a.intake.Server(), front.New(a.ln, a.post), "the POS port") })
	if a.lan != nil {
		g.Go(func() error { return serve(serving, a.siblings.Server(), a.lan, "the shop's other agents") })
	}
	g.Go(func() error { return a.intake.Run(serving) })
	g.Go(func() error { return a.trim(serving) })
	g.Go(func() error { return a.imports(serving) })
	g.Go(func() error { return a.scrub(serving, scrubEvery, scrubPause) })
	if a.link != nil {
		g.Go(func() error { return a.link.Run(serving) })
		g.Go(func() error { return a.journalClock(serving) })
		g.Go(func() error { return a.orders.Run(serving) })
	}
	g.Go(func() error { return a.update.Run(serving) })
	if a.inbox != nil {
		g.Go(func() error { return a.inbox.Run(serving) })
	}
	close(a.ready)
	s := a.journal.State()
	a.deps.Log.Info().Str("http", a.HTTPAddr()).Str("broker", a.cfg.Link.Broker).Uint64("head", s.Head).Uint64("merged", s.Merged).
		Str("boot", s.BootReason).Str("boot_id", a.boot).Str("version", a.deps.Version).Msg("agent ready")
	err := errors.Join(g.Wait(), a.close())
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// post gives the port a document that front recognised.
func (a *Agent) post(ctx context.Context, b []byte, r *front.Request) ([]byte, bool) {
	return a.intake.AppendPost(ctx, b, &intake.Post{Path: r.Path, Host: r.Host, Authorization: r.Authorization, Traceparent: r.Traceparent, Body: r.Body})
}

func serve(ctx context.Context, srv *http.Server, ln net.Listener, whom string) error {
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
		defer cancel()
		err := srv.Shutdown(stop)
		if err != nil {
			err = srv.Close()
		}
		done <- err
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", whom, err)
	}
	return <-done
}

// trim removes what is safe and old, now and then.
func (a *Agent) trim(ctx context.Context) error {
	t := time.NewTicker(trimEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		n, err := a.journal.Trim(a.deps.Now())
		if err != nil {
			a.deps.Log.Warn().Err(err).Msg("journal not trimmed")
		} else if n > 0 {
			a.deps.Log.Info().Uint64("events", n).Msg("journal trimmed")
		}
	}
}

// Ready is closed when the port serves.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// HTTPAddr is where the POS port really listens.
func (a *Agent) HTTPAddr() string { return a.ln.Addr().String() }

// LANAddr is where the shop's other agents ask; "" where none may.
func (a *Agent) LANAddr() string {
	if a.lan == nil {
		return ""
	}
	return a.lan.Addr().String()
}

// Handler is the POS port, for callers in the same process.
func (a *Agent) Handler() http.Handler { return a.intake.Handler() }

// State is the journal's.
func (a *Agent) State() journal.State { return a.journal.State() }

func (a *Agent) close() error {
	var errs []error
	for _, ln := range []net.Listener{a.ln, a.lan} {
		if ln == nil {
			continue
		}
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if a.journal != nil {
		if err := a.journal.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close journal: %w", err))
		}
	}
	return errors.Join(errs...)
}

// openInbox watches the folder for legacy files, where one is named.
func (a *Agent) openInbox() error {
	if a.cfg.Inbox.Dir == "" {
		return nil
	}
	var m csvdoc.Mapping
	if a.cfg.Inbox.Mapping != "" {
		none := func(string) (string, bool) { return "", false }
		if err := config.Load(a.cfg.Inbox.Mapping, none, &m); err != nil {
			return fmt.Errorf("inbox.mapping: %w", err)
		}
	}
	zone, err := a.zone()
	if err != nil {
		return err
	}
	b, err := inbox.New(inbox.Options{Dir: a.cfg.Inbox.Dir, Store: a.origin().Store, Journal: a.writer, Log: a.deps.Log, Mapping: m, Zone: zone})
	if err != nil {
		return fmt.Errorf("open inbox: %w", err)
	}
	a.inbox = b
	return nil
}

// zone is that of files and POSLog whose times carry none.
func (a *Agent) zone() (*time.Location, error) {
	if a.cfg.Inbox.Zone == "" {
		return time.Local, nil
	}
	zone, err := time.LoadLocation(a.cfg.Inbox.Zone)
	if err != nil {
		return nil, fmt.Errorf("inbox.zone: %w; use an IANA name such as Europe/Berlin, and see that the system has time zones (Debian package tzdata)", err)
	}
	return zone, nil
}
