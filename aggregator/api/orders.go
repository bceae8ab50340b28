package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"tillwire/protocol"
)

// Orders are what agents are to be like and to do.
type Orders interface {
	WantState(ctx context.Context, o protocol.Origin, values map[string]json.RawMessage, base *uint64, who string) (protocol.DesiredState, error)
	DesiredState(ctx context.Context, o protocol.Origin) (protocol.DesiredState, error)
	IssueCommand(ctx context.Context, o protocol.Origin, c protocol.Command, valid time.Duration, who string) (protocol.CommandState, error)
	ListCommands(ctx context.Context, o protocol.Origin) ([]protocol.CommandState, error)
}

const commandValid = time.Hour // where the caller does not say

func (a *API) desired(w http.ResponseWriter, r *http.Request) error {
	st, err := a.o.Orders.DesiredState(r.Context(), originOf(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, st)
}

func (a *API) putDesired(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Values    map[string]json.RawMessage `json:"values"`
		IfVersion *uint64                    `json:"if_version"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if wrong := protocol.CheckDesired(req.Values); len(wrong) > 0 {
		p := invalid("/values"+wrong[0].Pointer, wrong[0].Message, "correct the fields named in errors[]; nothing of it was set. `tillwire-aggregator store desired set --help` lists the keys")
		for n := range wrong {
			wrong[n].Pointer = "/values" + wrong[n].Pointer
		}
		p.Errors = wrong
		return p
	}
	st, err := a.o.Orders.WantState(r.Context(), originOf(r), req.Values, req.IfVersion, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, st)
}

func (a *API) commands(w http.ResponseWriter, r *http.Request) error {
	o := originOf(r)
	list, err := a.o.Orders.ListCommands(r.Context(), o)
	if err != nil {
		return err
	}
	out := make([]protocol.CommandState, 0, len(list))
	for _, c := range list {
		if c.Kind == protocol.CommandBundle {
			_, err := a.o.Bundle(o, c.CommandID)
			c.Bundle = err == nil
		}
		out = append(out, c)
	}
	return reply(w, http.StatusOK, map[string]any{"commands": out})
}

func (a *API) postCommand(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		CommandID string `json:"command_id"`
		Kind      string `json:"kind"`
		FromSeq   uint64 `json:"from_seq"`
		ValidS    int64  `json:"valid_s"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if req.CommandID == "" {
		var b [16]byte
		_, _ = rand.Read(b[:]) // crypto/rand does not fail
		req.CommandID = hex.EncodeToString(b[:])
	}
	if err := protocol.CheckName(req.CommandID); err != nil {
		return invalid("/command_id", err.Error(), "leave it out, or give your own so that a retry issues nothing twice")
	}
	valid := commandValid
	if req.ValidS != 0 {
		if valid = time.Duration(req.ValidS) * time.Second; req.ValidS < 1 || req.ValidS > validMaxS {
			return invalid("/valid_s", fmt.Sprintf("is %d", req.ValidS), fmt.Sprintf("1 to %d seconds", validMaxS))
		}
	}
	c := protocol.Command{CommandID: req.CommandID, Kind: req.Kind, FromSeq: req.FromSeq}
	st, err := a.o.Orders.IssueCommand(r.Context(), originOf(r), c, valid, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusAccepted, st)
}

func (a *API) bundle(w http.ResponseWriter, r *http.Request) error {
	b, err := a.o.Bundle(originOf(r), r.PathValue("command"))
	if errors.Is(err, fs.ErrNotExist) {
		return notFound("no_bundle", "No such bundle", r.PathValue("command"), "issue a command of kind support_bundle; GET …/commands says when its bundle is there")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("Content-Disposition", "attachment; filename=bundle.tar.gz")
	_, err = w.Write(b)
	return err
}
