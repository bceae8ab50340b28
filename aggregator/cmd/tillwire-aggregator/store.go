package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

const waitLook = 250 * time.Millisecond // how often a waiting command asks

// storeCommands are what central ops do to one agent of a store.
func storeCommands() []command {
	const at = "--store S [--agent A] [--data-dir DIR | --url URL] [--json]"
	return []command{
		{"store desired get", at, "show what an agent is to be like, and whether it is", "", desiredGetCommand},
		{
			"store desired set", at + " [--wait D] [--unset KEY]… [KEY=VALUE]…", "change what an agent is to be like; other keys stay as they are",
			"tillwire-aggregator store desired set --store S0042 heartbeat_s=10", desiredSetCommand,
		},
		{
			"store replay", at + " --from-seq N [--wait D] [--valid D] [--command-id ID]", "have an agent offer its journal again from a seq on; nothing counts twice",
			"tillwire-aggregator store replay --store S0042 --from-seq 1 --wait 1m", replayCommand,
		},
		{
			"store bundle", at + " [--out FILE] [--wait D] [--valid D] [--command-id ID]", "fetch an agent's support bundle: state, counters, configuration without secrets",
			"tillwire-aggregator store bundle --store S0042 --out S0042.tar.gz", bundleCommand,
		},
		{"store copies", at, "show the processes that speak under one agent's name (clone_quarantined)", "tillwire-aggregator store copies --store S0042", copiesCommand},
		{"store pick", at + " --boot ID", "let one of the copies go on under the agent's name; the others are merged beside it", "", pickCommand},
	}
}

// target is one agent of a store, and who is asked about it.
type target struct {
	*asker
	flags
	origin protocol.Origin
	json   bool
	role   string   // of the key that the command makes for itself
	words  []string // arguments that are no flags
}

// newTarget declares the flags that all store commands share. tell adds to the help.
func newTarget(in *invocation, name, tell string) (*target, func() error) {
	t := &target{flags: *newFlags(in, name), role: "ops"}
	store := t.String("store", "", "`shop` of the agent")
	agent := t.String("agent", "server", "`name` of the agent within the shop")
	at := t.String("url", "", "`URL` of an aggregator elsewhere, whose API key is in "+keyVariable+"; without it the one that serves the data folder is asked")
	t.BoolVar(&t.json, "json", false, "print the answer as JSON")
	t.Usage = func() {
		for _, c := range commands() {
			if c.name == name {
				fmt.Fprintf(in.stderr, "tillwire-aggregator %s: %s.\n\nusage: tillwire-aggregator %s %s\n\n%s", name, c.help, name, c.args, tell)
			}
		}
		t.PrintDefaults()
	}
	return t, func() error {
		words, err := t.interleaved(in.args)
		if err != nil {
			return err
		}
		t.words = words
		for _, n := range []struct{ flag, name string }{{"--store", *store}, {"--agent", *agent}} {
			if err := protocol.CheckName(n.name); err != nil {
				return fmt.Errorf("%w: %s %q %w; GET /v1/stores lists stores and agents", errUsage, n.flag, n.name, err)
			}
		}
		t.origin = protocol.Origin{Store: protocol.StoreID(*store), Agent: protocol.AgentID(*agent)}
		if *at != "" {
			t.asker, err = askAt(*at, in.lookup, askTakes)
			return err
		}
		c, err := t.load(in)
		if err != nil {
			return err
		}
		t.asker, err = askOwn(c, t.role, "store-command", askTakes)
		return err
	}
}

// interleaved reads flags that stand before, between and behind other words.
func (t *target) interleaved(args []string) (words []string, err error) {
	for {
		if err := t.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		if t.NArg() == 0 {
			return words, nil
		}
		words, args = append(words, t.Arg(0)), t.Args()[1:]
	}
}

// noWords refuses arguments where only flags are meant.
func (t *target) noWords() error {
	if len(t.words) > 0 {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, t.words[0])
	}
	return nil
}

// call asks about the agent: path follows …/agents/AGENT.
func (t *target) call(ctx context.Context, method string, body any, path ...string) ([]byte, error) {
	return t.do(ctx, method, append([]string{"v1", "stores", string(t.origin.Store), "agents", string(t.origin.Agent)}, path...), body)
}

// until asks again and again until look says that it is over, or the time is.
func until(ctx context.Context, wait time.Duration, look func() (over bool, err error)) (bool, error) {
	for end := time.Now().Add(wait); ; {
		over, err := look()
		if over || err != nil || !time.Now().Before(end) {
			return over, err
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("%w: interrupted; what was asked for is not taken back", errNotReady)
		case <-time.After(min(waitLook, time.Until(end))):
		}
	}
}

func desiredGetCommand(ctx context.Context, in *invocation) error {
	t, ready := newTarget(in, "store desired get", "")
	if err := errors.Join(ready(), t.noWords()); err != nil {
		return err
	}
	b, err := t.call(ctx, http.MethodGet, nil, "desired")
	return t.sayDesired(in, b, err)
}

// desiredSetCommand reads, changes and writes under the version that was read: of
// two people who set it at once neither loses what the other one wanted.
func desiredSetCommand(ctx context.Context, in *invocation) error {
	t, ready := newTarget(in, "store desired set", settingsHelp())
	wait := t.Duration("wait", 0, "how `long` to wait until the agent has applied it, e.g. 1m")
	var unset []string
	t.Func("unset", "leave this `key` to the agent's own configuration again; may be repeated", func(s string) error { unset = append(unset, s); return nil })
	if err := ready(); err != nil {
		return err
	}
	set, err := settings(t.words, unset)
	if err != nil {
		return err
	}
	var st protocol.DesiredState
	b, err := t.call(ctx, http.MethodGet, nil, "desired")
	if err := into(b, err, &st); err != nil {
		return err
	}
	for _, k := range unset {
		delete(st.Values, k)
	}
	for k, v := range set {
		st.Values[k] = v
	}
	b, err = t.call(ctx, http.MethodPut, map[string]any{"values": st.Values, "if_version": st.Version}, "desired")
	if isCode(err, "desired_changed") {
		return fmt.Errorf("%w; run the same again", err)
	}
	if err := into(b, err, &st); err != nil {
		return err
	}
	applied, err := until(ctx, *wait, func() (bool, error) {
		b, err = t.call(ctx, http.MethodGet, nil, "desired")
		st = protocol.DesiredState{}
		err := into(b, err, &st)
		return st.AppliedVersion >= st.Version || st.Refused != "", err
	})
	if err := t.sayDesired(in, b, err); err != nil {
		return err
	}
	switch {
	case st.Refused != "":
		return fmt.Errorf("the agent refused it: %s; the state before holds", st.Refused)
	case !applied && *wait > 0:
		return fmt.Errorf("%w: not applied within %s; it is sent as soon as the agent is connected", errNotReady, *wait)
	}
	return nil
}

// settings reads KEY=VALUE.
func settings(words, unset []string) (map[string]json.RawMessage, error) {
	if len(words)+len(unset) == 0 {
		return nil, fmt.Errorf("%w: nothing to set; give KEY=VALUE or --unset KEY", errUsage)
	}
	set := map[string]json.RawMessage{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if _, twice := set[k]; !ok || k == "" || twice || slices.Contains(unset, k) {
			return nil, fmt.Errorf("%w: %q is not KEY=VALUE, or its key is given twice", errUsage, w)
		}
		set[k] = protocol.DesiredValue(k, v)
	}
	if wrong := protocol.CheckDesired(set); len(wrong) > 0 {
		return nil, fmt.Errorf("%w: %s %s; --help lists the keys", errUsage, strings.TrimPrefix(wrong[0].Pointer, "/"), wrong[0].Message)
	}
	for _, k := range unset {
		if !slices.ContainsFunc(protocol.Settings(), func(s protocol.Setting) bool { return s.Key == k }) {
			return nil, fmt.Errorf("%w: --unset %s is not known; --help lists the keys", errUsage, k)
		}
	}
	return set, nil
}

func settingsHelp() string {
	var b strings.Builder
	b.WriteString("Keys:\n")
	for _, s := range protocol.Settings() {
		fmt.Fprintf(&b, "  %-15s %s: %s\n", s.Key, s.Takes(), s.Help)
	}
	return b.String() + "\nFlags:\n"
}

func replayCommand(ctx context.Context, in *invocation) error {
	t, ready := newTarget(in, "store replay", "")
	from := t.Uint64("from-seq", 0, "first `seq` to offer again; 1 is the whole journal that the store retains")
	order := newOrder(t, 0)
	if err := errors.Join(ready(), t.noWords(), order.check()); err != nil {
		return err
	}
	if *from == 0 {
		return fmt.Errorf("%w: --from-seq is missing; 1 is the whole journal that the store retains", errUsage)
	}
	st, err := order.give(ctx, map[string]any{"kind": protocol.CommandReplay, "from_seq": *from})
	if err != nil {
		return err
	}
	if err := t.sayCommand(in, &st, nil); err != nil {
		return err
	}
	return order.end(&st)
}

// order is a command to an agent.
type order struct {
	t     *target
	id    *string
	wait  *time.Duration
	valid *time.Duration
}

func newOrder(t *target, wait time.Duration) *order {
	return &order{
		t: t, id: t.String("command-id", "", "`id` of the command; the same one again issues nothing, but waits for what was issued"),
		wait:  t.Duration("wait", wait, "how `long` to wait for the agent's result, e.g. 1m"),
		valid: t.Duration("valid", time.Hour, "how `long` the agent may take to begin; an agent that is offline begins when it is back"),
	}
}

func (o *order) check() error {
	if *o.valid < time.Second {
		return fmt.Errorf("%w: --valid %s is too short; give at least 1s", errUsage, *o.valid)
	}
	if *o.id == "" {
		b := make([]byte, 16)
		_, _ = rand.Read(b) // never fails
		*o.id = hex.EncodeToString(b)
	}
	if err := protocol.CheckName(*o.id); err != nil {
		return fmt.Errorf("%w: --command-id %q %w", errUsage, *o.id, err)
	}
	return nil
}

// give issues the command and waits for its result. It is idempotent by its id.
func (o *order) give(ctx context.Context, body map[string]any) (st protocol.CommandState, err error) {
	body["command_id"], body["valid_s"] = *o.id, int64(o.valid.Seconds())
	b, err := o.t.call(ctx, http.MethodPost, body, "commands")
	if err := into(b, err, &st); err != nil {
		return st, err
	}
	_, err = until(ctx, *o.wait, func() (bool, error) {
		var all struct {
			Commands []protocol.CommandState `json:"commands"`
		}
		b, err := o.t.call(ctx, http.MethodGet, nil, "commands")
		if err := into(b, err, &all); err != nil {
			return false, err
		}
		if n := slices.IndexFunc(all.Commands, func(c protocol.CommandState) bool { return c.CommandID == *o.id }); n >= 0 {
			st = all.Commands[n]
		}
		return protocol.CommandEnded(st.State), nil
	})
	return st, err
}

// end is how a command came out, as an exit code.
func (o *order) end(st *protocol.CommandState) error {
	switch {
	case st.State == protocol.CommandDone:
		return nil
	case protocol.CommandEnded(st.State):
		return fmt.Errorf("the agent says %s: %s", st.State, st.Reason)
	case *o.wait > 0:
		return fmt.Errorf("%w: no result within %s; it stays issued until %s: run the same with --command-id %s to wait on", errNotReady, *o.wait, st.NotAfter.Format(time.RFC3339), *o.id)
	}
	return nil
}
