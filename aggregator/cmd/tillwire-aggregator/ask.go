package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tillwire/aggregator"
	"tillwire/protocol"
)

const (
	askBytesMax = 8 << 20 // of an answer
	askTakes    = 30 * time.Second
	keyVariable = "TILLWIRE_API_KEY" // of an aggregator elsewhere
)

// asker speaks to a running aggregator.
type asker struct {
	base   *url.URL
	key    string
	client http.Client
}

// askOwn speaks to the aggregator that serves the data folder, with a key made of
// the folder's own secret: who may read that may do anything anyway.
func askOwn(c aggregator.Config, role, name string, takes time.Duration) (*asker, error) {
	var at struct {
		HTTP   string `json:"http"`
		Scheme string `json:"scheme"`
	}
	b, err := os.ReadFile(filepath.Join(c.DataDir, "addresses.json"))
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	if err != nil {
		return nil, fmt.Errorf("find the running aggregator: %w; name its data folder with --data-dir", err)
	}
	key, err := aggregator.PassingKey(c, role, name)
	if err != nil {
		return nil, err
	}
	a := &asker{&url.URL{Scheme: "http", Host: reachable(at.HTTP)}, key, http.Client{Timeout: takes}}
	if at.Scheme != "" {
		tlsConfig, err := aggregator.AskTLS(c)
		if err != nil {
			return nil, fmt.Errorf("find the running aggregator's certificate: %w; name its configuration with --config", err)
		}
		a.base.Scheme, a.client.Transport = at.Scheme, &http.Transport{TLSClientConfig: tlsConfig}
	}
	return a, nil
}

// askAt speaks to an aggregator elsewhere. Its key comes from the environment: a
// flag would show it to everybody who lists processes.
func askAt(at string, lookup func(string) (string, bool), takes time.Duration) (*asker, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: --url %q is not an http or https URL, e.g. https://stock.example", errUsage, at)
	}
	key, _ := lookup(keyVariable)
	return &asker{u, key, http.Client{Timeout: takes}}, nil
}

// reachable turns "all addresses" into the one that is always there.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// do sends a request and gives the body of an answer of 2xx. Anything else is an
// error in the aggregator's words.
func (a *asker) do(ctx context.Context, method string, path []string, body any) ([]byte, error) {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		send = bytes.NewReader(b)
	}
	for n := range path {
		path[n] = url.PathEscape(path[n])
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base.JoinPath(path...).String(), send)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	if send != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.key != "" {
		req.Header.Set("Authorization", "Bearer "+a.key)
	}
	resp, err := a.client.Do(req) //nolint:gosec // the address that the caller named, or our own
	if err != nil {
		return nil, fmt.Errorf("%w: no aggregator answers on %s (%w); is it running?", errNotReady, a.base.Host, errors.Unwrap(err))
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, askBytesMax))
	if err != nil {
		return nil, fmt.Errorf("read the aggregator's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, refusal(resp, b)
	}
	return b, nil
}

// refused is an answer other than 2xx.
type refused struct {
	status int
	code   string
	said   string
}

func (r *refused) Error() string { return r.said }

// Is makes "try again" the exit code that says so.
func (r *refused) Is(target error) bool {
	return target == errNotReady && (r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests) //nolint:errorlint // a sentinel of ours
}

// refusal puts a problem into one line: the fields, what is wrong, the remedy.
func refusal(resp *http.Response, b []byte) error {
	var p protocol.Problem
	if json.Unmarshal(b, &p) != nil || p.Code == "" {
		return &refused{resp.StatusCode, "", fmt.Sprintf("%s answered %s; is it a Tillwire aggregator?", resp.Request.URL.Host, resp.Status)}
	}
	said := p.Title
	for _, e := range p.Errors {
		said += fmt.Sprintf(": %s %s", strings.TrimPrefix(e.Pointer, "/"), e.Message)
	}
	if len(p.Errors) == 0 && p.Detail != "" {
		said += ": " + p.Detail
	}
	if p.Hint != "" {
		said += "; " + p.Hint
	}
	return &refused{resp.StatusCode, p.Code, said}
}

// isCode tells an answer by its code.
func isCode(err error, code string) bool {
	var r *refused
	return errors.As(err, &r) && r.code == code
}

// into reads an answer.
func into(b []byte, err error, v any) error {
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read the aggregator's answer: %w", err)
	}
	return nil
}
