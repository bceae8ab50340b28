package simulator

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// errLinkDown is what a dial over a cut line gives.
var errLinkDown = errors.New("the simulated line is down")

// errLineReset is what a reader sees of a connection whose line was cut.
var errLineReset = errors.New("connection reset by the simulated line")

// line is the wide-area connection of one store: what its agent dials through.
// A cut either resets what is open, as a router that lost its uplink does, or
// goes silent: bytes vanish and nobody is told, until the line comes back and
// the dead connection is reset.
type line struct {
	dialer dialFunc

	mu    sync.Mutex
	down  bool
	conns map[*lineConn]struct{}
	cuts  int
	since time.Time // the newest connection's beginning
	shape shape
}

// shape is how bad a line is that works: each packet of the store waits, and pays
// for its length. The zero shape is a good line.
type shape struct {
	Delay time.Duration
	KBits int
}

// cost is how long a packet of n bytes takes.
func (s shape) cost(n int) time.Duration {
	if s.KBits == 0 {
		return s.Delay
	}
	return s.Delay + time.Duration(n)*8*time.Millisecond/time.Duration(s.KBits)
}

func (l *line) reshape(s shape) {
	l.mu.Lock()
	l.shape = s
	l.mu.Unlock()
}

func (l *line) shaped() shape {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shape
}

// upSince is when the newest connection was made; zero: never.
func (l *line) upSince() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func newLine(dial dialFunc) *line {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	}
	return &line{dialer: dial, conns: make(map[*lineConn]struct{})}
}

// Dial is the agent's injected dialer.
func (l *line) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errLinkDown}
	}
	c, err := l.dialer(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	lc := &lineConn{Conn: c, line: l, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down { // cut while dialling
		_ = c.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: errLinkDown}
	}
	l.conns[lc] = struct{}{}
	l.since = time.Now()
	return lc, nil
}

// cut takes the line down; silent leaves open connections hanging.
func (l *line) cut(silent bool) {
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return
	}
	l.down = true
	l.cuts++
	open := l.open()
	l.mu.Unlock()
	for _, c := range open {
		if silent {
			c.silence()
		} else {
			_ = c.Close()
		}
	}
}

// restore brings the line back and resets what hung.
func (l *line) restore() {
	l.mu.Lock()
	if !l.down {
		l.mu.Unlock()
		return
	}
	l.down = false
	open := l.open()
	l.mu.Unlock()
	for _, c := range open {
		if c.isSilent() {
			_ = c.Close()
		}
	}
}

func (l *line) open() []*lineConn {
	out := make([]*lineConn, 0, len(l.conns))
	for c := range l.conns {
		out = append(out, c)
	}
	return out
}

func (l *line) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

func (l *line) cutCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts
}

// lineConn is one connection over a line.
type lineConn struct {
	net.Conn
	line *line

	mu     sync.Mutex
	silent bool
	once   sync.Once
	closed chan struct{}
}

func (c *lineConn) silence() {
	c.mu.Lock()
	c.silent = true
	c.mu.Unlock()
}

func (c *lineConn) isSilent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.silent
}

// Read drops what arrives while the line is silent.
func (c *lineConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if errors.Is(err, net.ErrClosed) {
			// A line that is cut is not closed by who reads from it: MQTT clients take
			// that for their own doing, and would notice nothing until their next ping.
			err = &net.OpError{Op: "read", Net: "tcp", Err: errLineReset}
		}
		if err != nil || !c.isSilent() {
			return n, err
		}
	}
}

// Write pretends, while the line is silent.
func (c *lineConn) Write(b []byte) (int, error) {
	if c.isSilent() {
		return len(b), nil
	}
	if d := c.line.shaped().cost(len(b)); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-c.closed:
		case <-t.C:
		}
	}
	return c.Conn.Write(b)
}

func (c *lineConn) Close() error {
	c.once.Do(func() {
		c.line.mu.Lock()
		delete(c.line.conns, c)
		c.line.mu.Unlock()
		close(c.closed)
	})
	return c.Conn.Close()
}
