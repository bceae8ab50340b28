package front

import (
	"errors"
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
	next   chan net.Conn
	done   chan struct{}
	once   sync.Once
	served atomic.Uint64

	mu   sync.Mutex // guards open
	open map[net.Conn]struct{}
	wg   sync.WaitGroup
}

// New starts accepting on a listener. Close ends it.
func New(ln net.Listener, answer Answer) *Front {
	f := &Front{ln: ln, answer: answer, next: make(chan net.Conn), done: make(chan struct{}), open: map[net.Conn]struct{}{}}
	f.wg.Go(f.accept)
	return f
}

// Served counts the requests answered here.
func (f *Front) Served() uint64 { return f.served.Load() }

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

// Close stops accepting, ends the connections served here, and waits for them.
// Those handed over are net/http's to end.
func (f *Front) Close() error {
	var err error
	f.once.Do(func() {
		err = f.ln.Close()
		close(f.done)
		f.mu.Lock()
		for c := range f.open {
			_ = c.Close()
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
	var out []byte
	var renewed time.Time
	n := 0
	for {
		now := time.Now()
		switch {
		case n > 0 || renewed.IsZero(): // a request has begun, or the first is due
			_ = c.SetReadDeadline(now.Add(headerTimeout))
			renewed = now.Add(-deadlineSlack)
		case now.Sub(renewed) >= deadlineSlack:
			_ = c.SetDeadline(now.Add(idleTimeout))
			renewed = now
		}
		k, err := c.Read(buf[n:])
		n += k
		if err != nil && k == 0 {
			f.drop(c)
			_ = c.Close()
			return
		}
		answers, used, goOn := f.work(out[:0], buf[:n])
		out = answers
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				f.drop(c)
				_ = c.Close()
				return
			}
		}
		if cap(out) > answerKept {
			out = nil
		}
		n = copy(buf[:], buf[used:n])
		if !goOn || n == len(buf) {
			f.drop(c)
			f.handOver(c, buf[:n])
			return
		}
	}
}

// work answers the complete requests at the start of b. used is how far it
// came; goOn is false where net/http must go on from there.
func (f *Front) work(out, b []byte) (_ []byte, used int, goOn bool) {
	for used < len(b) {
		r, size, v := parse(b[used:])
		switch v {
		case partial:
			return out, used, true
		case notMine:
			return out, used, false
		case mine:
		}
		answered, ok := f.answer(out, &r)
		if !ok {
			return out, used, false
		}
		f.served.Add(1)
		out = answered
		used += size
	}
	return out, used, true
}

// handOver gives a connection to net/http, with what was read of it.
func (f *Front) handOver(c net.Conn, read []byte) {
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
