// Command tillwire-agent journals what the tills of one shop write and brings it
// to the aggregator. `tillwire-agent help` lists its commands.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"tillwire/agent"
)

// version is set by the linker.
var version = "dev"

// Exit codes, the same for all Tillwire programs.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotReady = 3
)

// errUsage marks errors of command line and configuration; errNotReady says that
// no agent runs, or that it cannot take sales.
var (
	errUsage    = errors.New("usage")
	errNotReady = errors.New("not ready")
)

// invocation is one call of the program.
type invocation struct {
	args           []string
	command        command
	stdin          io.Reader
	stdout, stderr io.Writer
	lookup         func(string) (string, bool)
}

type command struct {
	name, args, help, example string
	do                        func(ctx context.Context, in *invocation) error
}

func commands() []command {
	return []command{
		{"run", "[--config FILE] [--store S] [--data-dir DIR] [--http ADDR] [--broker URL] [--dev]", "take the tills' writes and bring them up, in the foreground", "tillwire-agent run --dev --store S0042 --data-dir ./agent-data", runCommand},
		{"enroll", "--aggregator URL --token T --store S [--agent A]", "trade a one-off token for this machine's credential and write agent.toml", "tillwire-agent enroll --aggregator https://stock.example --token twe1… --store S0042", enrollCommand},
		{"install", "[--config FILE]", "install as a service that starts with the machine", "sudo tillwire-agent install", serviceCommand("install")},
		{"uninstall", "", "remove the service; journal and configuration stay", "sudo tillwire-agent uninstall", serviceCommand("uninstall")},
		{"start", "", "start the service", "", serviceCommand("start")},
		{"stop", "", "stop the service", "", serviceCommand("stop")},
		{"restart", "", "restart the service", "", serviceCommand("restart")},
		{"status", "[--json]", "say whether it runs, is connected, and what waits; exit code 3 when not ready", "tillwire-agent status", statusCommand},
		{"doctor", "[--json]", "look at what the agent needs: name, way, TLS, clock, port, disk, permissions, virus scanner; says what to do; exit code 1 when a person must act", "sudo tillwire-agent doctor", doctorCommand},
		{"support-bundle", "[--out FILE]", "pack state, findings, configuration without secrets, and the end of the log for support; no sale, no card number", "sudo tillwire-agent support-bundle", bundleCommand},
		{"check", "[--data-dir DIR] [--json] [--repair]", "verify every byte of the journal, beside a running agent too; says what is wrong and what to do; exit code 1 when a person must act", "tillwire-agent check", checkCommand},
		{"export", "[--data-dir DIR] [--from SEQ] [--verify] [--out FILE]", "write the journal as JSON Lines, each record verified by the chain; beside a running agent too", "tillwire-agent export --verify --out journal.jsonl", exportCommand},
		{"import", "[--data-dir DIR] [--dry-run] FILE", "feed an exported file to the running agent, or restore the journal of a folder that has none; events known already count once", "tillwire-agent import journal.jsonl", importCommand},
		{"config", "", "list every configuration key, its environment variable and its value", "tillwire-agent config", configCommand},
		{"version", "", "print the version", "", versionCommand},
	}
}

// hidden are those that other programs call: the agent itself, installers.
func hidden() []command {
	return append(platformHidden(), []command{
		{"check-journal", "FILE", "verify one journal file with bbolt itself; `run` calls it where the last start did not end", "", checkJournalCommand},
		{"unit", "[--program PATH] [--config FILE] [--sysusers]", "print the systemd unit that `install` writes", "tillwire-agent unit --program /usr/bin/tillwire-agent", unitCommand},
	}...)
}

func main() {
	os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr))
}

// Main runs one command and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 0:
		usage(stderr)
		return exitUsage
	case args[0] == "help" && len(args) == 2 && args[1] == "--json":
		return exitCode(helpJSON(stdout), stderr, command{name: "help", args: "--json"})
	case args[0] == "help" && len(args) > 1:
		args = []string{args[1], "--help"}
	case args[0] == "help" || args[0] == "-h" || args[0] == "--help":
		usage(stdout)
		return exitOK
	case args[0] == "--version":
		args[0] = "version"
	}
	for _, c := range append(commands(), hidden()...) {
		if c.name != args[0] {
			continue
		}
		err := c.do(ctx, &invocation{args: args[1:], command: c, stdin: os.Stdin, stdout: stdout, stderr: stderr, lookup: os.LookupEnv})
		return exitCode(err, stderr, c)
	}
	fmt.Fprintf(stderr, "tillwire-agent: %q is not a command. `tillwire-agent help` lists them.\n", args[0])
	return exitUsage
}

func exitCode(err error, stderr io.Writer, c command) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "tillwire-agent %s: %s\nusage: tillwire-agent %s\n", c.name, strings.TrimPrefix(err.Error(), "usage: "), strings.TrimSpace(c.name+" "+c.args))
		return exitUsage
	case errors.Is(err, errNotReady):
		fmt.Fprintf(stderr, "tillwire-agent %s: %s\n", c.name, err)
		return exitNotReady
	default:
		fmt.Fprintf(stderr, "tillwire-agent %s: %s\n", c.name, err)
		return exitFailed
	}
}

const about = "keeps what the tills of one shop write, and brings it to the aggregator"

// helpJSON is the help for programs: manual pages and completions are made of it,
// and of each command's --help.
func helpJSON(w io.Writer) error {
	type named struct {
		Name    string `json:"name"`
		Args    string `json:"args"`
		Help    string `json:"help"`
		Example string `json:"example"`
	}
	var all []named
	for _, c := range commands() {
		all = append(all, named{c.name, c.args, c.help, c.example})
	}
	return json.NewEncoder(w).Encode(map[string]any{"program": "tillwire-agent", "about": about, "config": agent.DefaultConfigPath(), "commands": all})
}

func usage(w io.Writer) {
	fmt.Fprint(w, "tillwire-agent "+about+".\n\nUsage: tillwire-agent COMMAND [flags]\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-14s %s\n", c.name, c.help)
	}
	fmt.Fprint(w, "\nExamples:\n")
	for _, c := range commands() {
		if c.example != "" {
			fmt.Fprintf(w, "  %s\n", c.example)
		}
	}
	fmt.Fprintf(w, "\nConfiguration: %s, then TILLWIRE_… variables, then flags. `tillwire-agent config` lists the keys.\nExit codes: 0 ok, 1 failed, 2 usage, 3 not ready.\n", agent.DefaultConfigPath())
}

// flags are those that most commands know.
type flags struct {
	*flag.FlagSet
	config, dataDir, store, agent *string
	dev                           *bool
	operands                      int // arguments allowed behind the flags
}

func newFlags(in *invocation) *flags {
	f := bareFlags(in)
	f.config = f.String("config", "", "configuration `file` (default "+agent.DefaultConfigPath()+" where it exists)")
	f.dataDir = f.String("data-dir", "", "data `folder`, instead of data_dir in the file")
	f.store = f.String("store", "", "store `name`, instead of store in the file")
	f.agent = f.String("agent", "", "agent `name`, instead of agent in the file")
	f.dev = f.Bool("dev", false, "development: loopback only, no tokens asked")
	return f
}

// bareFlags are none yet; parse says what is wrong.
func bareFlags(in *invocation) *flags {
	set := flag.NewFlagSet(in.command.name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return &flags{FlagSet: set}
}

func (f *flags) parse(in *invocation) error {
	if err := f.Parse(in.args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.help(in)
			return err
		}
		if name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
			return fmt.Errorf("%w: --%s is not a flag of this command; `tillwire-agent help %s` lists them", errUsage, name, in.command.name)
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.NArg() > f.operands {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(f.operands))
	}
	return nil
}

// help explains one command.
func (f *flags) help(in *invocation) {
	c := in.command
	fmt.Fprintf(in.stdout, "tillwire-agent %s: %s\n\nUsage: tillwire-agent %s\n", c.name, c.help, strings.TrimSpace(c.name+" "+c.args))
	if c.example != "" {
		fmt.Fprintf(in.stdout, "Example: %s\n", c.example)
	}
	n := 0
	f.VisitAll(func(*flag.Flag) { n++ })
	if n > 0 {
		fmt.Fprintln(in.stdout, "\nFlags:")
		f.SetOutput(in.stdout)
		f.PrintDefaults()
	}
}

// load merges file, environment and flags, in this order.
func (f *flags) load(in *invocation) (agent.Config, error) {
	path := *f.config
	if path == "" {
		if _, err := os.Stat(agent.DefaultConfigPath()); err == nil {
			path = agent.DefaultConfigPath()
		}
	}
	c, err := agent.LoadConfig(path, in.lookup)
	if errors.Is(err, fs.ErrPermission) {
		return c, fmt.Errorf("%w; it holds a secret: call this command as root or administrator", err)
	}
	if err != nil {
		return c, fmt.Errorf("%w: %w", errUsage, err)
	}
	for _, o := range []struct {
		from *string
		to   *string
	}{{f.dataDir, &c.DataDir}, {f.store, &c.Store}, {f.agent, &c.Agent}} {
		if *o.from != "" {
			*o.to = *o.from
		}
	}
	c.Dev = c.Dev || *f.dev
	return c, nil
}

func versionCommand(_ context.Context, in *invocation) error {
	if err := bareFlags(in).parse(in); err != nil {
		return err
	}
	_, err := fmt.Fprintln(in.stdout, "tillwire-agent", version)
	return err
}
