package simulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent/link"
	"tillwire/protocol"
)

// program is what agent and aggregator have in common.
type program interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
	HTTPAddr() string
}

// fleetPlan says what to start.
type fleetPlan struct {
	Places    []place
	Dir       string // agents' and aggregator's data; must exist
	HTTP      string // the aggregator's; "" = any free port
	Program   string // the aggregator's, to run as a process of its own; "" = in this one
	Log       zerolog.Logger
	Client    *http.Client // for tills; nil = one of its own
	startMany int          // agents started at once

	Elsewhere *elsewhere            // an aggregator that runs already; nil = one of our own
	Warehouse bool                  // the aggregator knows a distribution centre
	Now       func() time.Time      // the aggregator's clock; nil = the machine's
	NowAt     func(i int) time.Time // an agent's; nil = the machine's
	Warp      float64               // how fast these run, at most
	Timing    link.Timing           // of agents; zero = simulatedTiming
	Agent     string                // the agent's program, for the sample; "" = none
	Sample    map[int]bool          // stores whose agent is a process
}

// elsewhere is an aggregator that somebody else runs.
type elsewhere struct {
	HTTP   string // base URL
	Broker string // URL
	Key    string // bearer key of role admin; "" in development mode
	CAFile string
}

// fleet is one aggregator and one real agent per place, in this process, over
// loopback TCP.
type fleet struct {
	Aggregator string // HTTP address
	MQTT       string
	Chain      *chain
	Tills      []*till
	Lines      []*line

	plan    fleetPlan
	codec   *protocol.FrameCodec
	client  *http.Client
	slots   chan struct{} // requests that all tills have open at once
	program head          // nil where it runs elsewhere
	hosts   []*host
	serving context.Context // of all agents

	cancelAgents context.CancelFunc
	cancelHead   context.CancelFunc
	agents       sync.WaitGroup
	head         sync.WaitGroup

	mu     sync.Mutex
	errs   []error
	failed chan struct{} // closed when a program ended by itself
	once   sync.Once
}

// startFleet starts everything and returns when every agent answers. The
// programs live until stop.
func startFleet(ctx context.Context, p fleetPlan) (*fleet, error) {
	f := &fleet{plan: p, failed: make(chan struct{}), client: p.Client, slots: make(chan struct{}, tillsAtOnce)}
	if f.client == nil {
		f.client = newTillClient(len(p.Places))
	}
	headCtx, cancelHead := context.WithCancel(context.WithoutCancel(ctx))
	agentCtx, cancelAgents := context.WithCancel(context.WithoutCancel(ctx))
	f.cancelHead, f.cancelAgents = cancelHead, cancelAgents
	f.serving = agentCtx
	if err := f.startAll(ctx, headCtx); err != nil {
		return nil, errors.Join(err, f.stop())
	}
	return f, nil
}

func (f *fleet) startAll(ctx, headCtx context.Context) error {
	p := &f.plan
	if err := f.startHead(ctx, headCtx); err != nil {
		return err
	}
	var err error
	if f.codec, err = protocol.NewFrameCodec(); err != nil {
		return err
	}
	f.Tills = make([]*till, len(p.Places))
	f.Lines = make([]*line, len(p.Places))
	f.hosts = make([]*host, len(p.Places))
	slots := make(chan struct{}, max(p.startMany, 8))
	errs := make([]error, len(p.Places))
	var wg sync.WaitGroup
	for i := range p.Places {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f.Lines[i] = newLine(nil)
			errs[i] = f.startAgent(ctx, i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// startHead starts the aggregator, or asks the one elsewhere whether it is there.
func (f *fleet) startHead(ctx, headCtx context.Context) error {
	if e := f.plan.Elsewhere; e != nil {
		f.Aggregator, f.MQTT = strings.TrimPrefix(strings.TrimPrefix(e.HTTP, "http://"), "https://"), e.Broker
		f.Chain = newChain(f.Aggregator)
		f.Chain.base, f.Chain.key = strings.TrimSuffix(e.HTTP, "/"), e.Key
		if _, err := f.Chain.text(ctx, http.MethodGet, "/readyz", nil); err != nil {
			return fmt.Errorf("%w: the aggregator at %s: %w", errNotReady, e.HTTP, err)
		}
		return nil
	}
	head, err := newHead(f.plan)
	if err != nil {
		return fmt.Errorf("make aggregator: %w", err)
	}
	f.program = head
	f.run(headCtx, &f.head, "aggregator", head)
	if err := f.await(ctx, head); err != nil {
		return fmt.Errorf("start aggregator: %w", err)
	}
	f.Aggregator, f.MQTT = head.HTTPAddr(), head.MQTTAddr()
	f.Chain = newChain(f.Aggregator)
	return nil
}

// run owns a program's goroutine; one that ends unasked fails the fleet.
func (f *fleet) run(ctx context.Context, wg *sync.WaitGroup, name string, p program) {
	wg.Go(func() { f.runOne(ctx, name, p) })
}

func (f *fleet) runOne(ctx context.Context, name string, p program) {
	err := p.Run(ctx)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return
	}
	f.mu.Lock()
	f.errs = append(f.errs, fmt.Errorf("%s ended: %w", name, cmpErr(err)))
	f.mu.Unlock()
	f.once.Do(func() { close(f.failed) })
}

// errNotReady is exit code 3.
var errNotReady = errors.New("not ready")

var errEndedUnasked = errors.New("without being asked to")

func cmpErr(err error) error {
	if err == nil {
		return errEndedUnasked
	}
	return err
}

// await waits until p answers.
func (f *fleet) await(ctx context.Context, p program) error {
	timer := time.NewTimer(startMax)
	defer timer.Stop()
	select {
	case <-p.Ready():
		return nil
	case <-f.failed:
		return f.err()
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%w within %s", errNotReady, startMax)
	}
}

func (f *fleet) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.errs...)
}

// restore brings every line back.
func (f *fleet) restore() {
	for _, l := range f.Lines {
		if l != nil {
			l.restore()
		}
	}
}

// down counts lines that are cut now, and cuts so far.
func (f *fleet) down() (now, cuts int) {
	for _, l := range f.Lines {
		if l.isDown() {
			now++
		}
		cuts += l.cutCount()
	}
	return now, cuts
}

// stop ends the agents, then the aggregator, and waits for all of them.
func (f *fleet) stop() error {
	f.cancelAgents()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.agents.Wait()
		f.cancelHead()
		f.head.Wait()
	}()
	timer := time.NewTimer(stopMax)
	defer timer.Stop()
	select {
	case <-done:
		f.client.CloseIdleConnections()
		if f.Chain != nil {
			f.Chain.http.CloseIdleConnections()
		}
		return f.err()
	case <-timer.C:
		f.cancelHead()
		return errors.Join(f.err(), fmt.Errorf("programs did not end within %s", stopMax))
	}
}

// freshDir makes dir, or a temporary folder where dir is "". An existing
// folder must be empty: a verdict over someone else's events proves nothing.
func freshDir(dir, name string) (path string, temporary bool, err error) {
	if dir == "" {
		path, err = os.MkdirTemp("", "tillwire-"+name+"-")
		return path, true, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, fmt.Errorf("make data folder: %w", err)
	}
	es, err := os.ReadDir(dir)
	if err != nil {
		return "", false, fmt.Errorf("read data folder: %w", err)
	}
	if len(es) > 0 {
		return "", false, usageError{fmt.Sprintf("data folder %s is not empty; name a fresh one, or leave --data-dir out", dir)}
	}
	return dir, false, nil
}

// listenNear listens on addr, or on any free port of the same host where addr
// is taken; moved tells which.
func listenNear(addr string) (l net.Listener, moved bool, err error) {
	if l, err = net.Listen("tcp", addr); err == nil {
		return l, false, nil
	}
	host, _, splitErr := net.SplitHostPort(addr)
	if splitErr != nil {
		return nil, false, usageError{fmt.Sprintf("address %q is not like 127.0.0.1:7400", addr)}
	}
	l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	return l, true, err
}
