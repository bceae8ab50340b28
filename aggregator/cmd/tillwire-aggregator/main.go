// Command tillwire-aggregator merges the journals of all stores into one ledger
// and answers what is available where. `tillwire-aggregator help` lists its
// commands.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/DeRuina/timberjack"
	"github.com/rs/zerolog"

	"tillwire/aggregator"
	"tillwire/store/config"
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

var (
	errUsage    = errors.New("usage")
	errNotReady = errors.New("not ready")
)

type invocation struct {
	args           []string
	stdout, stderr io.Writer
	lookup         func(string) (string, bool)
}

type command struct {
	name, args, help, example string
	do                        func(ctx context.Context, in *invocation) error
}

func commands() []command {
	all := []command{
		{"run", "[--config FILE] [--data-dir DIR] [--dev]", "serve broker, ledger, APIs and ops UI", "tillwire-aggregator run --dev --data-dir ./aggregator-data", runCommand},
		{"token", "--store S [--agent A] | --role R --name N [--valid D] | --enroll --store S", "print a credential: an agent's, an API key, or a one-off enrolment token", "tillwire-aggregator token --store S0042 --agent server", tokenCommand},
		{"fsck", "[--data-dir DIR] [--json]", "rebuild every position from the log of a stopped aggregator and compare", "tillwire-aggregator fsck --data-dir /var/lib/tillwire-aggregator", fsckCommand},
		{"backup", "[--to DIR] [--begin] | --verify DIR|MANIFEST [--at ID]", "copy the ledger, running or stopped, and read the copy back; or try a copy", "tillwire-aggregator backup --to /mnt/backup/tillwire", backupCommand},
		{"restore", "--from DIR|MANIFEST [--at ID] [--data-dir DIR]", "replace the ledger of a stopped aggregator by a verified copy; the old one is moved aside", "tillwire-aggregator restore --from /mnt/backup/tillwire --data-dir /var/lib/tillwire-aggregator", restoreCommand},
		{"export", "[--data-dir DIR] [--from POSITION]", "write the log of a stopped aggregator as NDJSON", "tillwire-aggregator export > log.ndjson", exportCommand},
		{"config", "", "list every configuration key, its environment variable and its value", "tillwire-aggregator config", configCommand},
		{"version", "", "print the version", "", versionCommand},
	}
	return slices.Insert(all, len(all)-1, slices.Concat(storeCommands(), releaseCommands(), userCommands(), identityCommands())...)
}

func main() {
	os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr))
}

// Main runs one command and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) == 2 && args[0] == "help" && args[1] == "--json" {
		return exitCode(helpJSON(stdout), stderr, command{name: "help", args: "--json"})
	}
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(stdout)
		if len(args) == 0 {
			return exitUsage
		}
		return exitOK
	}
	for _, c := range commands() {
		if name := strings.Fields(c.name); len(args) >= len(name) && slices.Equal(args[:len(name)], name) {
			err := c.do(ctx, &invocation{args: args[len(name):], stdout: stdout, stderr: stderr, lookup: os.LookupEnv})
			return exitCode(err, stderr, c)
		}
	}
	unknown(stderr, args)
	return exitUsage
}

// unknown names what was asked for, and the commands that begin alike.
func unknown(w io.Writer, args []string) {
	var alike []string
	for _, c := range commands() {
		if first, rest, _ := strings.Cut(c.name, " "); first == args[0] && rest != "" {
			alike = append(alike, c.name)
		}
	}
	words := 1
	for len(alike) > 0 && words < min(len(args), 3) && !strings.HasPrefix(args[words], "-") {
		words++
	}
	fmt.Fprintf(w, "tillwire-aggregator: %q is not a command.", strings.Join(args[:words], " "))
	if len(alike) > 0 {
		fmt.Fprintf(w, " There are: %s.", strings.Join(alike, ", "))
	}
	fmt.Fprintln(w, " `tillwire-aggregator help` lists all.")
}

func exitCode(err error, stderr io.Writer, c command) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "tillwire-aggregator %s: %s\nusage: tillwire-aggregator %s %s\n", c.name, strings.TrimPrefix(err.Error(), "usage: "), c.name, c.args)
		return exitUsage
	case errors.Is(err, errNotReady):
		fmt.Fprintf(stderr, "tillwire-aggregator %s: %s\n", c.name, err)
		return exitNotReady
	default:
		fmt.Fprintf(stderr, "tillwire-aggregator %s: %s\n", c.name, err)
		return exitFailed
	}
}

const about = "merges the journals of all stores and answers what is available where"

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
	return json.NewEncoder(w).Encode(map[string]any{"program": "tillwire-aggregator", "about": about, "config": aggregator.DefaultConfigPath(), "commands": all})
}

func usage(w io.Writer) {
	fmt.Fprint(w, "tillwire-aggregator "+about+".\n\nUsage: tillwire-aggregator COMMAND [flags]\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-18s %s\n", c.name, c.help)
	}
	fmt.Fprint(w, "\nExamples:\n")
	for _, c := range commands() {
		if c.example != "" {
			fmt.Fprintf(w, "  %s\n", c.example)
		}
	}
	fmt.Fprintf(w, "\nConfiguration: %s, then TILLWIRE_… variables, then flags. `tillwire-aggregator config` lists the keys.\nExit codes: 0 ok, 1 failed, 2 usage, 3 not ready.\n", aggregator.DefaultConfigPath())
}

type flags struct {
	*flag.FlagSet
	config, dataDir *string
	dev             *bool
}

func newFlags(in *invocation, name string) *flags {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(in.stderr)
	return &flags{
		FlagSet: fs,
		config:  fs.String("config", "", "configuration `file` (default "+aggregator.DefaultConfigPath()+" where it exists)"),
		dataDir: fs.String("data-dir", "", "data `folder`, over data_dir"),
		dev:     fs.Bool("dev", false, "development: loopback only, no keys asked"),
	}
}

// parse reads flags, then file and environment, and lets the flags win.
func (f *flags) parse(in *invocation) (aggregator.Config, error) {
	if err := f.Parse(in.args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return aggregator.Config{}, err
		}
		return aggregator.Config{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.NArg() > 0 {
		return aggregator.Config{}, fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(0))
	}
	return f.load(in)
}

// load reads file and environment under the flags.
func (f *flags) load(in *invocation) (aggregator.Config, error) {
	path := *f.config
	if path == "" {
		if _, err := os.Stat(aggregator.DefaultConfigPath()); err == nil {
			path = aggregator.DefaultConfigPath()
		}
	}
	c, err := aggregator.LoadConfig(path, in.lookup)
	if err != nil {
		return c, fmt.Errorf("%w: %w", errUsage, err)
	}
	if *f.dataDir != "" {
		c.DataDir = *f.dataDir
	}
	c.Dev = c.Dev || *f.dev
	return c, nil
}

func runCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in, "run")
	httpAddr := f.String("http", "", "`address` of APIs and ops UI, over http.listen")
	mqttAddr := f.String("mqtt", "", "`address` of the broker, over mqtt.listen")
	c, err := f.parse(in)
	if err != nil {
		return err
	}
	if *httpAddr != "" {
		c.HTTP.Listen = *httpAddr
	}
	if *mqttAddr != "" {
		c.MQTT.Listen = *mqttAddr
	}
	if err := c.Check(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	log, done, err := openLog(c.Log, in.stderr)
	if err != nil {
		return err
	}
	defer done()
	self, err := os.Executable()
	if err != nil {
		log.Warn().Err(err).Msg("own program not found; copies are tried in this process")
	}
	a, err := aggregator.New(c, aggregator.Deps{Log: log, Version: version, Self: self})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// openLog writes to a rotated file where one is named, else to stderr.
func openLog(c aggregator.LogConfig, stderr io.Writer) (zerolog.Logger, func(), error) {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		return zerolog.Nop(), nil, fmt.Errorf("%w: log.level %q is not debug, info, warn or error", errUsage, c.Level)
	}
	out, done := stderr, func() {}
	if c.File != "" {
		file := &timberjack.Logger{Filename: c.File, MaxSize: 50, MaxBackups: 10, MaxAge: 35, Compression: "gzip"}
		out, done = file, func() { _ = file.Close() }
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger(), done, nil
}

func configCommand(_ context.Context, in *invocation) error {
	c, err := newFlags(in, "config").parse(in)
	if err != nil {
		return err
	}
	for _, k := range config.Keys(&c) {
		if _, err := fmt.Fprintf(in.stdout, "%-24s %-32s %-28q %s\n", k.Name, k.Env, k.Shown(), k.Help); err != nil {
			return err
		}
	}
	if err := c.Check(); err != nil {
		return errors.Join(errNotReady, err)
	}
	return nil
}

func versionCommand(_ context.Context, in *invocation) error {
	_, err := fmt.Fprintln(in.stdout, "tillwire-aggregator", version)
	return err
}
