package simulator

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tillwire/simulator/scenario"
)

const fleetUsage = "--scenario NAME|FILE.toml [--stores N] [--speed X | --virtual] [--for D] [--process K] [--own-process | --aggregator URL --broker URL] [--out DIR] [--json]"

// fleetFlags are what `fleet` takes.
type fleetFlags struct {
	shared

	scenario, show, aggregator, broker, key, ca, prefix, programs, out *string
	stores, process                                                    *int
	speed                                                              *float64
	dur                                                                *time.Duration
	virtual, machine, alone, asJSON, list, keys, plain                 *bool
}

func newFleetFlags(fs *flag.FlagSet) *fleetFlags {
	return &fleetFlags{
		shared:     sharedFlags(fs),
		scenario:   fs.String("scenario", "", "the story: a ready-made `name` (--list) or a FILE.toml"),
		list:       fs.Bool("list", false, "list the ready-made stories and end"),
		show:       fs.String("show", "", "print a ready-made story's file and end; a good start for one's own"),
		keys:       fs.Bool("keys", false, "print every key of a scenario file with its meaning and default, and end"),
		stores:     fs.Int("stores", 0, "stores (default: the story's, mostly 400; at most 4000)"),
		speed:      fs.Float64("speed", 0, "the story's clock beside real time (default: the story's); 1 is real time"),
		virtual:    fs.Bool("virtual", false, "let the story run as fast as this machine keeps up"),
		dur:        fs.Duration("for", 0, "end the sales after this real time, though the story goes on"),
		machine:    fs.Bool("machine-clock", false, "documents carry this machine's time, not the story's"),
		process:    fs.Int("process", 0, "`agents` that run as the real program beside this one (implies the machine's clock)"),
		programs:   fs.String("programs", "", "`folder` of the real programs, e.g. of another release (default: this program's)"),
		alone:      fs.Bool("own-process", false, "the aggregator runs as a process of its own (implies the machine's clock)"),
		aggregator: fs.String("aggregator", "", "`URL` of an aggregator that runs already (implies the machine's clock)"),
		broker:     fs.String("broker", "", "`URL` of its broker, e.g. mqtts://host:8883"),
		key:        fs.String("key", "", "its API `key` of role admin (or TILLWIRE_API_KEY); none in development mode"),
		ca:         fs.String("ca", "", "PEM `file` of the authority behind mqtts://"),
		prefix:     fs.String("prefix", "S", "of the stores' names; another one lets several runs share an aggregator"),
		out:        fs.String("out", "", "`folder` for NAME.html and NAME.json"),
		asJSON:     fs.Bool("json", false, "print the result as JSON; progress goes to stderr"),
		plain:      fs.Bool("plain", false, "lines instead of the terminal view"),
	}
}

const fleetHelp = `tillwire-simulator fleet runs real agents through a story, and proves what arrived.

usage: tillwire-simulator fleet ` + fleetUsage + `

Examples:
  tillwire-simulator fleet --list
  tillwire-simulator fleet --scenario saturday --out results
      an ordinary Saturday with 400 stores in a quarter of an hour; results/saturday.html is the report
  tillwire-simulator fleet --scenario black-friday --virtual
      as fast as this machine keeps up
  tillwire-simulator fleet --scenario regional-outage --stores 4000 --speed 20
  tillwire-simulator fleet --scenario saturday --stores 40 --process 5 --own-process
      five agents and the aggregator as the real programs
  tillwire-simulator fleet --scenario reconnect --aggregator https://stock.example.com --broker mqtts://stock.example.com:8883 --key KEY
      your own aggregator; the stores enrol themselves
  tillwire-simulator fleet --show saturday > mine.toml; tillwire-simulator fleet --scenario mine.toml

Flags:
`

func (t *Terminal) fleet(ctx, abort context.Context, args []string) error {
	fs := flag.NewFlagSet("fleet", flag.ContinueOnError)
	f := newFleetFlags(fs)
	if _, err := t.parse(fs, args, 0); err != nil {
		return err
	}
	if *f.list || *f.keys || *f.show != "" {
		return t.aboutStories(f)
	}
	if *f.scenario == "" {
		return usageError{"--scenario is missing; `tillwire-simulator fleet --list` shows the ready-made ones"}
	}
	story, err := scenario.Load(*f.scenario)
	if err != nil {
		return usageError{err.Error()}
	}
	o, err := t.rehearsalOptions(f, story)
	if err != nil {
		return err
	}
	o.Command = "tillwire-simulator fleet " + strings.Join(withoutSecrets(args), " ")
	r, err := Rehearse(ctx, abort, o)
	if err != nil {
		return err
	}
	if *f.out != "" {
		page := filepath.Join(*f.out, story.Name+".html")
		if err := writeFile(page, r.HTML()); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(o.Out, "report: %s\n", page)
		*f.out = filepath.Join(*f.out, story.Name+".json")
	}
	return t.deliver(result{Kind: "fleet", Fleet: r}, *f.asJSON, *f.out, r.OK())
}

// withoutSecrets is a command line as it may stand in a report.
func withoutSecrets(args []string) []string {
	out := append([]string(nil), args...)
	for i, a := range out {
		switch name, _, value := strings.Cut(strings.TrimLeft(a, "-"), "="); {
		case name != "key":
		case value:
			out[i] = "--key=KEY"
		case i+1 < len(out):
			out[i+1] = "KEY"
		}
	}
	return out
}

func (t *Terminal) rehearsalOptions(f *fleetFlags, story *scenario.Scenario) (o RehearsalOptions, err error) {
	c, err := f.load(t.Lookup)
	if err != nil {
		return o, err
	}
	log, err := t.logger(c.Log.Level)
	if err != nil {
		return o, err
	}
	if *f.speed < 0 || *f.virtual && *f.speed != 0 {
		return o, usageError{"--speed must be above 0, and excludes --virtual"}
	}
	o = RehearsalOptions{
		Story: story, Stores: *f.stores, For: *f.dur, Speed: *f.speed, Virtual: *f.virtual, Machine: *f.machine, Process: *f.process, Alone: *f.alone, Programs: *f.programs,
		Prefix: *f.prefix, DataDir: c.DataDir, HTTP: c.HTTP.Listen, Seed: uint64(c.Seed), Log: log, Out: t.Stdout,
	}
	if (*f.aggregator == "") != (*f.broker == "") {
		return o, usageError{"--aggregator and --broker go together: agents speak to the broker, tills' customers to the aggregator"}
	}
	if *f.aggregator != "" {
		o.Elsewhere = &elsewhere{HTTP: *f.aggregator, Broker: *f.broker, Key: *f.key, CAFile: *f.ca}
		if env, ok := t.Lookup("TILLWIRE_API_KEY"); ok && *f.key == "" {
			o.Elsewhere.Key = env
		}
		for _, x := range []struct{ flag, url string }{{"--aggregator", *f.aggregator}, {"--broker", *f.broker}} {
			if u, err := url.Parse(x.url); err != nil || u.Host == "" {
				return o, usageError{fmt.Sprintf("%s %q is no URL such as http://127.0.0.1:7400 or mqtt://127.0.0.1:7483", x.flag, x.url)}
			}
		}
	}
	if *f.asJSON {
		o.Out = t.Stderr
	}
	if file, ok := o.Out.(*os.File); ok && !*f.plain && isTerminal(file) {
		o.Screen = newScreen(file, func() int { return terminalWidth(file) })
	}
	return o, nil
}

// aboutStories prints what there is to know about scenario files.
func (t *Terminal) aboutStories(f *fleetFlags) error {
	switch {
	case *f.keys:
		_, err := io.WriteString(t.Stdout, scenario.Keys())
		return err
	case *f.show != "":
		b, err := scenario.Text(*f.show)
		if err != nil {
			return usageError{err.Error()}
		}
		_, err = t.Stdout.Write(b)
		return err
	}
	var all error
	for _, n := range scenario.Names() {
		s, err := scenario.Load(n)
		if err != nil {
			return errors.Join(all, err)
		}
		_, _ = fmt.Fprintf(t.Stdout, "%-16s %s\n%-16s   %s of the story at %g×, %s. %s\n", n, s.Title, "", s.Lasts, s.Speed, plural(s.Stores, "store"), s.About)
	}
	return nil
}
