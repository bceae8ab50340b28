package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// shopProcess is the real program as a process of its own, with the machine's
// clock. Its way to the broker leads through a small proxy over the store's
// simulated line, so that it too can be cut off.
type shopProcess struct {
	program, conf, dir string
	ready              chan struct{}
	http               string
	proxy              *lineProxy
}

func newShopProcess(program string, p agentPlan, l *line) (*shopProcess, error) {
	c := p.config()
	a := &shopProcess{program: program, conf: filepath.Join(p.Dir, "agent.toml"), dir: p.Dir, ready: make(chan struct{})}
	if u, err := url.Parse(c.Link.Broker); err == nil && u.Scheme == "mqtt" { // a name in a certificate forbids detours
		if a.proxy, err = newLineProxy(l, u.Host); err != nil {
			return nil, err
		}
		c.Link.Broker = "mqtt://" + a.proxy.addr()
	}
	c.Log.Level = "warn"
	b, err := c.TOML()
	if err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.conf, b, 0o600)
}

func (a *shopProcess) Ready() <-chan struct{} { return a.ready }
func (a *shopProcess) HTTPAddr() string       { return a.http }

// Run starts the process, and stops it when ctx ends.
func (a *shopProcess) Run(ctx context.Context) error {
	if a.proxy != nil {
		defer a.proxy.close()
	}
	addresses := filepath.Join(a.dir, "addresses.json")
	if err := os.Remove(addresses); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier life
		return fmt.Errorf("forget old address: %w", err)
	}
	cmd := exec.CommandContext(ctx, a.program, "run", "--config", a.conf)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopMax
	var words strings.Builder
	cmd.Stderr = &limited{to: &words, left: 4 << 10}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: %s", cmpErr(err), words.String())
		case <-time.After(20 * time.Millisecond):
		}
		if a.http == "" && a.answers(addresses) {
			close(a.ready)
			err := <-ended
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: %s", cmpErr(err), words.String())
		}
	}
}

// answers tells whether the program has written where it listens.
func (a *shopProcess) answers(file string) bool {
	b, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	var at struct{ HTTP string }
	if json.Unmarshal(b, &at) != nil || at.HTTP == "" {
		return false
	}
	c, err := net.DialTimeout("tcp", at.HTTP, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	a.http = at.HTTP
	return true
}

// limited keeps the first words of a program that has many.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(l.left, len(b))
	l.left -= n
	_, err := l.to.Write(b[:n])
	return len(b), err
}

// lineProxy carries connections over a simulated line.
type lineProxy struct {
	ln   net.Listener
	line *line
	to   string
	wg   sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

func newLineProxy(l *line, to string) (*lineProxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for an agent: %w", err)
	}
	p := &lineProxy{ln: ln, line: l, to: to, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.serve)
	return p, nil
}

func (p *lineProxy) addr() string { return p.ln.Addr().String() }

func (p *lineProxy) serve() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.carry(c) })
	}
}

func (p *lineProxy) carry(down net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), tillTimeout)
	up, err := p.line.Dial(ctx, "tcp", p.to)
	cancel()
	if err != nil {
		_ = down.Close()
		return
	}
	p.keep(down, up)
	defer p.drop(down, up)
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{up, down}, {down, up}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = up.Close()
			_ = down.Close()
		})
	}
	wg.Wait()
}

func (p *lineProxy) keep(cs ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cs {
		p.conns[c] = struct{}{}
	}
}

func (p *lineProxy) drop(cs ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cs {
		_ = c.Close()
		delete(p.conns, c)
	}
}

func (p *lineProxy) close() {
	_ = p.ln.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// programIn is one of our programs in a folder; "" = the one of this program.
func programIn(dir, name string) (string, error) {
	if dir == "" {
		return programBeside(name)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", usageError{fmt.Sprintf("--programs %s: %v", dir, err)}
	}
	return path, nil
}

// programBeside is one of our programs in this one's folder.
func programBeside(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	path := filepath.Join(filepath.Dir(self), name+filepath.Ext(self))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find %s: %w; `make build` puts the programs beside each other", name, err)
	}
	return path, nil
}
