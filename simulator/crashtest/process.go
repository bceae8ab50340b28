package crashtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// store is the shop of all campaigns.
const store = "S0042"

// process is a real program that is about to be broken.
type process struct {
	cmd     *exec.Cmd
	addr    string // of its HTTP port
	words   *tail
	ended   chan struct{}
	started time.Time
}

// tail keeps the last words of a process.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b.Len() > 4*wordsMax {
		t.b.Next(t.b.Len() - wordsMax)
	}
	return t.b.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.b.Bytes()
	return string(b[max(0, len(b)-wordsMax):])
}

// freePort is one that nobody listens on at the moment; a program that is started
// again and again keeps it.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// launch starts a program with an environment of its own.
func launch(addr string, env []string, argv ...string) (*process, error) {
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), addr: addr, words: &tail{}, ended: make(chan struct{}), started: time.Now()} //nolint:gosec // our own programs
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stderr = p.words
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is the campaign's business
		close(p.ended)
	}()
	return p, nil
}

// agentPlan is one agent: the same folder and port through all its lives.
type agentPlan struct {
	program, dir, addr string
	broker             string // "" = none
	ballastMiB         int
	wrap               []string // command in front of the program
}

func (a agentPlan) start() (*process, error) {
	conf := filepath.Join(filepath.Dir(a.dir), filepath.Base(a.dir)+".toml")
	text := fmt.Sprintf("store = %q\ndata_dir = %q\ndev = true\n[http]\nlisten = %q\n[link]\nbroker = %q\n[journal]\nballast_mib = %d\n[log]\nlevel = \"warn\"\n",
		store, a.dir, a.addr, a.broker, a.ballastMiB)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return launch(a.addr, nil, append(append([]string{}, a.wrap...), a.program, "run", "--config", conf)...)
}

// awaitReady waits until the process takes writes, and says how long it took
// from its start.
func (p *process) awaitReady(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+"/readyz", nil)
		if err != nil {
			return 0, err
		}
		if resp, err := client.Do(r); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(p.started), nil
			}
		}
		select {
		case <-p.ended:
			return 0, fmt.Errorf("it ended: %s", p.words)
		case <-ctx.Done():
			return 0, fmt.Errorf("not ready within %v: %s", readyMax, p.words)
		case <-tick.C:
		}
	}
}

// kill is SIGKILL; it returns when the process is gone.
func (p *process) kill() error {
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill: %w", err)
	}
	<-p.ended
	return nil
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}
