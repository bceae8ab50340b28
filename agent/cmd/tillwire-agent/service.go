package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/kardianos/service"

	"tillwire/agent"
)

const (
	serviceName        = "tillwire-agent"
	serviceDescription = "Journals what the tills write and brings it to the stock aggregator"
)

// idle satisfies kardianos, which we have install and control the service; run.go
// and the manager of the platform start and stop the agent.
type idle struct{}

// Start does nothing.
func (idle) Start(service.Service) error { return nil }

// Stop does nothing.
func (idle) Stop(service.Service) error { return nil }

func serviceConfig(config string) *service.Config {
	args := []string{"run", "--service", "--config", config}
	c := &service.Config{
		Name: serviceName, DisplayName: "Tillwire Agent",
		Description: serviceDescription + ".",
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
		if exe, err := os.Executable(); err == nil {
			c.Option["SystemdScript"] = renderUnit(exe, config)
		}
	}
	return c
}

// serviceCommand installs, removes, starts and stops. Each is idempotent: a
// rollout that runs twice must not fail the second time.
func serviceCommand(action string) func(context.Context, *invocation) error {
	return func(_ context.Context, in *invocation) error {
		f, named := bareFlags(in), ""
		if action == "install" {
			f.StringVar(&named, "config", agent.DefaultConfigPath(), "configuration `file` that the service reads")
		}
		if err := f.parse(in); err != nil {
			return err
		}
		path := ""
		if action == "install" {
			var err error
			if path, err = prepare(named); err != nil {
				return err
			}
		}
		s, err := service.New(idle{}, serviceConfig(path))
		if err != nil {
			return fmt.Errorf("find the service manager: %w", err)
		}
		if runtime.GOOS == "linux" && s.Platform() != "linux-systemd" {
			return errors.New("this machine does not run systemd; let its own supervisor start `tillwire-agent run`")
		}
		if packaged := packagedUnit(); packaged != "" && (action == "install" || action == "uninstall") {
			return leaveToPackage(in, s, action, path, packaged)
		}
		status, err := s.Status()
		installed := !errors.Is(err, service.ErrNotInstalled)
		if action == "install" {
			err = install(s, installed, status == service.StatusRunning)
		} else {
			err = control(s, action, installed, status)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(in.stdout, said[action])
		return err
	}
}

// install replaces an installed service; one that ran runs again afterwards.
func install(s service.Service, installed, running bool) error {
	if running {
		if err := s.Stop(); err != nil {
			return fmt.Errorf("stop the installed service: %w", err)
		}
	}
	if installed {
		if err := s.Uninstall(); err != nil {
			return fmt.Errorf("replace the installed service: %w", err)
		}
	}
	if err := beforeInstall(); err != nil {
		return err
	}
	if err := s.Install(); err != nil {
		return fmt.Errorf("install the service: %w; it takes root or an administrator", err)
	}
	if err := afterInstall(); err != nil {
		return fmt.Errorf("installed, but: %w", err)
	}
	if running {
		if err := s.Start(); err != nil {
			return fmt.Errorf("start the replaced service: %w", err)
		}
	}
	return nil
}

func control(s service.Service, action string, installed bool, status service.Status) error {
	running := status == service.StatusRunning
	switch {
	case action == "uninstall" && !installed:
		return nil
	case !installed:
		return errors.New("the service is not installed; run `tillwire-agent install` first")
	case action == "start" && running, action == "stop" && status == service.StatusStopped:
		return nil
	case action == "uninstall" && running:
		if err := s.Stop(); err != nil {
			return fmt.Errorf("stop the service: %w", err)
		}
	}
	if err := service.Control(s, action); err != nil {
		return fmt.Errorf("%s the service: %w; it takes root or an administrator", action, err)
	}
	return nil
}

var said = map[string]string{
	"install":   "installed; `tillwire-agent start` starts it, and every boot does",
	"uninstall": "not installed any more; journal and configuration stay where they are",
	"start":     "started; `tillwire-agent status` shows how it is doing",
	"stop":      "stopped; the tills get no answer until it is started again",
	"restart":   "restarted",
}

// prepare finds and checks the configuration before the machine depends on it.
func prepare(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find configuration: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find configuration: %w; run `tillwire-agent enroll` first, or name a file with --config", err)
	}
	none := func(string) (string, bool) { return "", false } // the service will not see our environment
	c, err := agent.LoadConfig(path, none)
	if err != nil {
		return "", err
	}
	if err := c.Check(); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return path, checkWritable(&c)
}

// checkWritable names what our systemd unit would not let the agent write.
func checkWritable(c *agent.Config) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	home := agent.Defaults().DataDir
	if c.DataDir != home {
		return fmt.Errorf("data_dir is %s, but the service may write to %s only; leave data_dir out, or run the agent under a unit of your own", c.DataDir, home)
	}
	for _, k := range []struct{ name, path string }{{"inbox.dir", c.Inbox.Dir}, {"log.file", c.Log.File}} {
		if k.path != "" && !strings.HasPrefix(filepath.Clean(k.path), home+"/") {
			return fmt.Errorf("%s is %s, but the service may write to %s only; move it there, or run the agent under a unit of your own", k.name, k.path, home)
		}
	}
	return nil
}
