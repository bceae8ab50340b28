package vendure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"tillwire/aggregator/channel"
)

// admin speaks to the shop's admin API.
type admin struct {
	url, user, password string
	client              *http.Client

	mu    sync.Mutex // guards what follows
	token string
}

// What a call can come to.
var (
	errAway    = errors.New("the shop does not answer")            // nobody knows whether the call arrived
	errBusy    = errors.New("the shop asks for fewer calls")       // 429
	errFailed  = errors.New("the shop failed")                     // 5xx
	errLogin   = errors.New("the shop does not accept the log-in") // a person must act
	errRefused = errors.New("the shop refuses the call")
)

// call asks once, and once more after logging in where the session is over.
func (a *admin) call(ctx context.Context, query string, vars map[string]any, into any) (after time.Duration, err error) {
	a.mu.Lock()
	token := a.token
	a.mu.Unlock()
	if token != "" {
		after, err = a.post(ctx, token, query, vars, into)
		if !errors.Is(err, errLogin) {
			return after, err
		}
	}
	if token, err = a.login(ctx); err != nil {
		return 0, err
	}
	return a.post(ctx, token, query, vars, into)
}

func (a *admin) login(ctx context.Context) (string, error) {
	var r struct {
		Login struct {
			Type    string `json:"__typename"`
			Message string `json:"message"`
		} `json:"login"`
	}
	token, _, err := a.send(ctx, "", `mutation($u:String!,$p:String!){login(username:$u,password:$p){__typename ... on ErrorResult{message}}}`, map[string]any{"u": a.user, "p": a.password}, &r)
	switch {
	case err != nil:
		return "", err
	case r.Login.Type != "CurrentUser" || token == "":
		return "", fmt.Errorf("%w: %s %s", errLogin, r.Login.Type, r.Login.Message)
	}
	a.mu.Lock()
	a.token = token
	a.mu.Unlock()
	return token, nil
}

func (a *admin) post(ctx context.Context, token, query string, vars map[string]any, into any) (time.Duration, error) {
	_, after, err := a.send(ctx, token, query, vars, into)
	return after, err
}

func (a *admin) send(ctx context.Context, token, query string, vars map[string]any, into any) (fresh string, after time.Duration, err error) {
	body, err := json.Marshal(map[string]any{"query": query, "variables": vars})
	if err != nil {
		return "", 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, channel.CallTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return "", 0, fmt.Errorf("%w: %w", errAway, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := channel.Drain(resp.Body)
	after = channel.RetryAfter(resp.Header, time.Now())
	switch {
	case err != nil:
		return "", 0, fmt.Errorf("%w: %w", errFailed, err)
	case resp.StatusCode == http.StatusTooManyRequests:
		return "", after, errBusy
	case resp.StatusCode >= 500:
		return "", after, fmt.Errorf("%w: %d %s", errFailed, resp.StatusCode, channel.Excerpt(string(text)))
	}
	return resp.Header.Get("Vendure-Auth-Token"), 0, read(text, into)
}

// read takes the data of an answer, or says what is wrong with it.
func read(text []byte, into any) error {
	var r struct {
		Data   json.RawMessage `json:"data"`
		Errors []struct {
			Message    string `json:"message"`
			Extensions struct {
				Code string `json:"code"`
			} `json:"extensions"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%w: the answer is no GraphQL: %s", errFailed, channel.Excerpt(string(text)))
	}
	if len(r.Errors) > 0 {
		e := r.Errors[0]
		if e.Extensions.Code == "FORBIDDEN" || strings.Contains(e.Message, "not currently authorized") {
			return fmt.Errorf("%w: %s", errLogin, e.Message)
		}
		return fmt.Errorf("%w: %s", errRefused, channel.Excerpt(e.Message))
	}
	if err := json.Unmarshal(r.Data, into); err != nil {
		return fmt.Errorf("%w: %w", errFailed, err)
	}
	return nil
}
