package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/kardianos/service"

	"tillwire/agent"
)

const serviceName = "tillwire-agent"

// unit is our systemd unit: kardianos' own has no watchdog, restarts after
// 120 s, and no hardening.
//
//go:embed tillwire-agent.service
var unit string

// stopWithin is how long a service manager waits for us.
const stopWithin = 5 * time.Second

// program is what the service manager starts and stops.
type program struct {
	cancel context.CancelFunc
	done   chan error
	run    func(context.Context) error
	fatal  func(error)
}

// Start returns at once: a manager that waits for a large journal to open would
// give up (Windows after 30 s).
func (p *program) Start(service.Service) error {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan error, 1)
	go func() {
		err := p.run(ctx)
		p.done <- err
		if err != nil && ctx.Err() == nil {
			p.fatal(err) // exits non-zero, so that the manager restarts us
		}
	}()
	return nil
}

// Stop ends the agent; what is journaled stays, so nothing is lost when time
// runs out.
func (p *program) Stop(service.Service) error {
	p.cancel()
	select {
	case err := <-p.done:
		return err
	case <-time.After(stopWithin):
		return errors.New("agent did not end within 5 s")
	}
}

func serviceConfig(config string) *service.Config {
	args := []string{"run", "--service", "--config", config}
	c := &service.Config{
		Name: serviceName, DisplayName: "Tillwire Agent",
		Description: "Journals what the tills write and brings it to the stock aggregator.",
		Arguments:   args,
		Option:      service.KeyValue{},
	}
	switch runtime.GOOS {
	case "windows":
		c.UserName = `NT SERVICE\` + serviceName
		c.Option["DelayedAutoStart"] = true
		c.Option["OnFailure"] = "restart"
		c.Option["OnFailureDelayDuration"] = "2s"
		c.Option["OnFailureResetPeriod"] = 86400
	case "linux":
		c.Option["SystemdScript"] = unit
	}
	return c
}

// serviceCommand installs, removes, starts and stops. Each is idempotent: a
// rollout that runs twice must not fail the second time.
func serviceCommand(action string) func(context.Context, *invocation) error {
	return func(_ context.Context, in *invocation) error {
		f := newFlags(in, action)
		if err := f.parse(in); err != nil {
			return err
		}
		path, err := absolute(*f.config)
		if err != nil {
			return err
		}
		s, err := service.New(&program{}, serviceConfig(path))
		if err != nil {
			return fmt.Errorf("reach the service manager: %w", err)
		}
		status, statusErr := s.Status()
		installed := !errors.Is(statusErr, service.ErrNotInstalled)
		switch {
		case action == "install" && installed:
			if err := s.Uninstall(); err != nil {
				return fmt.Errorf("replace the installed service: %w", err)
			}
		case action == "uninstall" && !installed:
			fmt.Fprintln(in.stdout, "not installed; nothing to do")
			return nil
		case action != "install" && !installed:
			return errors.New("the service is not installed; run `tillwire-agent install` first")
		case action == "uninstall" && status == service.StatusRunning:
			if err := s.Stop(); err != nil {
				return fmt.Errorf("stop the service: %w", err)
			}
		}
		if action == "install" {
			if err := prepare(path, in); err != nil {
				return err
			}
		}
		if err := service.Control(s, action); err != nil {
			return fmt.Errorf("%s the service (are you administrator?): %w", action, err)
		}
		fmt.Fprintln(in.stdout, said[action])
		if action == "install" {
			return afterInstall()
		}
		return nil
	}
}

var said = map[string]string{
	"install":   "installed; start it with `tillwire-agent start`",
	"uninstall": "uninstalled; journal and configuration stay where they are",
	"start":     "started; `tillwire-agent status` shows how it does",
	"stop":      "stopped; the tills get no answer until it starts again",
	"restart":   "restarted",
}

func absolute(path string) (string, error) {
	if path == "" {
		return agent.DefaultConfigPath(), nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", path, err)
	}
	if _, err := os.Stat(abs); err != nil {
		return "", fmt.Errorf("find configuration: %w", err)
	}
	return abs, nil
}

// prepare checks the configuration before the machine depends on it.
func prepare(path string, in *invocation) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%s is not there yet; run `tillwire-agent enroll` first, or name a file with --config", path)
	}
	c, err := agent.LoadConfig(path, in.lookup)
	if err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return err
	}
	if runtime.GOOS == "linux" && c.DataDir != agent.Defaults().DataDir {
		return fmt.Errorf("data_dir is %s, but the service may write %s only; leave data_dir out, or run your own unit", c.DataDir, agent.Defaults().DataDir)
	}
	return nil
}
