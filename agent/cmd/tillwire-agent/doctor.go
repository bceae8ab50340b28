package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	"github.com/kardianos/service"

	"tillwire/agent"
)

// doctorCommand looks at everything around the agent. A configuration that does
// not load is a finding too: it is the likeliest one.
func doctorCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	asJSON := f.Bool("json", false, "print the report as JSON")
	if err := f.parse(in); err != nil {
		return err
	}
	r := examine(ctx, f, in)
	if *asJSON {
		if err := json.NewEncoder(in.stdout).Encode(r); err != nil {
			return err
		}
	} else {
		state := "stopped"
		if r.Running {
			state = "running"
		}
		fmt.Fprintf(in.stdout, "%s (agent %s)\n", r.Config, state)
		sayItems(in.stdout, r.Items)
	}
	if r.Failed() {
		return errors.New("a person must act: see what failed, and its remedy, above")
	}
	return nil
}

func examine(ctx context.Context, f *flags, in *invocation) *agent.DoctorReport {
	path := *f.config
	if path == "" {
		path = agent.DefaultConfigPath()
	}
	c, err := f.load(in)
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		r := &agent.DoctorReport{Config: path}
		r.Add("settings", agent.CheckFailed, "correct the named key, or enrol with `tillwire-agent enroll`; `tillwire-agent config` explains the keys", "%v", err)
		return r
	}
	hints := agent.DoctorHints{ConfigPath: path}
	if runtime.GOOS == "linux" && serviceState() != "" {
		hints.User = serviceUser
	}
	var s struct {
		Advice struct{ Level, Headline, Action string } `json:"advice"`
		Link   struct {
			Offset *int64 `json:"clock_offset_ms"`
		} `json:"link"`
	}
	b, askErr := askAgent(ctx, c, "/v1/status")
	if askErr == nil {
		askErr = json.Unmarshal(b, &s)
	}
	if askErr == nil {
		hints.ClockOffsetMS = s.Link.Offset
	}
	r := agent.Doctor(ctx, c, hints)
	switch state := serviceState(); {
	case state == "":
		r.Add("service", agent.CheckWarning, "`tillwire-agent install` and `start`, so that it starts with the machine", "not installed")
	case state != "running":
		r.Add("service", agent.CheckFailed, "`tillwire-agent start`", "%s", state)
	default:
		r.Add("service", agent.CheckOK, "", "running")
	}
	switch {
	case askErr != nil && r.Running:
		r.Add("agent", agent.CheckFailed, "restart it: `tillwire-agent restart`", "%v", askErr)
	case askErr != nil:
		r.Add("agent", agent.CheckFailed, "start it: `tillwire-agent start`", "none runs on this data folder")
	default:
		result := map[string]string{"ok": agent.CheckOK, "warn": agent.CheckWarning}[s.Advice.Level]
		if result == "" {
			result = agent.CheckFailed
		}
		r.Add("agent", result, s.Advice.Action, "%s", s.Advice.Headline)
	}
	return r
}

// serviceState is "" where no service is installed, or nobody may ask.
func serviceState() string {
	s, err := service.New(idle{}, serviceConfig(""))
	if err != nil || runtime.GOOS == "linux" && s.Platform() != "linux-systemd" {
		return ""
	}
	switch status, err := s.Status(); {
	case errors.Is(err, service.ErrNotInstalled):
		return ""
	case err != nil:
		return err.Error()
	case status == service.StatusRunning:
		return "running"
	}
	return "installed, but stopped"
}
