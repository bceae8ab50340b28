package front

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Answer appends the whole answer (head and body) to b, or tells that net/http
// must answer. It is called by many goroutines and keeps nothing of r.
type Answer func(b []byte, r *Request) ([]byte, bool)

// Front is a net.Listener for net/http: Accept gives the connections that it
// does not serve itself.
type Front struct {
	ln     net.Listener
	answer Answer
	within timeouts
	next   chan net.Conn
	done   chan struct{}
	once   sync.Once
	second atomic.Int64 // since New, by tick: a clock that costs nothing to read

	mu   sync.Mutex // guards open
	open map[net.Conn]struct{}
	wg   sync.WaitGroup
}

// New starts accepting on a listener. Close ends it.
func New(ln net.Listener, answer Answer) *Front {
	return start(ln, answer, timeouts{header: headerTimeout, write: writeTimeout, idle: idleTimeout, slack: deadlineSlack})
}

// timeouts of a connection's reads and writes; slack, in seconds of the clock, is
// how long a deadline stands before it is renewed.
type timeouts struct {
	header, write, idle time.Duration
	slack               int64
}

func start(ln net.Listener, answer Answer, within timeouts) *Front {
	f := &Front{ln: ln, answer: answer, within: within, next: make(chan net.Conn), done: make(chan struct{}), open: map[net.Conn]struct{}{}}
	f.wg.Go(f.accept)
	f.wg.Go(f.tick)
	return f
}

func (f *Front) tick() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f.second.Add(1)
		case <-f.done:
			return
		}
	}
}

// Addr is the listener's.
func (f *Front) Addr() net.Addr { return f.ln.Addr() }

// Accept waits for a connection that net/http shall serve.
func (f *Front) Accept() (net.Conn, error) {
	select {
	case c := <-f.next:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close stops accepting, ends the connections served here, and waits for them;
// an answer that is being written may take closeTimeout to get out. Those handed
// over are net/http's to end.
func (f *Front) Close() error {
	var err error
	f.once.Do(func() {
		err = f.ln.Close()
		close(f.done)
		f.mu.Lock()
		now := time.Now()
		for c := range f.open {
			_ = c.SetReadDeadline(now)
			_ = c.SetWriteDeadline(now.Add(closeTimeout))
		}
		f.mu.Unlock()
	})
	f.wg.Wait()
	return err
}

func (f *Front) accept() {
	for {
		c, err := f.ln.Accept()
		if err != nil {
			select {
			case <-f.done:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			t := time.NewTimer(20 * time.Millisecond) // out of descriptors, say: it passes
			select {
			case <-t.C:
				continue
			case <-f.done:
				t.Stop()
				return
			}
		}
		f.wg.Go(func() { f.serve(c) })
	}
}

// take notes a connection as ours; false when we are closing.
func (f *Front) take(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.done:
		_ = c.Close()
		return false
	default:
	}
	if len(f.open) >= connsMax {
		_ = c.Close()
		return false
	}
	f.open[c] = struct{}{}
	return true
}

func (f *Front) drop(c net.Conn) {
	f.mu.Lock()
	delete(f.open, c)
	f.mu.Unlock()
}

var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// serve answers what it recognises until the connection ends or is net/http's.
func (f *Front) serve(c net.Conn) {
	if !f.take(c) {
		return
	}
	buf := buffers.Get().(*[bufferBytes]byte)
	defer buffers.Put(buf)
	s := session{f: f, c: c}
	for n := 0; s.renew(n > 0); {
		k, err := c.Read(buf[n:])
		if k == 0 && err != nil {
			if n > 0 && errors.Is(err, io.EOF) {
				f.handOver(c, buf[:n]) // net/http says what it thinks of half a request
				return
			}
			break
		}
		n += k
		used, goOn, err := s.answer(buf[:n])
		if err != nil {
			break
		}
		if n = copy(buf[:], buf[used:n]); !goOn || n == len(buf) {
			f.handOver(c, buf[:n])
			return
		}
	}
	f.drop(c)
	_ = c.Close()
}

// session is a connection while it is served here.
type session struct {
	f       *Front
	c       net.Conn
	r       Request
	out     []byte
	due     int64 // second of the clock in which the idle deadline is renewed
	written int64 // the same of the write deadline
	known   bool  // it has had its first deadline
	hurried bool  // the deadline is that of a request that is not whole yet
}

// renew sets the deadline of the next read where it is due: once for a request
// that has begun, however it trickles, and rarely for an idle connection. False
// when the front closes.
func (s *session) renew(begun bool) bool {
	second := s.f.second.Load()
	read := s.f.within.idle
	switch {
	case begun && s.hurried:
		return true
	case begun || !s.known:
		read, s.known, s.hurried, s.due = s.f.within.header, true, true, second
	case second < s.due:
		return true
	default:
		s.due = second + s.f.within.slack
	}
	_ = s.c.SetReadDeadline(time.Now().Add(read))
	select {
	case <-s.f.done: // its deadlines came before ours
		return false
	default:
		return true
	}
}

// renewWrite sets the deadline of the next write where it is due: here, and not
// before the read, which may have waited longer than a write may take.
func (s *session) renewWrite() {
	second := s.f.second.Load()
	if second < s.written {
		return
	}
	s.written = second + s.f.within.slack
	_ = s.c.SetWriteDeadline(time.Now().Add(s.f.within.write))
	select {
	case <-s.f.done: // its deadline came before ours
		_ = s.c.SetWriteDeadline(time.Now().Add(closeTimeout))
	default:
	}
}

// answer answers the complete requests at the start of b, with a write for each
// answerBytes of them. used is how far it came; goOn is false where net/http
// must go on from there.
func (s *session) answer(b []byte) (used int, goOn bool, err error) {
	v := mine
	for v == mine && used < len(b) {
		out := s.out[:0]
		for used < len(b) && len(out) < answerBytes {
			var size int
			if s.r, size, v = parse(b[used:]); v != mine {
				break
			}
			var ok bool
			if out, ok = s.f.answer(out, &s.r); !ok {
				v = notMine
				break
			}
			used += size
			s.hurried = false
		}
		if len(out) > 0 {
			s.renewWrite()
			if _, err := s.c.Write(out); err != nil {
				return used, false, err
			}
		}
		if s.out = out; cap(out) > answerBytes {
			s.out = nil
		}
	}
	return used, v != notMine, nil
}

// handOver gives a connection to net/http, with what was read of it.
func (f *Front) handOver(c net.Conn, read []byte) {
	f.drop(c)
	_ = c.SetDeadline(time.Time{})
	rest := append([]byte(nil), read...)
	select {
	case f.next <- &replayed{Conn: c, rest: rest}:
	case <-f.done:
		_ = c.Close()
	}
}

// replayed reads what was read before, then the connection.
type replayed struct {
	net.Conn
	rest []byte
}

func (r *replayed) Read(b []byte) (int, error) {
	if len(r.rest) > 0 {
		n := copy(b, r.rest)
		r.rest = r.rest[n:]
		return n, nil
	}
	return r.Conn.Read(b)
}
