package aggregator

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"tillwire/aggregator/account"
	"tillwire/aggregator/api"
	"tillwire/aggregator/audit"
	"tillwire/aggregator/availability"
	"tillwire/aggregator/backup"
	"tillwire/aggregator/broker"
	"tillwire/aggregator/channel/webhook"
	"tillwire/aggregator/credential"
	"tillwire/aggregator/demand"
	"tillwire/aggregator/feed"
	"tillwire/aggregator/fleet"
	"tillwire/aggregator/front"
	"tillwire/aggregator/identity"
	"tillwire/aggregator/ingest"
	"tillwire/aggregator/mending"
	"tillwire/aggregator/release"
	"tillwire/aggregator/telemetry"
	"tillwire/aggregator/trace"
	"tillwire/aggregator/web"
	"tillwire/deploy"
	"tillwire/protocol"
	"tillwire/protocol/openapi"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// LedgerFile is the ledger's name in the data folder.
const LedgerFile = "ledger.db"

// Facts that the aggregator keeps in its ledger.
const (
	factStanding = "fleet/standing"
	factSpent    = "enrolment/"
)

const (
	shutdownWait  = 3 * time.Second
	locationsTick = time.Second
)

// Deps are what a host program or a test gives in.
type Deps struct {
	Log     zerolog.Logger
	Now     func() time.Time // nil: time.Now
	Warp    float64          // how much faster than the machine's clock Now runs, where it is injected so; 0: not
	Version string
	Self    string // this program's own file, to try copies in another process; "": in this one
	// HTTPListener and MQTTListener replace the configured addresses.
	HTTPListener net.Listener
	MQTTListener net.Listener
}

// Aggregator is the chain's side, wired.
type Aggregator struct {
	cfg   Config
	deps  Deps
	ready chan struct{}
	up    atomic.Bool

	ledger   *bolt.Ledger
	keys     *credential.Keyring
	accounts *account.Book
	trail    *audit.Trail
	drift    atomic.Int64 // rows that wait for a person
	parked   atomic.Int64 // postings that do
	strays   refusedLogins
	book     *identity.Book
	ca       *identity.CA     // nil: tokens only
	server   *identity.Server // of ca
	renewals chan broker.Up
	seen     chan identity.Peer
	model    *availability.Model
	fleet    *fleet.Fleet
	ingest   *ingest.Ingest
	mending  *mending.Desk
	broker   *broker.Broker
	bundles  bundles
	releases *release.Rollouts
	tracer   *trace.Tracer
	otel     *telemetry.Exporter // nil: nobody is told
	refusals refusals
	api      *api.API
	web      *web.Web
	hub      *webhook.Hub
	partners partners
	feeds    *feed.Desk
	flows    fleet.Flows
	drops    []*feed.Drop

	ledgerID string
	backups  *backup.Keeper
	erps     []*erp
	reads    reads

	httpLn  net.Listener
	httpTLS *tls.Config                 // nil: plain
	groups  map[protocol.StoreID]string // region per location
	rules   rules
	cells   []availability.Cell // scratch of ingest's goroutine
}

// New opens the ledger, folds what it holds, and binds the ports. Run serves.
func New(cfg Config, d Deps) (*Aggregator, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	a := &Aggregator{cfg: cfg, deps: d, ready: make(chan struct{}), groups: map[protocol.StoreID]string{}}
	a.bundles.dir = filepath.Join(cfg.DataDir, bundlesDir)
	for _, s := range cfg.Stores {
		a.groups[protocol.StoreID(s.Store)] = s.Region
	}
	for _, step := range []func() error{a.openLedger, a.openFleet, a.openFeeds, a.openIngest, a.openMending, a.openIdentity, a.openPostings, a.openReleases, a.openBackups, a.openWebhooks, a.openPartners, a.openBroker, a.openPeople, a.openTrail, a.openHTTP, a.writeAddresses} {
		if err := step(); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	return a, nil
}

func (a *Aggregator) openLedger() error {
	var err error
	if a.keys, err = credential.Open(a.cfg.DataDir, a.deps.Now); err != nil {
		return err
	}
	mark := filepath.Join(a.cfg.DataDir, rebuildFile)
	_, statErr := os.Stat(mark)
	a.ledger, err = bolt.Open(bolt.Options{
		Path: filepath.Join(a.cfg.DataDir, LedgerFile), Now: a.deps.Now, Log: a.deps.Log, RebuildIDs: statErr == nil,
	})
	if err != nil {
		return fmt.Errorf("open ledger: %w", err)
	}
	if a.ledgerID, err = ledgerID(a.ledger); err != nil {
		return err
	}
	if statErr == nil {
		a.deps.Log.Warn().Msg("index of event ids rebuilt from the log")
		if err := os.Remove(mark); err != nil {
			return fmt.Errorf("remove %s: %w", rebuildFile, err)
		}
	}
	return nil
}

// rebuildFile tells the next start that the index of event ids was found
// damaged: it is made again from the log, whose entries carry checksums.
const rebuildFile = "rebuild-ids"

// ledgerFailed leaves word for the next start.
func (a *Aggregator) ledgerFailed(err error) error {
	if err == nil || !errors.Is(err, ledger.ErrCorrupt) {
		return err
	}
	return errors.Join(err, os.WriteFile(filepath.Join(a.cfg.DataDir, rebuildFile), nil, 0o600))
}

func (a *Aggregator) openFleet() error {
	infos := make([]fleet.StoreInfo, len(a.cfg.Stores))
	for i, s := range a.cfg.Stores {
		infos[i] = fleet.StoreInfo{Store: protocol.StoreID(s.Store), Name: s.Name, Region: s.Region, Type: s.Type, Phone: s.Phone}
	}
	a.fleet = fleet.New(fleet.Options{
		Grace: a.warped(protocol.PresenceGrace), StuckAfter: a.warped(fleet.DefaultStuckAfter), DrainAfter: a.warped(fleet.DefaultDrainAfter),
		Now: a.deps.Now, Log: a.deps.Log, Stores: infos, Exceptions: a.openExceptions, SafeCoveredBy: a.cfg.safeCoveredBy(),
		Keep: func(b []byte) {
			if err := a.ingest.PutFact(context.Background(), factStanding, b); err != nil {
				a.deps.Log.Warn().Err(err).Msg("standing incidents not kept")
			}
		},
	})
	standing, err := a.ledger.Fact(factStanding)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = a.fleet.Restore(standing)
	}
	if err != nil {
		return fmt.Errorf("restore standing incidents: %w", err)
	}
	return nil
}

// warped is a patience with what takes real time, heartbeats and lines, on a clock
// that runs faster: without it a fleet in compressed time would look offline.
func (a *Aggregator) warped(d time.Duration) time.Duration {
	return time.Duration(float64(d) * max(1, a.deps.Warp))
}

func (a *Aggregator) openExceptions() int {
	n, err := a.ledger.CountExceptions()
	if err != nil {
		a.deps.Log.Error().Err(err).Msg("exceptions not counted")
	}
	return n
}

func (a *Aggregator) openIngest() error {
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		return err
	}
	a.model = availability.New(a.deps.Now)
	a.model.UseRules(&a.rules)
	a.model.UseBuffer(demand.Buffer)
	a.ingest, err = ingest.Open(ingest.Options{
		Traced: a.openTelemetry(), Reread: a.feeds.Reread,
		Ledger: a.ledger, Codec: codec, Log: a.deps.Log, Now: a.deps.Now,
		Send: func(o protocol.Origin, ch protocol.Channel, payload []byte) error {
			return a.broker.Publish(o, ch, payload)
		},
		World: world{a}, PolicyWorld: world{a}, Policies: a.rules.use, Kits: a.model.Touch, Zones: a.zones, Escrow: a.escrow,
		Rules: a.cfg.rules(), LocationType: a.typeOf,
		Cells: a.publish, Shown: func(p ledger.Position) { a.model.Applied(uint64(p)) },
		Merged: func(o protocol.Origin, m ledger.Mark, n int) {
			a.model.AppliedMark(o, m.Epoch, m.Seq)
			if o.Store != protocol.ChainStore {
				a.fleet.Merged(o, m, m.RecordUS, n)
			}
		},
		Safe: a.fleet.Safe, Announced: a.fleet.Announced, Copies: a.fleet.Copies, Refused: a.refused, Backed: a.cfg.Backup.To != "", Raised: a.raised,
		Parked: func(o protocol.Origin, code string) { a.mending.Parked(o, code) }, Items: func(skus []protocol.SKU) { a.mending.Arrived(skus) },
	})
	if err != nil {
		return fmt.Errorf("open ingest: %w", err)
	}
	a.model.UseKits(a.ingest.Master().Kit)
	a.model.UseKitsOf(a.ingest.Master().KitsWith)
	var cells []ingest.Position
	a.ingest.Each(func(c ingest.Position) { cells = append(cells, c) })
	a.publish(cells)
	a.model.Applied(uint64(a.ledger.Head()))
	marks := a.ingest.Marks()
	for _, m := range marks {
		a.model.AppliedMark(m.Origin, m.Epoch, m.Seq)
	}
	a.knownFeeds(marks)
	a.fleet.Load(slices.DeleteFunc(marks, func(m ledger.Mark) bool { return m.Origin.Store == protocol.ChainStore }))
	return nil
}

// publish shows committed positions to readers.
func (a *Aggregator) publish(cells []ingest.Position) {
	a.cells = a.cells[:0]
	for i := range cells {
		c := &cells[i]
		a.cells = append(a.cells, availability.Cell{
			Location: c.Location, SKU: c.SKU, OnHand: c.OnHand, Unavailable: c.Unavailable, UnavailableBy: c.UnavailableBy,
			InTransit: c.InTransit, Incoming: c.Incoming, Reserved: c.Reserved, Allocated: c.Allocated,
			Rate: c.Rate, LastUS: c.LastUS, CountedUS: c.CountedUS,
		})
	}
	a.model.Apply(a.cells)
}

func (a *Aggregator) refused(o protocol.Origin, reason protocol.NackReason, detail string) {
	a.refusals.add(reason)
	a.fleet.Refused(o, reason)
	a.deps.Log.Debug().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Str("reason", string(reason)).Str("detail", detail).Msg("not merged")
}

func (a *Aggregator) openBroker() error {
	ln := a.deps.MQTTListener
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", a.cfg.MQTT.Listen); err != nil {
			return fmt.Errorf("listen for agents: %w; is another aggregator running, or mqtt.listen taken?", err)
		}
	}
	o := broker.Options{
		Listener: ln, ClientsMax: a.cfg.MQTT.ClientsMax, PerAddrMax: a.cfg.MQTT.PerAddrMax, PerLoopbackMax: a.cfg.MQTT.PerAddrLocal,
		Authenticate: a.authenticate, OnUp: a.onUp, Log: a.deps.Log,
		OnPresence: func(o protocol.Origin, up bool) { a.fleet.Connected(o, up, a.deps.Now().UnixMicro()) },
	}
	if a.cfg.MQTT.CertFile != "" || a.cfg.MQTT.TLS == TLSOwn {
		var err error
		if o.TLS, err = a.tlsConfig("mqtt", a.cfg.MQTT.CertFile, a.cfg.MQTT.KeyFile); err != nil {
			return err
		}
	}
	if a.cfg.MQTT.TLS == TLSOwn {
		o.TLS.ClientAuth, o.Identify = tls.RequestClientCert, a.identify // judged by identify, which knows grace and book
	}
	b, err := broker.New(o)
	if err != nil {
		return fmt.Errorf("make broker: %w", err)
	}
	a.broker = b
	return nil
}

// onUp is called by the broker for every message of an agent. It never blocks.
func (a *Aggregator) onUp(m broker.Up) error {
	switch m.Channel {
	case protocol.UpHello:
		var h protocol.Hello
		if protocol.DecodeControl(m.Payload, &h) == nil { // ingest answers what cannot be read
			a.fleet.Hello(a.ingest.Speaker(m.Origin, h.BootID), h, m.ReceivedUS)
		}
		return a.ingest.Hello(m.Origin, m.Payload)
	case protocol.UpJournal:
		return a.ingest.Frame(m.Origin, m.Payload, m.ReceivedUS)
	case protocol.UpDigest:
		return a.ingest.Digest(m.Origin, m.Payload)
	case protocol.UpBundle:
		return a.takeBundle(m.Origin, m.Payload)
	case protocol.UpRenew:
		return a.takeRenewal(m)
	case protocol.UpHeartbeat:
		var hb protocol.Heartbeat
		if !a.readable(m, &hb) {
			return nil
		}
		a.fleet.Heartbeat(a.ingest.Speaker(m.Origin, hb.BootID), &hb, m.ReceivedUS)
		return a.ingest.Heartbeat(m.Origin, &hb)
	case protocol.UpWill:
		var w protocol.Will
		if a.readable(m, &w) {
			a.fleet.Will(a.ingest.Speaker(m.Origin, w.BootID), w, m.ReceivedUS)
		}
		return nil
	case protocol.DnWelcome, protocol.DnAck, protocol.DnHolds, protocol.DnDesired, protocol.DnCommand, protocol.DnRenewed: // the broker's ACL lets no agent send there
	}
	return fmt.Errorf("channel %s is not one that agents send on", m.Channel)
}

// readable decodes a control message; one that cannot be read is counted.
func (a *Aggregator) readable(m broker.Up, into any) bool {
	err := protocol.DecodeControl(m.Payload, into)
	if err != nil {
		a.refused(m.Origin, protocol.NackMalformed, string(m.Channel)+": "+err.Error())
	}
	return err == nil
}

// Run serves until ctx ends, then stops the ports, takes what is queued, and
// writes a checkpoint. A failed ledger ends it with an error: the process must
// start anew from what is on disk.
func (a *Aggregator) Run(ctx context.Context) error {
	g, serving := errgroup.WithContext(ctx)
	ingestCtx, stopIngest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopIngest()
	ingestDone := make(chan error, 1)
	go func() { ingestDone <- a.ingest.Run(ingestCtx) }()

	g.Go(func() error { return a.broker.Run(serving) })
	g.Go(func() error { return a.fleet.Run(serving) })
	g.Go(func() error { return a.followFleet(serving) })
	g.Go(func() error { return a.model.Run(serving) })
	g.Go(func() error { return a.backups.Run(serving) })
	g.Go(func() error { return a.releases.Run(serving) })
	if a.otel != nil {
		g.Go(func() error { return a.otel.Run(serving) })
	}
	g.Go(func() error { return a.hub.Run(serving) })
	g.Go(func() error { return a.partners.run(serving) })
	g.Go(func() error { return a.runFeeds(serving) })
	g.Go(func() error { return a.followFlows(serving) })
	g.Go(func() error { return a.followBackups(serving) })
	g.Go(func() error { return a.runPostings(serving) })
	g.Go(func() error { return a.mending.Run(serving) })
	g.Go(func() error { return a.followHouse(serving) })
	g.Go(func() error { return a.followIdentities(serving) })
	g.Go(func() error { return a.serveHTTP(serving) })
	g.Go(func() error { // a dead ledger ends everything
		select {
		case err := <-ingestDone:
			ingestDone <- err
			return err
		case <-serving.Done():
			return nil
		}
	})
	a.up.Store(true)
	close(a.ready)
	a.deps.Log.Info().Str("http", a.HTTPAddr()).Str("mqtt", a.MQTTAddr()).Bool("dev", a.cfg.Dev).Str("version", a.deps.Version).Msg("aggregator ready")
	err := g.Wait()
	a.up.Store(false)
	stopIngest()
	err = errors.Join(err, a.ledgerFailed(<-ingestDone), a.close())
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// followFleet carries the stores' watermarks into the answers of the read model,
// and once an hour what their weeks look like.
func (a *Aggregator) followFleet(ctx context.Context) error {
	t := time.NewTicker(locationsTick)
	defer t.Stop()
	rev, learnt := uint64(0), time.Time{}
	weeks := map[protocol.StoreID]ingest.Week{}
	for {
		if now := a.deps.Now(); now.Sub(learnt) > weeksEvery {
			learnt, rev = now, 0 // every tile again
			if fresh, err := a.weeks(ctx); err == nil {
				weeks = fresh
			}
		}
		v := a.fleet.View(rev)
		rev = v.Rev
		for i := range v.Tiles {
			tile := &v.Tiles[i]
			a.model.SetLocation(tile.Store, availability.LocationState{
				Type: tile.Type, WatermarkUS: tile.WatermarkUS, Feed: tile.Source, Profile: weeks[tile.Store].Profile, OffsetMin: weeks[tile.Store].OffsetMin, Group: a.groups[tile.Store],
				Provisional: !tile.Source && tile.Presence != protocol.PresenceOnline && tile.Presence != protocol.PresencePOSSilent,
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// weeksEvery is how often the weeks are taken from the learner.
const weeksEvery = time.Hour

func (a *Aggregator) weeks(ctx context.Context) (map[protocol.StoreID]ingest.Week, error) {
	v := a.fleet.View(0)
	locs := make([]protocol.StoreID, 0, len(v.Tiles))
	for i := range v.Tiles {
		locs = append(locs, v.Tiles[i].Store)
	}
	return a.ingest.Weeks(ctx, locs)
}

// Ready is closed when the ports serve.
func (a *Aggregator) Ready() <-chan struct{} { return a.ready }

// HTTPAddr and MQTTAddr are where the ports really listen.
func (a *Aggregator) HTTPAddr() string { return a.httpLn.Addr().String() }

// MQTTAddr is the broker's address.
func (a *Aggregator) MQTTAddr() string { return a.broker.Addr() }

// writeAddresses tells scripts and tests which ports were picked.
func (a *Aggregator) writeAddresses() error {
	at := map[string]string{"http": a.HTTPAddr(), "mqtt": a.MQTTAddr()}
	if a.cfg.HTTP.secure() {
		at["scheme"] = "https"
	}
	b, err := json.Marshal(at)
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

func (a *Aggregator) close() error {
	var errs []error
	if a.httpLn != nil {
		if err := a.httpLn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if a.ledger != nil {
		if err := a.ledger.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close ledger: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (a *Aggregator) serveHTTP(ctx context.Context) error {
	srv := &http.Server{
		Handler: a.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
	}
	srv.RegisterOnShutdown(func() { a.api.Close(); a.web.Close() })
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
	ln := a.httpLn
	if a.cfg.HTTP.secure() {
		ln = tls.NewListener(ln, a.httpTLS)
	}
	door := front.New(ln, func(b []byte, r *front.Request) ([]byte, bool) {
		if r.Body != nil {
			return a.api.AppendQuery(b, r.Body, r.Host, r.Authorization)
		}
		return a.api.AppendAvailability(b, r.SKU, r.Location, r.Host, r.Authorization)
	})
	if err := srv.Serve(door); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return <-done
}

// handler gives the contract's paths to the API and the rest to the UI.
func (a *Aggregator) handler() http.Handler {
	ui := a.web.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.cfg.HTTP.secure() {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		if api.Owns(r.URL.Path) {
			a.api.ServeHTTP(w, r)
			return
		}
		if !a.api.HostOK(r.Host) {
			http.Error(w, "this host name is not served here; add it to http.hosts", http.StatusMisdirectedRequest)
			return
		}
		ui.ServeHTTP(w, r)
	})
}

func (a *Aggregator) openHTTP() error {
	a.httpLn = a.deps.HTTPListener
	if a.httpLn == nil {
		var err error
		if a.httpLn, err = net.Listen("tcp", a.cfg.HTTP.Listen); err != nil {
			return fmt.Errorf("listen for http: %w; is another aggregator running, or http.listen taken?", err)
		}
	}
	if a.cfg.HTTP.secure() {
		var err error
		if a.httpTLS, err = a.tlsConfig("http", a.cfg.HTTP.CertFile, a.cfg.HTTP.KeyFile); err != nil {
			return err
		}
		a.httpTLS.NextProtos = []string{"http/1.1"} // what front reads
	}
	d := desk{a.ingest, a, protocol.ViaAPI}
	a.tracer = trace.New(a.ledger, a.afterMerge)
	a.api = api.New(api.Options{
		Availability: a.model, Fleet: a.fleet, Exceptions: a.ledger, Door: d, Feeds: a.feeds, Enrolment: d, Identities: d, Keys: d, Copies: d, Orders: d, Audit: a.trail.List, Bundle: a.bundles.read,
		Reservations: a.ingest, Decide: d.DecideReservation, Policies: d, Items: d, Reconciliations: d, Postings: postings{a, d}, Outcomes: a.ingest.Outcomes, Mending: d,
		Subscriptions: subscriptions{a.hub, d}, Connectors: connectors{&a.partners, a.feeds, d}, Master: a.ingest.Master(), Certificate: a.ingest.Certificate, Thresholds: a.thresholds, CountNext: a.ingest.CountNext, ATP: a.ingest.ATP, Settled: a.settled, Backups: d, Releases: releases{a.releases, d}, Traces: a.tracer, Generation: a.ingest.Generation,
		Group: a.group, Key: a.apiKey, Ready: a.readiness, Metrics: a.metrics, OpenAPI: openapi.Aggregator(), AsyncAPI: protocol.AsyncAPI(),
		Hosts: a.cfg.HTTP.Hosts, Dev: a.cfg.Dev, Log: a.deps.Log, Now: a.deps.Now,
		Busy: func(err error) bool { return errors.Is(err, ingest.ErrBusy) || errors.Is(err, ingest.ErrStopped) },
	})
	ui, err := web.New(a.webOptions(deploy.Operations))
	if err != nil {
		return fmt.Errorf("make ops ui: %w", err)
	}
	a.web = ui
	return nil
}
