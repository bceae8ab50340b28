package web

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/reconcile"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Fleet is what the pages need to know of the stores. Its answers are immutable.
type Fleet interface {
	View(since uint64) protocol.FleetView
	Wait() <-chan struct{} // closed at the next revision
	Status(id protocol.StoreID) (protocol.StoreStatus, bool)
	Statuses() []protocol.StoreStatus
	History(id protocol.StoreID, day bool) []protocol.LagPoint
	Bands() []protocol.BandColumn
	Past(atUS int64) (protocol.FleetPast, bool)
}

// Role of a person. Each may what the one before may, and more.
type Role int

// The roles.
const (
	Nobody Role = iota
	Viewer      // looks
	Ops         // decides
	Admin       // lets in
)

func (r Role) String() string { return [...]string{"nobody", "viewer", "ops", "admin"}[r] }

// Person is who looks.
type Person struct {
	Name string
	Role Role
	By   string // password | oidc | key
}

// People lets people in. Its errors are *protocol.Problem with words for the
// person where they are the person's.
type People interface {
	Login(ctx context.Context, name, password, from string) (session string, until time.Time, err error)
	LoginKey(ctx context.Context, key, from string) (session string, until time.Time, err error)
	Who(session string) (Person, bool)
	Logout(session string)
}

// OIDC lets people in whom another system knows.
type OIDC interface {
	Begin(ctx context.Context, next string) (to, state string, err error)
	End(ctx context.Context, state, cookie, code string) (session string, until time.Time, next string, err error)
}

// Account is a local account, for its page.
type Account struct {
	Name      string
	Role      Role
	CreatedAt time.Time
	ChangedAt time.Time
	Sessions  int // that stand now
}

// Accounts are kept by an admin. Changes are recorded under who.
type Accounts interface {
	Accounts() []Account
	AddAccount(ctx context.Context, name, role, password, who string) error
	SetPassword(ctx context.Context, name, password, who string) error
	SetRole(ctx context.Context, name, role, who string) error
	RemoveAccount(ctx context.Context, name, who string) error
}

// Reservations are promises of stock.
type Reservations interface {
	Reservations(ctx context.Context, f reserve.Filter) ([]protocol.Reservation, error)
	Reservation(ctx context.Context, id string) (protocol.Reservation, bool, error)
	DecideReservation(ctx context.Context, id string, what reserve.Command, ttlS int64, note, who string) (protocol.Reservation, error)
}

// Mending decides what could not take effect: corrected, many at a time, by source.
type Mending interface {
	EditException(ctx context.Context, id string, document []byte, who, note string) (protocol.Exception, error)
	ExceptionStep(ctx context.Context, f ledger.Filter, action, who, note string, preview bool) (protocol.ExceptionBulk, error)
	ExceptionCauses(f ledger.Filter) (list []protocol.ExceptionCause, more bool, err error)
	Sources() ([]protocol.SourceStanding, error)
	PauseSource(ctx context.Context, source, who, reason string) error
	ResumeSource(ctx context.Context, source, who, reason string) error
}

// Reconciliations are what other systems state against the book.
type Reconciliations interface {
	Reconciliations(ctx context.Context, f reconcile.Filter) ([]protocol.Reconciliation, error)
	Decide(ctx context.Context, id, action, who, note string) (protocol.Reconciliation, error)
}

// Orders are what agents are to be like and to do.
type Orders interface {
	WantState(ctx context.Context, o protocol.Origin, values map[string]json.RawMessage, base *uint64, who string) (protocol.DesiredState, error)
	DesiredState(ctx context.Context, o protocol.Origin) (protocol.DesiredState, error)
	IssueCommand(ctx context.Context, o protocol.Origin, c protocol.Command, valid time.Duration, who string) (protocol.CommandState, error)
	ListCommands(ctx context.Context, o protocol.Origin) ([]protocol.CommandState, error)
	Copies(ctx context.Context, o protocol.Origin) (protocol.Copies, bool, error)
	PickCopy(ctx context.Context, o protocol.Origin, boot, who string) (protocol.Copies, error)
}

// Policies say what is held back.
type Policies interface {
	ListPolicies(ctx context.Context) ([]protocol.Policy, error)
	PolicyHistory(ctx context.Context, id string) ([]protocol.Policy, error)
	PutPolicy(ctx context.Context, p *protocol.Policy, who string) (protocol.Policy, error)
	DeletePolicy(ctx context.Context, id, who string) (protocol.Policy, error)
}

// Enrolment lets machines in, and out.
type Enrolment interface {
	Issue(ctx context.Context, store protocol.StoreID, agent protocol.AgentID, valid time.Duration, who string) (code string, until time.Time)
	Revoke(ctx context.Context, name, note, who string) error
	Revoked() []string
}

// Moment of a question about the past; zero is now.
type Moment struct{ AtUS, KnownUS int64 }

// Options of the UI. A page whose functions are nil does not exist, and is not
// in the navigation.
type Options struct {
	Now     func() time.Time
	Log     zerolog.Logger
	Dev     bool // no login is asked, and every page says so
	Secure  bool // cookies only over TLS
	Version string
	Manual  []byte // OPERATIONS.md
	Fleet   Fleet

	// Acknowledge closes a standing incident; false: there is none.
	Acknowledge func(ctx context.Context, id, who string) bool

	Availability func(sku protocol.SKU) (protocol.Availability, bool)
	Explain      func(ctx context.Context, sku protocol.SKU, location protocol.StoreID, limit int, when Moment) (protocol.Explanation, error)
	Search       func(prefix string, limit int) []protocol.SKU
	CountNext    func(ctx context.Context, store protocol.StoreID, limit int) ([]protocol.CountNext, error)

	Exceptions func(f ledger.Filter) ([]protocol.Exception, error)
	Exception  func(id string) (protocol.Exception, error)
	OpenCount  func() int
	Retry      func(ctx context.Context, id, who string) error
	Discard    func(ctx context.Context, id, who, note string) error

	Mending         Mending // demanded where Exceptions is
	Reservations    Reservations
	Postings        Postings
	Parked          func() int // postings that wait for a person
	Connectors      Connectors
	Subscriptions   Subscriptions
	Flow            func(name string) []protocol.FlowPoint // the last day of protocol.FlowConnector+name, …; nil: none is kept
	Trace           func(ctx context.Context, q protocol.TraceQuery) (*protocol.Trace, error)
	Releases        Releases
	Outcomes        func(ctx context.Context, f protocol.OutcomesFilter) (protocol.Outcomes, error)
	Reconciliations Reconciliations
	OpenDrift       func() int // rows of drift that wait for a person
	Orders          Orders
	Bundle          func(o protocol.Origin, command string) ([]byte, error) // fs.ErrNotExist: there is none
	Policies        Policies
	Items           func(after protocol.SKU, limit int) []protocol.Item
	Item            func(sku protocol.SKU) []protocol.Item // versions, newest first
	Enrolment       Enrolment
	Identities      func() []protocol.Identity // certificates and tokens; nil: not told
	APIKeys         func() ([]protocol.APIKey, error)
	Audit           func(f protocol.AuditFilter) []protocol.AuditEntry
	Accounts        Accounts

	// People is demanded unless Dev; OIDC is nil where nobody else vouches.
	People   People
	OIDC     OIDC
	OIDCName string // on its button
}
