package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/protocol/openapi"
	"tillwire/store/journal"
)

// Journal is what intake needs of the journal. *journal.Journal is one. Append
// and AppendAll return when the events are on disk, and may be called from many
// goroutines; an event id that is journaled already is answered as a duplicate.
type Journal interface {
	Append(ctx context.Context, e *protocol.Event) (journal.Receipt, error)
	AppendAll(ctx context.Context, events []*protocol.Event) ([]journal.Receipt, []error)
	State() journal.State
	HeadUS() int64       // record time of the newest record
	Twice(us int64) bool // the clock went through a moment twice
	Scan(from uint64, fn func(seq uint64, recordUS int64, rec []byte) error) error
}

// LinkStatus is what the link says about itself, for status and page.
type LinkStatus struct {
	Connected bool
	Off       bool      // no broker is configured
	Broker    string    // without credentials
	Since     time.Time // of the present state
	NextTry   time.Time // zero while connected
	Refused   string    // why the aggregator refuses to merge; "" = it does not
	LastError string    // in words

	ClockOffsetMS *int64 // the aggregator's clock less this one; nil: never heard
}

// Options configure the port. Store, Agent and Journal are required.
type Options struct {
	Store        protocol.StoreID
	Agent        protocol.AgentID
	Journal      Journal
	Log          zerolog.Logger
	Now          func() time.Time
	Version      string
	Tokens       []string // bearer tokens; none = not asked
	AllowedHosts []string // host names besides loopback under which we may be called
	Dev          bool     // told on the page
	Link         func() LinkStatus
	Metrics      *metrics.Set
	Zone         *time.Location // of POSLog times without zone; nil = time.Local
	RetailStore  string         // RetailStoreID demanded in POSLog; "" = any

	Schemes   protocol.Schemes   // price- and weight-embedded barcodes of the house; checked by Schemes.Check
	Holds     []byte             // what KeepHolds was last given; nil: nothing yet
	KeepHolds func([]byte) error // makes the aggregator's holds durable; nil: they are asked for at each start

	Update   func() *protocol.UpdateState // of the program; nil, or returning nil: nothing to tell
	Siblings func() []StatusSibling       // the shop's other agents; nil where it has one
}

// Intake is the port. Run keeps its local stock; Handler may serve before.
type Intake struct {
	o       Options
	hosts   map[string]bool
	tokens  [][32]byte
	started time.Time
	slots   chan struct{} // one per request with a body
	stock   *stock
	tasks   tasks

	regMu     sync.Mutex // guards registers, regAt
	regAt     time.Time  // when the newest document came
	registers *registerClocks

	hostSeen atomic.Pointer[string] // last Host that post accepted
	date     atomic.Pointer[dated]

	count *counters
	mux   *http.ServeMux
	paths map[string]string // path pattern → Allow header, for 405
}

// New makes the port; it does no I/O.
func New(o Options) (*Intake, error) {
	if err := protocol.CheckName(string(o.Store)); err != nil {
		return nil, fmt.Errorf("make intake: store %w", err)
	}
	if o.Journal == nil {
		return nil, errors.New("make intake: a journal is required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Link == nil {
		o.Link = func() LinkStatus { return LinkStatus{Off: true} }
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	in := &Intake{
		o: o, hosts: hostSet(o.AllowedHosts), tokens: hashTokens(o.Tokens), started: o.Now(),
		slots: make(chan struct{}, inFlightMax), stock: newStock(o.Store), mux: http.NewServeMux(),
	}
	in.registers = newRegisterClocks()
	in.tasks = tasks{board: newBoard(), keep: o.KeepHolds}
	if len(o.Holds) > 0 {
		var h protocol.Holds
		if err := json.Unmarshal(o.Holds, &h); err != nil {
			o.Log.Warn().Err(err).Msg("kept holds cannot be read; the aggregator will send them again")
		} else {
			in.tasks.board.set(&h)
		}
	}
	in.stock.holds = func(e *protocol.Event, seq uint64, recordUS int64) {
		in.tasks.mu.Lock()
		defer in.tasks.mu.Unlock()
		in.tasks.board.observe(e, seq, recordUS)
	}
	in.count = newCounters(o.Metrics, in)
	in.routes()
	return in, nil
}

// Run keeps the local stock until ctx ends. The first pass folds everything
// that the journal retains.
func (in *Intake) Run(ctx context.Context) error {
	t := time.NewTicker(stockEvery)
	defer t.Stop()
	for {
		if err := in.stock.catchUp(ctx, in.o.Journal); err != nil && ctx.Err() == nil {
			in.o.Log.Warn().Err(err).Msg("local stock could not follow the journal")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// routes is the table of the port. openapi/agent.json lists the same; a test
// compares them.
func (in *Intake) routes() {
	for path, k := range writePaths {
		in.handle(http.MethodPost, path, in.guardBody(jsonOnly, in.write(k)))
	}
	in.handle(http.MethodPost, "/v1/events", in.guardBody(jsonOrLines, in.events))
	in.handle(http.MethodPost, "/v1/poslog", in.guardBody(xmlOnly, in.poslog))
	in.handle(http.MethodGet, "/v1/stock/{sku}", in.guard(in.stockOne))
	in.handle(http.MethodGet, "/v1/stock", in.guard(in.stockMany))
	in.handle(http.MethodGet, "/v1/holds", in.guard(in.holds))
	for _, verb := range holdActions {
		in.handle(http.MethodPost, "/v1/holds/{id}/"+verb, in.guard(in.answerHold(verb)))
	}
	in.handle(http.MethodGet, "/v1/status", in.guard(in.status))
	in.handle(http.MethodGet, "/metrics", in.guard(in.metrics))
	in.handle(http.MethodGet, "/healthz", in.guardOpen(in.healthz))
	in.handle(http.MethodGet, "/readyz", in.guardOpen(in.readyz))
	in.handle(http.MethodGet, "/openapi.json", in.guardOpen(in.openapi))
	in.handle(http.MethodGet, "/page.css", in.guardOpen(in.pageCSS))
	in.handle(http.MethodGet, "/page.svg", in.guardOpen(in.pageIcon))
	in.handle(http.MethodGet, "/{$}", in.guardPage(in.page))
	in.mux.HandleFunc("/", in.guardOpen(in.notFound))
}

// handle registers a route, and an answer in our words for other methods.
func (in *Intake) handle(method, path string, h http.HandlerFunc) {
	if in.paths == nil {
		in.paths = make(map[string]string)
	}
	in.mux.HandleFunc(method+" "+path, h)
	if _, known := in.paths[path]; !known {
		in.mux.HandleFunc(path, in.guardOpen(in.wrongMethod(method)))
	}
	in.paths[path] = method
}

// Handler serves the port.
func (in *Intake) Handler() http.Handler { return in.mux }

// Server makes an HTTP server with the port's time limits. The caller listens,
// serves and shuts it down.
func (in *Intake) Server() *http.Server {
	return &http.Server{
		Handler:           in.mux,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
	}
}

func (in *Intake) openapi(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "application/json", openapi.Agent())
}

func (in *Intake) notFound(w http.ResponseWriter, _ *http.Request) {
	refuse(w, protocol.NewProblem(http.StatusNotFound, "not_found", "There is nothing at this address", "", "GET /openapi.json lists all addresses."))
}

func (in *Intake) wrongMethod(allow string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		refuse(w, protocol.NewProblem(http.StatusMethodNotAllowed, "method_not_allowed", "This address takes another method", r.Method+" is not accepted here", "Use "+allow+"."))
	}
}
