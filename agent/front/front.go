package front

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Answer appends the whole answer (head and body) to b, or tells that net/http
// must take the request. It is called by many goroutines and keeps nothing of r.
type Answer func(ctx context.Context, b []byte, r *Request) ([]byte, bool)

// Front is a net.Listener for net/http: Accept gives the connections that it
// does not serve itself.
type Front struct {
	ln     net.Listener
	answer Answer
	within timeouts
	next   chan net.Conn
	done   chan struct{}
	once   sync.Once
	ctx    context.Context //nolint:containedctx // ends closeWait after Close: the lifetime of what it serves
	cancel context.CancelFunc

	mu   sync.Mutex // guards open
	open map[net.Conn]struct{}
	wg   sync.WaitGroup
}

// timeouts of a connection, see limits.go.
type timeouts struct{ whole, write, idle, slack time.Duration }

// New starts accepting on a listener. Close ends it.
func New(ln net.Listener, answer Answer) *Front {
	return start(ln, answer, timeouts{whole: wholeTimeout, write: writeTimeout, idle: idleTimeout, slack: deadlineSlack})
}

func start(ln net.Listener, answer Answer, within timeouts) *Front {
	f := &Front{ln: ln, answer: answer, within: within, next: make(chan net.Conn), done: make(chan struct{}), open: map[net.Conn]struct{}{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.wg.Go(f.accept)
	return f
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

// Close stops accepting, ends the connections served here and waits for them: for
// a document that is being journaled closeWait, for an answer that is being
// written closeTimeout. Those handed over are net/http's to end.
func (f *Front) Close() error {
	var err error
	f.once.Do(func() {
		err = f.ln.Close()
		close(f.done)
		f.mu.Lock()
		now := time.Now()
		for c := range f.open {
			_ = c.SetReadDeadline(now)
			_ = c.SetWriteDeadline(now.Add(closeWait + closeTimeout))
		}
		f.mu.Unlock()
		t := time.AfterFunc(closeWait, f.cancel)
		f.wg.Wait()
		t.Stop()
		f.cancel()
	})
	return err
}

func (f *Front) accept() {
	for {
		c, err := f.ln.Accept()
		if err == nil {
			f.wg.Go(func() { f.serve(c) })
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		t := time.NewTimer(20 * time.Millisecond) // out of descriptors, say: it passes
		select {
		case <-t.C:
		case <-f.done:
			t.Stop()
			return
		}
	}
}

// take notes a connection as ours; false when we are closing or serve enough.
func (f *Front) take(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.done:
		return false
	default:
	}
	if len(f.open) >= connsMax {
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
		f.handOver(c, nil)
		return
	}
	buf := buffers.Get().(*[bufferBytes]byte)
	defer buffers.Put(buf)
	s := session{f: f, c: c}
	for n := 0; s.await(n > 0); {
		k, err := c.Read(buf[n:])
		if n += k; k == 0 && err != nil {
			if n > 0 && (errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded)) {
				f.handOver(c, buf[:n]) // net/http says what it thinks of half a request
				return
			}
			break
		}
		used, v, err := s.answer(buf[:n])
		if err != nil {
			break
		}
		if n = copy(buf[:], buf[used:n]); v == notMine || n == len(buf) {
			f.handOver(c, buf[:n])
			return
		}
	}
	f.drop(c)
	_ = c.Close()
}

// session is a connection while it is served here.
type session struct {
	f     *Front
	c     net.Conn
	r     Request
	out   []byte
	read  time.Time // when the read deadline is to be renewed
	write time.Time // when the write deadline is
	begun bool      // the deadline is that of a request that is not whole yet
}

// await sets the read deadline where it is due: once for a request that has begun,
// however it trickles, and rarely for an idle connection. False when the front
// closes.
func (s *session) await(begun bool) bool {
	switch now := time.Now(); {
	case begun && s.begun:
		return true
	case begun:
		s.begun = true
		_ = s.c.SetReadDeadline(now.Add(s.f.within.whole))
	case s.begun || now.After(s.read):
		s.begun, s.read = false, now.Add(s.f.within.slack)
		_ = s.c.SetReadDeadline(now.Add(s.f.within.idle))
	}
	select {
	case <-s.f.done: // its deadlines came before ours
		return false
	default:
		return true
	}
}

// answer answers the complete requests at the start of b, each before the next is
// looked at. used is how far it came; notMine: net/http must go on from there.
func (s *session) answer(b []byte) (used int, v verdict, err error) {
	for used < len(b) {
		var size int
		if s.r, size, v = parse(b[used:]); v != mine {
			return used, v, nil
		}
		var ok bool
		if s.out, ok = s.f.answer(s.f.ctx, s.out[:0], &s.r); !ok {
			return used, notMine, nil
		}
		if now := time.Now(); now.After(s.write) { // the connection may have been idle for long
			s.write = now.Add(s.f.within.slack)
			_ = s.c.SetWriteDeadline(now.Add(s.f.within.write))
			select {
			case <-s.f.done: // its deadline came before ours
				_ = s.c.SetWriteDeadline(now.Add(closeTimeout))
			default:
			}
		}
		if _, err := s.c.Write(s.out); err != nil {
			return used, v, err
		}
		used += size
	}
	return used, partial, nil
}

// handOver gives a connection to net/http, with what was read of it.
func (f *Front) handOver(c net.Conn, read []byte) {
	f.drop(c)
	_ = c.SetDeadline(time.Time{})
	if len(read) > 0 {
		c = &replayed{Conn: c, rest: append([]byte(nil), read...)}
	}
	select {
	case f.next <- c:
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
