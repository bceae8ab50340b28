package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tillwire/agent"
	"tillwire/protocol"
)

// statusCommand asks the running agent.
func statusCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	asJSON := f.Bool("json", false, "print the agent's status as JSON")
	if err := f.parse(in); err != nil {
		return err
	}
	c, err := f.load(in)
	if err != nil {
		return err
	}
	b, err := askAgent(ctx, c, "/v1/status")
	if err != nil {
		return err
	}
	if *asJSON {
		_, err = in.stdout.Write(append(bytes.TrimSpace(b), '\n'))
		return err
	}
	return sayStatus(in.stdout, b)
}

// askAgent gets a page of the agent that works on the data folder.
func askAgent(ctx context.Context, c agent.Config, page string) ([]byte, error) {
	addr := c.HTTP.Listen
	var picked struct {
		HTTP string `json:"http"`
	}
	if b, err := os.ReadFile(filepath.Join(c.DataDir, "addresses.json")); err == nil && json.Unmarshal(b, &picked) == nil && picked.HTTP != "" {
		addr = picked.HTTP
	}
	addr = reachable(addr)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+page, nil)
	if err != nil {
		return nil, err
	}
	if len(c.HTTP.Tokens) > 0 {
		r.Header.Set("Authorization", "Bearer "+c.HTTP.Tokens[0])
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w: no agent answers on %s; start it with `tillwire-agent start`, and look into its log if it does not stay up", errNotReady, addr)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, protocol.BodyBytesMax))
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: the agent on %s answers %s", errNotReady, addr, resp.Status)
	}
	return b, nil
}

// reachable turns "all addresses" into the one that is always there.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || (ip != nil && ip.IsUnspecified())) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
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
	fmt.Fprintf(w, "%s/%s: link %s, journal %s\n%d events journaled, %d merged by the aggregator, %d waiting\n",
		s.Store, s.Agent, strings.TrimSpace(s.Link.State+" "+s.Link.Broker), s.Journal.Phase, s.Journal.Head, s.Journal.Merged, s.Journal.Backlog)
	if s.Advice.Headline != "" {
		fmt.Fprintln(w, strings.TrimSpace(s.Advice.Headline+". "+s.Advice.Detail))
	}
	if s.Link.LastError != "" {
		fmt.Fprintln(w, "last error of the link: "+s.Link.LastError)
	}
	if s.Advice.Action != "" {
		fmt.Fprintln(w, "what to do: "+s.Advice.Action)
	}
	if s.Journal.Phase != "running" {
		return fmt.Errorf("%w: the journal is %s", errNotReady, s.Journal.Phase)
	}
	return nil
}
