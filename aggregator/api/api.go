package api

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Availability is the read model.
type Availability interface {
	AppendJSON(b []byte, sku protocol.SKU, at []protocol.StoreID) ([]byte, bool)
	AppendJSONFor(b []byte, sku protocol.SKU, at []protocol.StoreID, channel string) ([]byte, bool)
	AppendJSONList(b []byte, skus []protocol.SKU, at []protocol.StoreID, channel string, unknown []int) ([]byte, []int)
	Changed(cursor uint64, limit int) (skus []protocol.SKU, next uint64, ok bool)
	Cursor() uint64
	Wait() <-chan struct{}
}

// Fleet knows the stores.
type Fleet interface {
	Statuses() []protocol.StoreStatus
	ChainIncidents() []protocol.Incident // of no store
	SafeCoveredBy() string
	Status(id protocol.StoreID) (protocol.StoreStatus, bool)
}

// Exceptions are the dead letters.
type Exceptions interface {
	Exceptions(f ledger.Filter) ([]protocol.Exception, error)
	Exception(id string) (protocol.Exception, error)
}

// Door takes decisions and documents; it answers when they are durable.
type Door interface {
	Explain(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, q merge.Question) (*protocol.Explanation, error)
	Retry(ctx context.Context, id, who string) (protocol.Exception, error)
	Discard(ctx context.Context, id, note, who string) (protocol.Exception, error)
}

// Feeds turn a feed's body into documents and have them merged. Their errors
// are *protocol.Problem or the door's.
type Feeds interface {
	Events(ctx context.Context, source string, body []byte) ([]protocol.FeedResult, error)
	Snapshot(ctx context.Context, source string, body []byte) ([]protocol.FeedResult, error)
	Capture(ctx context.Context, source string, body []byte) (protocol.CaptureJob, error)
	CaptureEvent(ctx context.Context, source string, body []byte) (protocol.CaptureJob, error)
	Job(id string) (protocol.CaptureJob, bool)
}

// Enrolment issues and takes one-off codes.
type Enrolment interface {
	Issue(ctx context.Context, store protocol.StoreID, agent protocol.AgentID, valid time.Duration, who string) (code string, until time.Time)
	Enroll(ctx context.Context, code string, o protocol.Origin, csr string) (protocol.Enrolled, error)
}

// Options are what the port works with.
type Options struct {
	Availability    Availability
	Fleet           Fleet
	Exceptions      Exceptions
	Door            Door
	Feeds           Feeds
	Enrolment       Enrolment
	Identities      Identities
	Keys            Keys
	Copies          Copies
	Orders          Orders
	Bundle          func(o protocol.Origin, command string) ([]byte, error) // fs.ErrNotExist: there is none
	Backups         Backups
	Releases        Releases
	Traces          Traces
	Audit           func(f protocol.AuditFilter) []protocol.AuditEntry // newest first
	Generation      func() uint64                                      // of the cloud, told in every answer
	Reservations    Reservations
	Decide          func(ctx context.Context, id string, what reserve.Command, ttlS int64, note, who string) (protocol.Reservation, error) // Command, recorded
	Policies        Policies
	Items           Items
	Reconciliations Reconciliations
	Subscriptions   Subscriptions
	Connectors      Connectors
	Postings        Postings
	Outcomes        Outcomes
	Mending         Mending
	Master          Master
	Thresholds      Thresholds
	ATP             func(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, horizon time.Duration) (protocol.ATP, error)
	CountNext       func(ctx context.Context, store protocol.StoreID, limit int) ([]protocol.CountNext, error)
	Certificate     func(ctx context.Context) (protocol.Certificate, error)
	Settled         func(ctx context.Context, token string) error // see settled
	Group           func(name string) ([]protocol.StoreID, bool)  // locations of a group (region)
	Key             func(token string) (role, name string, err error)
	Ready           func() error // why not, when not
	Metrics         http.HandlerFunc
	OpenAPI         []byte
	AsyncAPI        []byte
	Hosts           []string // Host names accepted besides IP addresses and localhost
	Dev             bool     // asks nobody for a key
	Log             zerolog.Logger
	Now             func() time.Time
	// Busy tells the errors that mean "try again": a full queue, a stop.
	Busy func(error) bool
}

// API serves the contract.
type API struct {
	o       Options
	mux     *http.ServeMux
	rates   *rates
	fast    fastState
	streams chan struct{}
	done    chan struct{}
	timings *timings
}

// route is one row of the table of what may be called by whom.
type route struct {
	pattern string
	roles   string // of those that may; "" = anyone
	body    int    // most bytes of a body
	do      func(*API, http.ResponseWriter, *http.Request) error
}

const (
	readers   = "channel ops admin"
	reservers = "channel ops admin"
	feeders   = "feed ops admin"
	deciders  = "ops admin"
)

func routes() []route {
	return append(slices.Concat(channelRoutes(), identityRoutes(), mendingRoutes()), []route{
		{hotCall, readers, 0, (*API).availability},
		{"POST /v1/availability/query", readers, protocol.BodyBytesMax, (*API).query},
		{"GET /v1/availability/changes", readers, 0, (*API).changes},
		{"GET /v1/availability/stream", readers, 0, (*API).stream},
		{"GET /v1/availability/{sku}/explain", readers, 0, (*API).explain},
		{"GET /v1/availability/certificate", readers, 0, (*API).certificate},
		{"GET /v1/availability/{sku}/atp", readers, 0, (*API).atp},
		{"POST /v1/reservations", reservers, protocol.BodyBytesMax, (*API).reserve},
		{"GET /v1/reservations", reservers, 0, (*API).reservations},
		{"GET /v1/reservations/{id}", reservers, 0, (*API).reservation},
		{"DELETE /v1/reservations/{id}", reservers, 0, (*API).release},
		{"POST /v1/reservations/{id}/confirm", reservers, 0, (*API).confirm},
		{"POST /v1/reservations/{id}/extend", reservers, controlBodyMax, (*API).extend},
		{"POST /v1/reservations/{id}/fulfil", reservers, 0, (*API).fulfil},
		{"GET /v1/reconciliations", deciders, 0, (*API).reconciliations},
		{"POST /v1/reconciliations/decide", deciders, controlBodyMax, (*API).decideReconciliation},
		{"GET /v1/outcomes", deciders, 0, (*API).outcomes},
		{"GET /v1/postings", deciders, 0, (*API).postings},
		{"GET /v1/postings/{id}", deciders, 0, (*API).posting},
		{"POST /v1/postings/resume", deciders, controlBodyMax, (*API).resumePostings},
		{"POST /v1/postings/{id}/retry", deciders, controlBodyMax, (*API).retryPosting},
		{"POST /v1/postings/{id}/discard", deciders, controlBodyMax, (*API).discardPosting},
		{"GET /v1/items", readers, 0, (*API).items},
		{"POST /v1/items", feeders, protocol.FeedBodyBytesMax, (*API).postItems},
		{"GET /v1/items/{sku}", readers, 0, (*API).item},
		{"PUT /v1/items/{sku}", feeders, protocol.BodyBytesMax, (*API).putItem},
		{"GET /v1/policies", deciders, 0, (*API).policies},
		{"GET /v1/policies/{id}", deciders, 0, (*API).policy},
		{"PUT /v1/policies/{id}", deciders, protocol.BodyBytesMax, (*API).putPolicy},
		{"DELETE /v1/policies/{id}", deciders, 0, (*API).deletePolicy},
		{"POST /v1/feeds/{source}/events", feeders, protocol.FeedBodyBytesMax, (*API).feedEvents},
		{"POST /v1/feeds/{source}/snapshot", feeders, protocol.FeedBodyBytesMax, (*API).feedSnapshot},
		{"POST /epcis/v2/capture", feeders, protocol.FeedBodyBytesMax, (*API).epcisCapture},
		{"GET /epcis/v2/capture/{id}", feeders, 0, (*API).epcisJob},
		{"POST /epcis/v2/events", feeders, protocol.BodyBytesMax, (*API).epcisEvent},
		{"GET /v1/stores", deciders, 0, (*API).stores},
		{"GET /v1/stores/{store}", deciders, 0, (*API).store},
		{"GET /v1/stores/{store}/agents/{agent}", deciders, 0, (*API).agent},
		{"GET /v1/stores/{store}/agents/{agent}/copies", deciders, 0, (*API).copies},
		{"POST /v1/stores/{store}/agents/{agent}/pick", deciders, controlBodyMax, (*API).pick},
		{"GET /v1/stores/{store}/agents/{agent}/desired", deciders, 0, (*API).desired},
		{"PUT /v1/stores/{store}/agents/{agent}/desired", deciders, controlBodyMax, (*API).putDesired},
		{"GET /v1/stores/{store}/agents/{agent}/commands", deciders, 0, (*API).commands},
		{"POST /v1/stores/{store}/agents/{agent}/commands", deciders, controlBodyMax, (*API).postCommand},
		{"GET /v1/stores/{store}/agents/{agent}/commands/{command}/bundle", deciders, 0, (*API).bundle},
		{"GET /v1/stores/{store}/count-next", deciders, 0, (*API).countNext},
		{"GET /v1/backups", deciders, 0, (*API).backups},
		{"POST /v1/backups", "admin", controlBodyMax, (*API).makeBackup},
		{"GET /v1/traces/{id}", deciders, 0, (*API).traces},
		{"GET /v1/releases", deciders, 0, (*API).releases},
		{"PUT /v1/releases/rollout", "admin", protocol.BodyBytesMax, (*API).putRollout},
		{"GET /v1/releases/offer", "", 0, (*API).releaseOffer},
		{"GET /v1/releases/{sha256}", "", 0, (*API).releaseProgram},
		{"GET /v1/audit", deciders, 0, (*API).audit},
		{"POST /v1/enrollment-tokens", "admin", controlBodyMax, (*API).enrolmentToken},
		{"POST /v1/enroll", "", controlBodyMax, (*API).enroll},
		{"GET /healthz", "", 0, (*API).healthz},
		{"GET /readyz", "", 0, (*API).readyz},
		{"GET /metrics", "", 0, (*API).metrics},
		{"GET /openapi.json", "", 0, (*API).openapi},
		{"GET /asyncapi.json", "", 0, (*API).asyncapi},
	}...)
}

// Rule is a row of the table as others may read it: tests, and audits of who
// may do what.
type Rule struct {
	Pattern string
	Roles   string // separated by spaces; "" = anyone
}

// Rules lists what may be called by whom.
func Rules() []Rule {
	var out []Rule
	for _, r := range routes() {
		out = append(out, Rule{r.pattern, r.roles})
	}
	return out
}

// New makes the port.
func New(o Options) *API {
	a := &API{o: o, mux: http.NewServeMux(), rates: newRates(o.Now), streams: make(chan struct{}, streamsMax), done: make(chan struct{}), timings: newTimings(routes())}
	for _, r := range routes() {
		a.mux.HandleFunc(r.pattern, a.guarded(r))
	}
	a.mux.HandleFunc("/v1/", a.unknown)
	a.mux.HandleFunc("/epcis/", a.unknown)
	return a
}

// Close ends the streams, so that a server can shut down. Call it once.
func (a *API) Close() { close(a.done) }

// Owns tells whether a path belongs to the API rather than to the UI.
func Owns(path string) bool {
	switch path {
	case "/healthz", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json":
		return true
	}
	return strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/epcis/")
}

// ServeHTTP checks the host and finds the route.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.stamp(w)
	if !a.HostOK(r.Host) {
		fail(w, protocol.NewProblem(http.StatusMisdirectedRequest, "wrong_host", "Host is not served here",
			"the Host header is "+r.Host, "call the address this aggregator listens on, or add the name to http.hosts"))
		return
	}
	a.mux.ServeHTTP(w, r)
}

// HostOK stops DNS rebinding: names that a stranger's page can point at us are
// refused; addresses cannot be rebound.
func (a *API) HostOK(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" || net.ParseIP(strings.Trim(name, "[]")) != nil {
		return true
	}
	for _, h := range a.o.Hosts {
		if strings.EqualFold(h, name) {
			return true
		}
	}
	return false
}

// guarded wraps a route with what all routes share: who may, how fast, how
// much, and how errors are told.
func (a *API) guarded(r route) http.HandlerFunc {
	timing := a.timings.routes[r.pattern]
	return func(w http.ResponseWriter, req *http.Request) {
		began, status := time.Now(), http.StatusInternalServerError // a panic's
		defer func() { timing.done(status, began) }()
		p := a.admit(w, req, &r)
		if p == nil {
			if r.body > 0 {
				req.Body = http.MaxBytesReader(w, req.Body, int64(r.body))
			}
			if err := r.do(a, w, req); err != nil {
				p = a.problem(err)
			}
		}
		if p == nil {
			status = http.StatusOK
			return
		}
		status = p.Status
		fail(w, p)
	}
}

func (a *API) admit(w http.ResponseWriter, req *http.Request, r *route) *protocol.Problem {
	if r.roles != "" && !a.o.Dev {
		role, name, p := a.caller(req)
		if p != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="tillwire"`)
			return p
		}
		if !allowed(r.roles, role) {
			return protocol.NewProblem(http.StatusForbidden, "forbidden", "This key may not do that",
				"a "+role+" key was used; "+r.roles+" may", "issue a key with `tillwire-aggregator token --role ROLE --name NAME`")
		}
		if p := a.rates.take(w, name); p != nil {
			return p
		}
		if req.Method != http.MethodGet {
			*req = *req.WithContext(context.WithValue(req.Context(), callerKey{}, caller{name, role}))
		}
	}
	if r.body > 0 && req.ContentLength != 0 {
		return wantJSON(req)
	}
	return nil
}

type callerKey struct{}

// caller is whose key a write came with.
type caller struct{ name, role string }

// who is the caller of a write, for audits.
func who(r *http.Request) string {
	if c, ok := r.Context().Value(callerKey{}).(caller); ok {
		return c.name
	}
	return "dev"
}

// decides tells that the caller's key is one that people and their scripts decide
// with, and not that of a channel.
func decides(r *http.Request) bool {
	c, ok := r.Context().Value(callerKey{}).(caller)
	return ok && allowed(deciders, c.role)
}

func (a *API) caller(req *http.Request) (role, name string, p *protocol.Problem) {
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "", "", protocol.NewProblem(http.StatusUnauthorized, "unauthorized", "An API key is needed", "",
			"send `Authorization: Bearer KEY`; issue keys with `tillwire-aggregator token --role ROLE --name NAME`")
	}
	role, name, err := a.o.Key(token)
	if err != nil {
		return "", "", protocol.NewProblem(http.StatusUnauthorized, "unauthorized", "The API key is not accepted", err.Error(),
			"issue another with `tillwire-aggregator token --role ROLE --name NAME`")
	}
	return role, name, nil
}

func allowed(roles, role string) bool {
	for r := range strings.FieldsSeq(roles) {
		if r == role {
			return true
		}
	}
	return false
}
