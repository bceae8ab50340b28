package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// commandValid is how long a command waits for a store that is offline.
const commandValid = 24 * time.Hour

// agentData is what one agent is to be like and to do.
type agentData struct {
	*listing
	Origin   protocol.Origin
	Status   protocol.AgentStatus
	Name     string // the store's
	Desired  protocol.DesiredState
	Settings []setting
	Commands []protocol.CommandState
	Copies   *protocol.Copies
	Running  bool // a command waits for its result
}

// setting is a key of the desired state as a form shows it.
type setting struct {
	protocol.Setting
	Value string
}

func agentOf(r *http.Request) protocol.Origin {
	return protocol.Origin{Store: protocol.StoreID(r.PathValue("id")), Agent: protocol.AgentID(r.PathValue("agent"))}
}

func (w *Web) agentPage(rw http.ResponseWriter, r *http.Request) error {
	o := agentOf(r)
	s, ok := w.opts.Fleet.Status(o.Store)
	i := slices.IndexFunc(s.Agents, func(a protocol.AgentStatus) bool { return a.Agent == o.Agent })
	if !ok || i < 0 {
		return notFound("This store has no agent of this name. The store's page lists its agents.")
	}
	d := &agentData{listing: w.listing(r, r.URL.Path), Origin: o, Status: s.Agents[i], Name: s.Name}
	var err error
	if d.Desired, err = w.opts.Orders.DesiredState(r.Context(), o); err != nil {
		return w.decided("desired", err)
	}
	for _, x := range protocol.Settings() {
		d.Settings = append(d.Settings, setting{x, strings.Trim(string(d.Desired.Values[x.Key]), `"`)})
	}
	if d.Commands, err = w.opts.Orders.ListCommands(r.Context(), o); err != nil {
		return w.decided("commands", err)
	}
	for k := range d.Commands {
		c := &d.Commands[k]
		if c.Kind == protocol.CommandBundle && w.opts.Bundle != nil {
			_, err := w.opts.Bundle(o, c.CommandID)
			c.Bundle = err == nil
		}
		d.Running = d.Running || !protocol.CommandEnded(c.State)
	}
	if c, ok, err := w.opts.Orders.Copies(r.Context(), o); err == nil && ok {
		d.Copies = &c
	}
	return w.show(rw, r, "agent", o.String(), d)
}

func (w *Web) bundle(rw http.ResponseWriter, r *http.Request) error {
	if w.opts.Bundle == nil {
		return notFound("This aggregator keeps no bundles.")
	}
	b, err := w.opts.Bundle(agentOf(r), r.PathValue("command"))
	if errors.Is(err, fs.ErrNotExist) {
		return notFound("There is no such bundle, or it was deleted.")
	}
	if err != nil {
		return err
	}
	rw.Header().Set("Content-Type", "application/gzip")
	rw.Header().Set("Content-Disposition", `attachment; filename="bundle.tar.gz"`)
	_, _ = rw.Write(b) // the reader is gone: nobody to tell
	return nil
}

func (w *Web) issueCommand(rw http.ResponseWriter, r *http.Request) error {
	var in struct {
		Kind string `json:"kind"`
		From string `json:"from_seq"`
		Note string `json:"note"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return badRequest("The body must be JSON with kind and from_seq.")
	}
	if k := query(r, "kind"); k != "" {
		in.Kind = k
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	c := protocol.Command{CommandID: hex.EncodeToString(id[:]), Kind: in.Kind}
	if in.Kind == protocol.CommandReplay {
		n, err := strconv.ParseUint(strings.ReplaceAll(strings.TrimSpace(in.From), ",", ""), 10, 64)
		if err != nil || n == 0 {
			return badRequest("Say from which sequence number on, 1 for all that the journal keeps.")
		}
		c.FromSeq = n
	}
	st, err := w.opts.Orders.IssueCommand(context.WithoutCancel(r.Context()), agentOf(r), c, commandValid, who(r))
	if err != nil {
		return w.decided("command", err)
	}
	return done(rw, r, "Asked for: "+strings.ReplaceAll(st.Kind, "_", " ")+". Its result appears below; it waits a day for a store that is offline.")
}

func (w *Web) setDesired(rw http.ResponseWriter, r *http.Request) error {
	form := map[string]string{}
	if err := json.NewDecoder(r.Body).Decode(&form); err != nil {
		return badRequest("The body must be JSON: keys and values.")
	}
	values := map[string]json.RawMessage{}
	var base *uint64
	for k, v := range form {
		switch v = strings.TrimSpace(v); {
		case k == "if_version":
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				return badRequest("if_version is not a number.")
			}
			base = &n
		case v != "": // an empty field leaves the matter to the agent
			values[k] = protocol.DesiredValue(k, v)
		}
	}
	if wrong := protocol.CheckDesired(values); len(wrong) > 0 {
		return &pageError{http.StatusUnprocessableEntity, protocol.CodeInvalidField, strings.TrimPrefix(wrong[0].Pointer, "/") + " " + wrong[0].Message + "."}
	}
	st, err := w.opts.Orders.WantState(context.WithoutCancel(r.Context()), agentOf(r), values, base, who(r))
	if err != nil {
		return w.decided("desired", err)
	}
	return done(rw, r, "Version "+strconv.FormatUint(st.Version, 10)+" is on its way to the agent.")
}

func (w *Web) pickCopy(rw http.ResponseWriter, r *http.Request) error {
	if _, err := noted(r); err != nil {
		return err
	}
	if _, err := w.opts.Orders.PickCopy(context.WithoutCancel(r.Context()), agentOf(r), query(r, "boot"), who(r)); err != nil {
		return w.decided("pick", err)
	}
	return done(rw, r, "This copy goes on under the agent's name; the others are merged beside it.")
}
