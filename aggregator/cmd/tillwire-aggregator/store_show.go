package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tillwire/protocol"
)

// raw prints an answer as it came, on one line.
func raw(in *invocation, b []byte) error {
	_, err := in.stdout.Write(append(bytes.TrimSpace(b), '\n'))
	return err
}

// sayDesired prints a desired state.
func (t *target) sayDesired(in *invocation, b []byte, err error) error {
	var st protocol.DesiredState
	if err := into(b, err, &st); err != nil {
		return err
	}
	if t.json {
		return raw(in, b)
	}
	if st.Version == 0 {
		_, err = fmt.Fprintf(in.stdout, "%s: nothing is set; the agent's own configuration holds\n", t.origin)
		return err
	}
	how := "applied"
	switch {
	case st.Refused != "":
		how = "REFUSED by the agent: " + st.Refused
	case st.AppliedVersion < st.Version:
		how = fmt.Sprintf("not applied yet (the agent has version %d)", st.AppliedVersion)
	}
	at := ""
	if st.At != nil {
		at = " at " + st.At.Format(time.RFC3339)
	}
	fmt.Fprintf(in.stdout, "%s: version %d, set by %s%s, %s\n", t.origin, st.Version, st.By, at, how)
	keys := make([]string, 0, len(st.Values))
	for k := range st.Values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(in.stdout, "  %s = %s\n", k, st.Values[k])
	}
	if len(keys) == 0 {
		fmt.Fprintln(in.stdout, "  (every key is left to the agent's own configuration)")
	}
	return nil
}

// sayCommand prints what became of a command; file is where its bundle was put.
func (t *target) sayCommand(in *invocation, st *protocol.CommandState, file *string) error {
	if t.json {
		out := struct {
			*protocol.CommandState
			File *string `json:"file,omitempty"`
		}{st, file}
		return json.NewEncoder(in.stdout).Encode(out)
	}
	fmt.Fprintf(in.stdout, "%s: %s %s: %s", t.origin, st.Kind, st.CommandID, st.State)
	if st.Reason != "" {
		fmt.Fprint(in.stdout, ": ", st.Reason)
	}
	if !protocol.CommandEnded(st.State) {
		fmt.Fprintf(in.stdout, "; the agent may begin until %s", st.NotAfter.Format(time.RFC3339))
	}
	fmt.Fprintln(in.stdout)
	if file != nil {
		fmt.Fprintln(in.stdout, "wrote", *file)
	}
	return nil
}

// bundleCommand asks for a bundle and writes it, whole or not at all.
func bundleCommand(ctx context.Context, in *invocation) error {
	t, ready := newTarget(in, "store bundle", "")
	out := t.String("out", "", "`file` to write (default STORE-AGENT-TIME.tar.gz here)")
	order := newOrder(t, 2*time.Minute)
	if err := errors.Join(ready(), t.noWords(), order.check()); err != nil {
		return err
	}
	if *out == "" {
		*out = fmt.Sprintf("%s-%s-%s.tar.gz", t.origin.Store, t.origin.Agent, time.Now().UTC().Format("20060102T150405Z"))
	}
	if _, err := os.Lstat(*out); err == nil {
		return fmt.Errorf("%w: --out %s is there already; name another file", errUsage, *out)
	}
	st, err := order.give(ctx, map[string]any{"kind": protocol.CommandBundle})
	if err != nil {
		return err
	}
	if st.State != protocol.CommandDone {
		return errors.Join(t.sayCommand(in, &st, nil), order.end(&st))
	}
	b, err := t.call(ctx, http.MethodGet, nil, "commands", st.CommandID, "bundle")
	if isCode(err, "no_bundle") {
		return fmt.Errorf("the aggregator keeps the newest bundles only, and %s is not among them; ask for another one", st.CommandID)
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(*out+".tmp", b, 0o600); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := os.Rename(*out+".tmp", *out); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return t.sayCommand(in, &st, out)
}

func copiesCommand(ctx context.Context, in *invocation) error {
	t, ready := newTarget(in, "store copies", "")
	if err := errors.Join(ready(), t.noWords()); err != nil {
		return err
	}
	b, err := t.call(ctx, http.MethodGet, nil, "copies")
	return t.sayCopies(in, b, err)
}

// pickCommand takes the beginning of a boot id where that is one copy's alone.
func pickCommand(ctx context.Context, in *invocation) error {
	t, ready := newTarget(in, "store pick", "The one to pick is the machine that stands in the shop. Nothing of the others is lost: they are merged\nunder a name of their own, and events that both have count once.\n\n")
	boot := t.String("boot", "", "boot `id` of the copy that goes on, or its beginning; `store copies` lists them")
	if err := errors.Join(ready(), t.noWords()); err != nil {
		return err
	}
	if *boot == "" {
		return fmt.Errorf("%w: --boot is missing; `tillwire-aggregator store copies --store %s --agent %s` lists the copies", errUsage, t.origin.Store, t.origin.Agent)
	}
	var v protocol.Copies
	b, err := t.call(ctx, http.MethodGet, nil, "copies")
	if err := into(b, err, &v); err != nil {
		return err
	}
	var meant []string
	for _, c := range v.Copies {
		if strings.HasPrefix(c.BootID, *boot) {
			meant = append(meant, c.BootID)
		}
	}
	if len(meant) != 1 {
		return fmt.Errorf("%w: --boot %q is the beginning of %d copies, must be of one; `store copies` lists them", errUsage, *boot, len(meant))
	}
	b, err = t.call(ctx, http.MethodPost, map[string]string{"boot_id": meant[0]}, "pick")
	return t.sayCopies(in, b, err)
}

// sayCopies prints who speaks under one name.
func (t *target) sayCopies(in *invocation, b []byte, err error) error {
	var v protocol.Copies
	if err := into(b, err, &v); err != nil {
		return err
	}
	if t.json {
		return raw(in, b)
	}
	fmt.Fprintf(in.stdout, "%s: %s since %s: %s\n", t.origin, v.State, v.QuarantinedAt.Format(time.RFC3339), v.Reason)
	w := tabwriter.NewWriter(in.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BOOT\tINSTALL\tVERSION\tHEAD SEQ\tFIRST HEARD\tLAST HEARD\tMERGED AS")
	for _, c := range v.Copies {
		as := string(c.Agent)
		if as == "" {
			as = "–"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", c.BootID, c.InstallID, c.Version, c.HeadSeq, c.FirstAt.Format(time.RFC3339), c.LastAt.Format(time.RFC3339), as)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if v.State == protocol.CopiesPicked {
		_, err = fmt.Fprintf(in.stdout, "%s goes on as %s, picked by %s. Give the other machine an agent name of its own.\n", v.Picked, t.origin.Agent, v.PickedBy)
		return err
	}
	_, err = fmt.Fprintf(in.stdout, "Nothing of them is merged until one is picked: tillwire-aggregator store pick --store %s --agent %s --boot ID\n", t.origin.Store, t.origin.Agent)
	return err
}
