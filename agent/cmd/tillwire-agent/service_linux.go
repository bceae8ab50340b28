package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/kardianos/service"

	"tillwire/agent"
)

// packagedUnits is where a package puts the unit; ours of `install` stands in
// /etc/systemd/system and would hide it.
var packagedUnits = []string{"/usr/lib/systemd/system/" + serviceName + ".service", "/lib/systemd/system/" + serviceName + ".service"}

func packagedUnit() string {
	for _, path := range packagedUnits {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// leaveToPackage enables or disables the package's unit: two units of one name,
// of which the package's upgrades change the hidden one, would be a trap.
func leaveToPackage(in *invocation, s service.Service, action, config, packaged string) error {
	status, err := s.Status()
	switch {
	case err != nil && !errors.Is(err, service.ErrNotInstalled):
		return fmt.Errorf("ask for the service: %w", err)
	case action == "install" && config != agent.DefaultConfigPath():
		return fmt.Errorf("the package's unit %s reads %s; put the configuration there, or name another one in a drop-in (systemctl edit %s)", packaged, agent.DefaultConfigPath(), serviceName)
	case action == "install":
		if err := systemctl("enable", serviceName); err != nil {
			return err
		}
		_, err = fmt.Fprintf(in.stdout, "the package's unit %s is enabled; `tillwire-agent start` starts it, and every boot does\n", packaged)
		return err
	}
	args := []string{"disable", serviceName}
	if status == service.StatusRunning {
		args = []string{"disable", "--now", serviceName}
	}
	if err := systemctl(args...); err != nil {
		return err
	}
	_, err = fmt.Fprintf(in.stdout, "stopped and disabled; the unit %s belongs to the package: remove that to be rid of it. Journal and configuration stay where they are\n", packaged)
	return err
}

func systemctl(args ...string) error {
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil { //nolint:gosec // words of ours
		return fmt.Errorf("systemctl %s: %w: %s; it takes root", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// beforeInstall makes the unit's user, as the package does.
func beforeInstall() error {
	add := exec.Command("systemd-sysusers", "-")
	add.Stdin = strings.NewReader(sysuser + "\n")
	if out, err := add.CombinedOutput(); err != nil {
		return fmt.Errorf("make the user %s: systemd-sysusers: %w: %s; it takes root", serviceUser, err, strings.TrimSpace(string(out)))
	}
	return nil
}
