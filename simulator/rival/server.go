package rival

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Bounds of starting and ending.
const (
	startMax = 20 * time.Second
	stopMax  = 10 * time.Second
	wordsMax = 2000 // of what a server said, kept for an error
)

// ErrAbsent says that a program is not on this machine; its text names the
// package to install.
var ErrAbsent = errors.New("not here")

// Server is one that we started.
type Server struct {
	Addr string // host:port
	PID  int

	cmd  *exec.Cmd
	said words
	done chan struct{} // closed when it has ended
}

// find looks for a program in PATH and in folders where Debian hides it.
func find(name, install string, folders ...string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range folders {
		paths, _ := filepath.Glob(filepath.Join(pattern, name)) //nolint:errcheck // the patterns are ours
		if len(paths) > 0 {
			return paths[len(paths)-1], nil
		}
	}
	return "", fmt.Errorf("%s is %w: install %s", name, ErrAbsent, install)
}

// freeAddr is a loopback address that was free a moment ago.
func freeAddr() (addr, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", fmt.Errorf("find a free port: %w", err)
	}
	addr = l.Addr().String()
	_, port, err = net.SplitHostPort(addr)
	return addr, port, errors.Join(err, l.Close())
}

// start runs cmd and returns once addr takes connections.
func start(ctx context.Context, cmd *exec.Cmd, addr string) (*Server, error) {
	s := &Server{Addr: addr, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &s.said, &s.said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	s.PID = cmd.Process.Pid
	go func() {
		defer close(s.done)
		_ = cmd.Wait() //nolint:errcheck // it is killed in the end, or says why in words
	}()
	ctx, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return s, c.Close()
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-timer.C:
		case <-s.done:
			return nil, fmt.Errorf("start %s: it ended: %s", filepath.Base(cmd.Path), s.said.String())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("start %s: %w: %s", filepath.Base(cmd.Path), err, s.said.String()), s.Stop())
		}
	}
}

// Stop ends the server that we started, and no other.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(os.Interrupt); err == nil {
		timer := time.NewTimer(stopMax)
		defer timer.Stop()
		select {
		case <-s.done:
			return nil
		case <-timer.C:
		}
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", filepath.Base(s.cmd.Path), err)
	}
	<-s.done
	return nil
}

// words keeps the end of what a server says.
type words struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if over := w.buf.Len() - wordsMax; over > 0 {
		w.buf.Next(over)
	}
	return len(p), nil
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(w.buf.String())
}

// output runs a program to its end; an error holds what it said.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s: %w: %.600s", filepath.Base(cmd.Path), err, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), nil
}
