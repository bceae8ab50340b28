package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tillwire/agent"
	"tillwire/protocol"
)

const enrolTimeout = 30 * time.Second

// enrollCommand trades a one-off token for this host's credential and writes
// the configuration. Run again, it says that nothing is to be done.
func enrollCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in, "enroll")
	at := f.String("aggregator", "", "`URL` of the aggregator, e.g. https://stock.example")
	token := f.String("token", "", "one-off enrolment `token`; - reads it from stdin's first line")
	if err := f.parse(in); err != nil {
		return err
	}
	path := *f.config
	if path == "" {
		path = agent.DefaultConfigPath()
	}
	c, err := agent.LoadConfig(existing(path), in.lookup)
	if err != nil {
		return err
	}
	if *f.agent != "" {
		c.Agent = *f.agent
	}
	if c.Store == *f.store && c.Link.Token != "" && *f.store != "" {
		fmt.Fprintf(in.stdout, "%s is already enrolled as %s/%s; nothing to do. Delete link.token there to enrol again.\n", path, c.Store, c.Agent)
		return nil
	}
	c.Store = *f.store
	if *at == "" || *token == "" || c.Store == "" {
		return fmt.Errorf("%w: --aggregator, --token and --store are needed", errUsage)
	}
	base, err := url.Parse(*at)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return fmt.Errorf("%w: --aggregator %q is not an http or https URL", errUsage, *at)
	}
	got, err := enrol(ctx, base, protocol.Enroll{Token: *token, Store: protocol.StoreID(c.Store), Agent: protocol.AgentID(c.Agent)})
	if err != nil {
		return err
	}
	if err := writeConfig(path, c, got); err != nil {
		return err
	}
	fmt.Fprintf(in.stdout, "enrolled %s/%s; wrote %s (broker %s)\nnext: tillwire-agent install, then tillwire-agent start\n", got.Store, got.Agent, path, got.Broker)
	return nil
}

// existing is path where a file is there, else "".
func existing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

func enrol(ctx context.Context, base *url.URL, req protocol.Enroll) (*protocol.Enrolled, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base.JoinPath("/v1/enroll").String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("reach the aggregator: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, protocol.ControlBytesMax))
	if err != nil {
		return nil, fmt.Errorf("read the aggregator's answer: %w", err)
	}
	if resp.StatusCode != http.StatusCreated {
		var p protocol.Problem
		if json.Unmarshal(b, &p) == nil && p.Code != "" {
			return nil, fmt.Errorf("the aggregator refused: %s (%s); %s", p.Title, p.Detail, p.Hint)
		}
		return nil, fmt.Errorf("the aggregator answered %s", resp.Status)
	}
	var got protocol.Enrolled
	if err := json.Unmarshal(b, &got); err != nil || got.Token == "" {
		return nil, fmt.Errorf("the aggregator's answer cannot be read: %w", err)
	}
	return &got, nil
}

// writeConfig puts the credential into agent.toml, whole or not at all, keeping
// what stood there.
func writeConfig(path string, c agent.Config, got *protocol.Enrolled) error {
	c.Store, c.Agent = string(got.Store), string(got.Agent)
	c.Link.Broker, c.Link.Token = got.Broker, got.Token
	b, err := c.TOML()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make configuration folder: %w", err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// statusCommand asks the running agent.
func statusCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in, "status")
	asJSON := f.Bool("json", false, "print the agent's status as JSON")
	if err := f.parse(in); err != nil {
		return err
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	addr := c.HTTP.Listen
	var picked struct {
		HTTP string `json:"http"`
	}
	if b, err := os.ReadFile(filepath.Join(c.DataDir, "addresses.json")); err == nil && json.Unmarshal(b, &picked) == nil && picked.HTTP != "" {
		addr = picked.HTTP
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/status", nil)
	if err != nil {
		return err
	}
	if len(c.HTTP.Tokens) > 0 {
		r.Header.Set("Authorization", "Bearer "+c.HTTP.Tokens[0])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("%w: no agent answers on %s; start it with `tillwire-agent start`, and look into its log if it does not stay up", errNotReady, addr)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, protocol.BodyBytesMax))
	if err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: the agent on %s answers %s", errNotReady, addr, resp.Status)
	}
	if *asJSON {
		_, err = in.stdout.Write(append(bytes.TrimSpace(b), '\n'))
		return err
	}
	return sayStatus(in.stdout, b)
}

// sayStatus says in words what the status page shows.
func sayStatus(w io.Writer, b []byte) error {
	var s struct {
		Store  string `json:"store"`
		Agent  string `json:"agent"`
		Advice struct {
			Headline string `json:"headline"`
			Detail   string `json:"detail"`
			Action   string `json:"action"`
		} `json:"advice"`
		Link struct {
			State     string `json:"state"`
			Broker    string `json:"broker"`
			LastError string `json:"last_error"`
		} `json:"link"`
		Journal struct {
			Phase   string `json:"phase"`
			Head    uint64 `json:"head_seq"`
			Merged  uint64 `json:"merged_seq"`
			Backlog uint64 `json:"backlog_events"`
		} `json:"journal"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	fmt.Fprintf(w, "%s/%s  link %s (%s)  journal %s\n%d events journaled, %d merged by the aggregator, %d waiting\n",
		s.Store, s.Agent, s.Link.State, s.Link.Broker, s.Journal.Phase, s.Journal.Head, s.Journal.Merged, s.Journal.Backlog)
	if s.Link.LastError != "" {
		fmt.Fprintf(w, "last link error: %s\n", s.Link.LastError)
	}
	if s.Advice.Headline != "" {
		fmt.Fprintln(w, strings.TrimSpace(s.Advice.Headline+" "+s.Advice.Detail))
	}
	if s.Advice.Action != "" {
		fmt.Fprintln(w, "what to do: "+s.Advice.Action)
	}
	if s.Journal.Phase != "running" {
		return fmt.Errorf("%w: the journal is %s", errNotReady, s.Journal.Phase)
	}
	return nil
}
