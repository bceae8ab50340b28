package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// manual is what a program says about itself: pages and completions have no other
// source.
type manual struct {
	Program  string
	About    string
	Config   string // default configuration file; "" where there is none
	Commands []manualCommand
	keys     []configKey
}

type manualCommand struct {
	Name, Args, Help, Example string
	flags                     []manualFlag
}

type manualFlag struct {
	name  string
	value string // what it takes; "" for a switch
	help  string
}

type configKey struct{ name, env, initial, help string }

// manual runs the programs of this machine and writes pages and completions. The
// agent also prints its unit.
func (d *dist) manual(ctx context.Context) error {
	own := filepath.Join(d.stage, "own")
	if err := d.compile(ctx, target{}, own); err != nil {
		return err
	}
	for _, dir := range []string{"man", "completions", "units"} {
		if err := os.MkdirAll(filepath.Join(d.stage, dir), 0o755); err != nil { //nolint:gosec // a release is for everybody
			return err
		}
	}
	for _, name := range programs {
		m, err := readManual(ctx, filepath.Join(own, "tillwire-"+name))
		if err != nil {
			return fmt.Errorf("tillwire-%s: %w", name, err)
		}
		if err := d.writeManual(m); err != nil {
			return err
		}
	}
	return d.units(ctx, filepath.Join(own, "tillwire-agent"))
}

func (d *dist) writeManual(m *manual) error {
	page := filepath.Join(d.stage, "man", m.Program+".1.gz")
	err := written(page, func(w io.Writer) error {
		gz, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(gz, m.page(d.version, d.at)); err != nil {
			return err
		}
		return gz.Close()
	})
	if err != nil {
		return err
	}
	for ending, text := range map[string]string{"bash": m.bash(), "zsh": m.zsh(), "fish": m.fish(), "ps1": m.powershell()} {
		path := filepath.Join(d.stage, "completions", m.Program+"."+ending)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // a release is for everybody
			return err
		}
	}
	return nil
}

// units are the agent's, as it prints them, and the aggregator's of deploy/systemd.
func (d *dist) units(ctx context.Context, agent string) error {
	units := map[string][]byte{}
	for name, args := range map[string][]string{
		"tillwire-agent.service": {"unit", "--program", "/usr/bin/tillwire-agent", "--config", "/etc/tillwire/agent.toml"},
		"tillwire-agent.conf":    {"unit", "--sysusers"},
	} {
		out, err := exec.CommandContext(ctx, agent, args...).Output() //nolint:gosec // what we have just built
		if err != nil {
			return fmt.Errorf("print unit: %w", err)
		}
		units[name] = out
	}
	for name, from := range map[string]string{"tillwire-aggregator.service": "tillwire-aggregator.service", "tillwire-aggregator.conf": "tillwire-aggregator.sysusers"} {
		b, err := os.ReadFile(filepath.Join(d.root, "deploy", "systemd", from))
		if err != nil {
			return err
		}
		units[name] = b
	}
	for name, b := range units {
		if err := os.WriteFile(filepath.Join(d.stage, "units", name), b, 0o644); err != nil { //nolint:gosec // a release is for everybody
			return err
		}
	}
	return nil
}

// readManual asks a program for its commands, their flags, and its keys.
func readManual(ctx context.Context, program string) (*manual, error) {
	out, err := exec.CommandContext(ctx, program, "help", "--json").Output() //nolint:gosec // what we have just built
	if err != nil {
		return nil, fmt.Errorf("help --json: %w", err)
	}
	m := &manual{}
	if err := json.Unmarshal(out, m); err != nil {
		return nil, fmt.Errorf("help --json: %w", err)
	}
	if m.Program == "" || m.About == "" || len(m.Commands) == 0 {
		return nil, fmt.Errorf("help --json names no program, says nothing about it, or lists no command: %.80s", out)
	}
	for i := range m.Commands {
		c := &m.Commands[i]
		ask := exec.CommandContext(ctx, program, append(strings.Fields(c.Name), "--help")...) //nolint:gosec // what we have just built
		text, _ := ask.CombinedOutput()                                                       // usage ends with another code
		if c.flags = parseFlags(string(text)); len(c.flags) == 0 {
			c.flags = flagsOfArgs(c.Args)
		}
	}
	if m.Config != "" {
		ask := exec.CommandContext(ctx, program, "config") //nolint:gosec // what we have just built
		ask.Env = []string{}
		text, _ := ask.Output() // it ends with 3: nothing is configured
		if m.keys = parseKeys(text); len(m.keys) == 0 {
			return nil, fmt.Errorf("config lists no key: %.80s", text)
		}
	}
	return m, nil
}

// flagLine is how package flag prints one: two blanks, name, what it takes.
var flagLine = regexp.MustCompile(`^  -([a-z0-9-]+)(?: (\S+))?(?:\t(.*))?$`)

func parseFlags(text string) (flags []manualFlag) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if m := flagLine.FindStringSubmatch(line); m != nil {
			flags = append(flags, manualFlag{m[1], m[2], m[3]})
		} else if help, ok := strings.CutPrefix(line, "    \t"); ok && len(flags) > 0 {
			last := &flags[len(flags)-1]
			last.help = strings.TrimSpace(last.help + " " + help)
		}
	}
	return flags
}

// argsFlag is a flag in a line of usage: [--seed N].
var argsFlag = regexp.MustCompile(`--([a-z0-9-]+)(?: ([A-Z][A-Za-z0-9|]*|[0-9]\S*?))?[\]\s]`)

func flagsOfArgs(args string) (flags []manualFlag) {
	for _, m := range argsFlag.FindAllStringSubmatch(args+" ", -1) {
		flags = append(flags, manualFlag{m[1], strings.ToLower(m[2]), ""})
	}
	return flags
}

var keyLine = regexp.MustCompile(`^(\S+)\s+(TILLWIRE_\S+)\s+("(?:[^"\\]|\\.)*")\s*(.*)$`)

func parseKeys(text []byte) (keys []configKey) {
	for line := range bytes.Lines(text) {
		if m := keyLine.FindSubmatch(bytes.TrimSpace(line)); m != nil {
			keys = append(keys, configKey{string(m[1]), string(m[2]), strings.Trim(string(m[3]), `"`), string(m[4])})
		}
	}
	return keys
}
