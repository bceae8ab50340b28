package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tillwire/agent"
)

// unit is our systemd unit, the same for `install` and for the packages. The names
// between @ are filled in by renderUnit.
//
//go:embed tillwire-agent.service
var unit string

const (
	serviceUser = "tillwire-agent" // of the unit; the packages' sysusers file makes the same

	// sysuser is a line for systemd-sysusers.
	sysuser = `u ` + serviceUser + ` - "Tillwire agent" /var/lib/tillwire-agent /usr/sbin/nologin`
)

// renderUnit names program and configuration. In paths systemd reads % as the
// begin of a specifier, and a blank as the end of a word.
func renderUnit(program, config string) string {
	return strings.NewReplacer(
		"@DESCRIPTION@", serviceDescription,
		"@PROGRAM@", strings.NewReplacer("%", "%%", " ", `\x20`).Replace(program),
		"@CONFIG@", strings.ReplaceAll(config, "%", "%%"),
	).Replace(unit)
}

// unitCommand prints the unit for those who package the agent, or run it under
// systemd in a way of their own.
func unitCommand(_ context.Context, in *invocation) error {
	f := bareFlags(in)
	program := f.String("program", "", "absolute `path` of tillwire-agent on the target; default: of this program")
	config := f.String("config", agent.DefaultConfigPath(), "configuration `file` that the service reads")
	sysusers := f.Bool("sysusers", false, "print the line for systemd-sysusers that makes the unit's user, instead")
	if err := f.parse(in); err != nil {
		return err
	}
	if *sysusers {
		_, err := fmt.Fprintln(in.stdout, sysuser)
		return err
	}
	path := *program
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w; name it with --program", err)
		}
	}
	if !filepath.IsAbs(path) || !filepath.IsAbs(*config) {
		return fmt.Errorf("%w: --program and --config must be absolute paths", errUsage)
	}
	_, err := fmt.Fprint(in.stdout, renderUnit(path, *config))
	return err
}
