package marketplace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// tell makes one call and takes what it came to.
func (m *Connector) tell(ctx context.Context, batch []gateway.Owed) {
	offers := make([]offer, len(batch))
	for i, o := range batch {
		offers[i], _ = m.offerOf(o.Key) // what nobody ever had is 0
	}
	reply, list, err := m.call(ctx, offers)
	if err != nil && ctx.Err() == nil && m.notes.Failed(err, m.o.Now()) {
		m.o.Log.Warn().Err(err).Str("connector", m.c.Name).Msg("marketplace not told; it is tried on")
	}
	verdicts := map[string]gateway.Verdict{}
	for i := range list {
		verdicts[offers[i].key] = m.heard(ctx, &offers[i], &list[i])
	}
	m.mu.Lock()
	for i := range list {
		if list[i].verdict == gateway.Accepted && len(m.told) < toldMax {
			m.told[offers[i].key] = offers[i].quantity
		}
	}
	m.teller.Done(batch, reply, verdicts, err != nil || reply.Throttled)
	m.mu.Unlock()
}

// heard notes what was said of one offer. A refusal is durable before it is one.
func (m *Connector) heard(ctx context.Context, o *offer, s *said) gateway.Verdict {
	now := m.o.Now()
	switch s.verdict {
	case gateway.Accepted:
		m.notes.Went(o.sku, m.d.operation, now)
	case gateway.Refused:
		d := protocol.DeadLetter{
			ID: letterID(o.key), At: now.UTC(), Kind: m.d.operation, Reason: s.reason, Attempts: 1,
			Keys: []string{strings.ReplaceAll(o.key, "\x00", " @ ")}, Document: strconv.FormatInt(o.quantity, 10),
		}
		if err := m.letters.Add(ctx, d); err != nil {
			return gateway.Again
		}
	case gateway.Again, gateway.Apart:
		if s.reason != "" {
			m.notes.Failed(errors.New(o.sku+": "+s.reason), now)
		}
	}
	return s.verdict
}

// letterID is one per listing: a second refusal replaces the first.
func letterID(key string) string { return url.QueryEscape(strings.ReplaceAll(key, "\x00", "@")) }

// call is one request and its answer.
func (m *Connector) call(ctx context.Context, offers []offer) (gateway.Reply, []said, error) {
	c := m.d.write(&m.c, offers)
	body, err := json.Marshal(c.body)
	if err != nil {
		return gateway.Reply{}, nil, fmt.Errorf("encode call: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), channel.CallTimeout) // a call that is out is heard to its end
	defer cancel()
	token, err := m.tokens.get(ctx)
	if err != nil {
		return gateway.Reply{RetryAfterUS: loginAgainIn.Microseconds(), Failed: true}, nil, err
	}
	at := c.path
	if len(c.query) > 0 {
		at += "?" + c.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, c.method, strings.TrimRight(m.c.Endpoint, "/")+at, bytes.NewReader(body))
	if err != nil {
		return gateway.Reply{}, nil, fmt.Errorf("call %s: %w", m.d.operation, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "tillwire/1 (Language=Go)")
	if token != "" {
		req.Header.Set("X-Amz-Access-Token", token)
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return gateway.Reply{Lost: true}, nil, fmt.Errorf("call %s: %w", m.d.operation, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := channel.Drain(resp.Body)
	reply := gateway.Reply{Rate: rateOf(resp.Header)}
	switch {
	case err != nil:
		return reply, nil, fmt.Errorf("call %s: %w", m.d.operation, err)
	case resp.StatusCode == http.StatusTooManyRequests:
		reply.Throttled, reply.RetryAfterUS = true, channel.RetryAfter(resp.Header, m.o.Now()).Microseconds()
		return reply, nil, fmt.Errorf("call %s: 429, too many calls", m.d.operation)
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		m.tokens.forget(token)
		fallthrough
	case resp.StatusCode >= 500, resp.StatusCode < 200, resp.StatusCode >= 300 && resp.StatusCode < 400:
		reply.Failed, reply.RetryAfterUS = true, channel.RetryAfter(resp.Header, m.o.Now()).Microseconds()
		return reply, nil, fmt.Errorf("call %s: %d: %s", m.d.operation, resp.StatusCode, channel.Excerpt(string(text)))
	case resp.StatusCode >= 400:
		return reply, m.refusedAll(offers, resp.StatusCode, text), nil
	}
	list, err := m.read(resp.StatusCode, text, offers)
	return reply, list, err
}

// refusedAll is a call that is wrong as a whole. One of several offers may be to
// blame: each is tried alone then.
func (m *Connector) refusedAll(offers []offer, status int, text []byte) []said {
	out := make([]said, len(offers))
	verdict := gateway.Refused
	if len(offers) > 1 {
		verdict = gateway.Apart
	}
	for i := range out {
		out[i] = said{verdict: verdict, reason: fmt.Sprintf("%d: %s", status, channel.Excerpt(string(text)))}
	}
	return out
}

// read looks at an answer's fields first: one that is unknown is kept and reported,
// one that is missing makes the answer worthless, and the offer a dead letter.
func (m *Connector) read(status int, text []byte, offers []offer) ([]said, error) {
	unknown, missing, err := m.d.shape.Judge(text)
	if err != nil {
		return nil, fmt.Errorf("read answer of %s: %w", m.d.operation, err)
	}
	m.mu.Lock()
	fresh := m.drift.Note(m.d.operation, unknown, m.o.Now().UTC())
	m.mu.Unlock()
	if len(fresh) > 0 {
		m.o.Log.Warn().Str("connector", m.c.Name).Strs("fields", fresh).Msg("marketplace answers with fields that are not known")
	}
	if len(missing) > 0 {
		out := make([]said, len(offers))
		for i := range out {
			out[i] = said{verdict: gateway.Refused, reason: "the answer lacks " + strings.Join(missing, ", ") + ": " + channel.Excerpt(string(text))}
		}
		return out, nil
	}
	return m.d.read(status, text, offers)
}

// rateOf is the rate that an answer tells. 0: none.
func rateOf(h http.Header) float64 {
	r, err := strconv.ParseFloat(strings.TrimSpace(h.Get("X-Amzn-Ratelimit-Limit")), 64)
	if err != nil || r < 0 || r > 1e6 {
		return 0
	}
	return r
}

// Login is how the account is proved (Login with Amazon). Without a token URL calls
// carry no token.
type Login struct {
	TokenURL, ClientID, ClientSecret, RefreshToken string
}

// tokens keep the access token while it is good.
type tokens struct {
	login  Login
	client *http.Client
	now    func() time.Time

	mu    sync.Mutex // guards what follows; held while a token is fetched
	token string
	until time.Time
}

func (t *tokens) get(ctx context.Context) (string, error) {
	if t.login.TokenURL == "" {
		return "", nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && t.now().Before(t.until) {
		return t.token, nil
	}
	form := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {t.login.RefreshToken}, "client_id": {t.login.ClientID}, "client_secret": {t.login.ClientSecret},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.login.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := t.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := channel.Drain(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", errors.Join(fmt.Errorf("log in: the answer is %d", resp.StatusCode), err)
	}
	var a struct {
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &a); err != nil || a.Token == "" {
		return "", errors.New("log in: the answer has no access_token")
	}
	t.token, t.until = a.Token, t.now().Add(time.Duration(a.Expires)*time.Second-tokenSpare)
	return t.token, nil
}

// forget drops a token that was not accepted.
func (t *tokens) forget(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == token {
		t.token = ""
	}
}
