package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tillwire/agent"
	"tillwire/protocol"
)

const enrolTimeout = 30 * time.Second

// client asks the aggregator once, or the agent on this machine.
var client = &http.Client{Timeout: enrolTimeout}

// enrollCommand trades a one-off token for this host's credential and writes
// the configuration. Run again, it says that nothing is to be done.
func enrollCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	at := f.String("aggregator", "", "`URL` of the aggregator, e.g. https://stock.example")
	token := f.String("token", "", "one-off enrolment `token`; - reads it from stdin's first line")
	again := f.Bool("again", false, "enrol anew though this host is enrolled: its key was lost, stolen or revoked")
	if err := f.parse(in); err != nil {
		return err
	}
	base, err := url.Parse(*at)
	switch {
	case *at == "" || *token == "" || *f.store == "":
		return fmt.Errorf("%w: --aggregator, --token and --store are needed", errUsage)
	case err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https"):
		return fmt.Errorf("%w: --aggregator %q is not an http or https URL", errUsage, *at)
	}
	path := *f.config
	if path == "" {
		path = agent.DefaultConfigPath()
	}
	none := func(string) (string, bool) { return "", false } // what is written comes from the file and the flags
	c, err := agent.LoadConfig(existing(path), none)
	if err != nil {
		return err
	}
	name := c.Agent
	if *f.agent != "" {
		name = *f.agent
	}
	if (c.Link.Token != "" || c.Link.CertFile != "") && (!*again || c.Store != *f.store || c.Agent != name) {
		return enrolled(in.stdout, path, c, *f.store, name)
	}
	c.Store, c.Agent, c.Dev = *f.store, name, c.Dev || *f.dev
	if *f.dataDir != "" {
		if c.DataDir, err = filepath.Abs(*f.dataDir); err != nil {
			return fmt.Errorf("find data folder: %w", err)
		}
	}
	c.Link.CertFile, c.Link.KeyFile, c.Link.Token = "", "", "" // of before
	if err := c.Check(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	secret, err := readToken(*token, in.stdin)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(base.Hostname()); base.Scheme == "http" && base.Hostname() != "localhost" && !ip.IsLoopback() {
		fmt.Fprintf(in.stderr, "warning: %s is not https; token and credential travel in the clear\n", base)
	}
	return enrolAs(ctx, in.stdout, base, secret, path, c)
}

// enrolled says that nothing is to be done, or why it must not be done: the
// journal beside this configuration belongs to the store that it names.
func enrolled(w io.Writer, path string, c agent.Config, store, name string) error {
	if c.Store != store || c.Agent != name {
		return fmt.Errorf("%s is enrolled as %s/%s already; use another --config and --data-dir for %s/%s, or delete link.token there and move the journal away", path, c.Store, c.Agent, store, name)
	}
	_, err := fmt.Fprintf(w, "%s is enrolled as %s/%s already; nothing to do. --again enrols it anew.\n", path, c.Store, c.Agent)
	return err
}

// readToken keeps the secret out of process lists: - reads stdin's first line.
func readToken(token string, stdin io.Reader) (string, error) {
	if token != "-" {
		return token, nil
	}
	line, err := bufio.NewReader(io.LimitReader(stdin, 4096)).ReadString('\n')
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("%w: --token - found no token on stdin (%w)", errUsage, err)
	}
	return line, nil
}

// enrolAs spends the token when the file it pays for can be written.
func enrolAs(ctx context.Context, w io.Writer, base *url.URL, token, path string, c agent.Config) error {
	//nolint:gosec // the service's own user reads link.ca_file and inbox.mapping there
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make configuration folder: %w; it takes root or an administrator", err)
	}
	file, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write configuration: %w; it takes root or an administrator", err)
	}
	defer func() { _ = os.Remove(file.Name()) }() // gone already where all went well
	key, csr, err := agent.Request(&c)
	if err != nil {
		_ = file.Close()
		return err
	}
	got, err := enrol(ctx, base, protocol.Enroll{Token: token, Store: protocol.StoreID(c.Store), Agent: protocol.AgentID(c.Agent), CSR: string(csr)})
	if err == nil {
		err = keep(&c, got, key)
	}
	if err != nil {
		_ = file.Close()
		return err
	}
	if err := writeConfig(file, path, base, c, got); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "enrolled %s/%s; wrote %s (broker %s)\nnext: tillwire-agent install, then tillwire-agent start\n", got.Store, got.Agent, path, got.Broker)
	return err
}

// keep writes what the host is to prove itself by, where it is more than a token.
func keep(c *agent.Config, got *protocol.Enrolled, key *ecdsa.PrivateKey) error {
	switch {
	case got.Certificate != "":
		return agent.SaveIdentity(c, []byte(got.Certificate), []byte(got.CA), key)
	case got.CA != "":
		return agent.SaveCA(c, []byte(got.CA))
	}
	return nil
}

func empty(s string) bool { return s == "" }

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
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base.JoinPath("/v1/enroll").String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	asks := *client
	pin := pinOf(req.Token)
	if pin != "" {
		asks.Transport = &http.Transport{TLSClientConfig: pinned(base.Hostname(), pin)}
	}
	resp, err := asks.Do(r)
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
			return nil, fmt.Errorf("the aggregator refused: %s; %s", strings.Join(slices.DeleteFunc([]string{p.Title, p.Detail}, empty), ": "), p.Hint)
		}
		return nil, fmt.Errorf("%s answered %s; is it a Tillwire aggregator?", base, resp.Status)
	}
	var got protocol.Enrolled
	if err := json.Unmarshal(b, &got); err != nil {
		return nil, fmt.Errorf("read the aggregator's answer: %w", err)
	}
	if got.CA != "" && pin != "" && !holdsPin([]byte(got.CA), pin) {
		return nil, fmt.Errorf("the authority that %s names is not the one in the token; somebody may answer in its place: tell central ops", base)
	}
	if (got.Token == "") == (got.Certificate == "") || got.Certificate != "" && got.CA == "" || got.Broker == "" || got.Store != req.Store || got.Agent != req.Agent {
		return nil, fmt.Errorf("the aggregator's answer is for %s/%s and lacks a part; is %s a Tillwire aggregator?", got.Store, got.Agent, base)
	}
	return &got, nil
}

// writeConfig puts the credential into agent.toml, whole or not at all, keeping
// the keys that stood there.
func writeConfig(file *os.File, path string, base *url.URL, c agent.Config, got *protocol.Enrolled) error {
	c.Store, c.Agent = string(got.Store), string(got.Agent)
	c.Link.Broker, c.Link.Token = got.Broker, got.Token
	if u := got.Update; u != nil {
		c.Update = agent.UpdateConfig{URL: base.String(), Keys: u.Keys, Threshold: u.Threshold, KeysVersion: u.KeysVersion}
	}
	b, err := c.TOML()
	if err == nil {
		_, err = file.Write(b)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
