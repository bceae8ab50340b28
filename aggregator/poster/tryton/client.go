package tryton

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tillwire/aggregator/poster"
)

// client is one session. One goroutine uses it.
type client struct {
	url, user, password string
	http                *http.Client

	session string // of the Authorization header; "" = not logged in
	userID  int64
	ctx     map[string]any // of each call, as Tryton gave it to the session
	extra   map[string]any // beside it, whatever the session
}

// fault is an error that Tryton itself tells: HTTP 200 with "error":[kind, …].
type fault struct {
	kind string
	args []json.RawMessage
}

func (f *fault) Error() string {
	var first string
	if len(f.args) > 0 {
		if json.Unmarshal(f.args[0], &first) != nil {
			var list []string
			if json.Unmarshal(f.args[0], &list) == nil {
				first = strings.Join(list, " ")
			}
		}
	}
	if f.kind != faultUser && f.kind != faultWarning {
		return clipText(f.kind) // an exception of the server's: then a traceback follows, which is nobody's business
	}
	return clipText(first)
}

// Kinds of faults.
const (
	faultUser    = "UserError"
	faultWarning = "UserWarning"
)

// login opens a session. It tells a wrong password from a server that is away.
func (c *client) login(ctx context.Context) error {
	c.session = ""
	var got []json.RawMessage
	err := c.roundTrip(ctx, "common.db.login", []any{c.user, map[string]string{"password": c.password}, "en"}, &got)
	if err != nil && !errors.Is(err, errSession) {
		return err
	}
	var id int64
	var token string
	if err != nil || len(got) < 2 || json.Unmarshal(got[0], &id) != nil || json.Unmarshal(got[1], &token) != nil {
		return &poster.Refusal{Remedy: poster.Fatal, Code: "login_refused", Reason: "Tryton does not accept the user or its password"}
	}
	c.userID = id
	c.session = base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%d:%s", c.user, id, token))
	c.ctx = map[string]any{}
	if err := c.roundTrip(ctx, "model.res.user.get_preferences", []any{true, map[string]any{}}, &c.ctx); err != nil {
		return err
	}
	return nil
}

// call asks for a method of a model; the context goes last. A session that Tryton
// has forgotten is opened anew, once: the call did not begin then.
func (c *client) call(ctx context.Context, into any, method string, params ...any) error {
	for again := false; ; again = true {
		if c.session == "" {
			if err := c.login(ctx); err != nil {
				return err
			}
		}
		err := c.roundTrip(ctx, method, append(append([]any{}, params...), c.context()), into)
		if errors.Is(err, errSession) && !again {
			c.session = ""
			continue
		}
		if errors.Is(err, errSession) {
			return &poster.Refusal{Remedy: poster.Retry, Code: "session_lost", Reason: "Tryton forgets our session at once", Down: true}
		}
		return err
	}
}

func (c *client) context() map[string]any {
	if c.extra == nil {
		return c.ctx
	}
	both := maps.Clone(c.ctx)
	maps.Copy(both, c.extra)
	return both
}

// work is call for a workflow's step: warnings, which Tryton shows its users once,
// are answered as its own client does, and the step is asked for again.
func (c *client) work(ctx context.Context, method string, ids []int64) error {
	for n := 0; ; n++ {
		err := c.call(ctx, nil, method, ids)
		var f *fault
		if !errors.As(err, &f) || f.kind != faultWarning || n == warningsMax {
			return err
		}
		var names []string
		var name string
		if len(f.args) > 0 && json.Unmarshal(f.args[0], &name) != nil && json.Unmarshal(f.args[0], &names) == nil && len(names) > 0 {
			name = names[0]
		}
		if err := c.call(ctx, nil, "model.res.user.warning.create", []any{map[string]any{"user": c.userID, "name": name, "always": false}}); err != nil {
			return err
		}
	}
}

var errSession = errors.New("tryton: session is not known")

// roundTrip is one request. What HTTP says is told as a refusal.
func (c *client) roundTrip(ctx context.Context, method string, params []any, into any) error {
	body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask for %s: %w", method, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.session != "" {
		req.Header.Set("Authorization", "Session "+c.session)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return &poster.Refusal{Remedy: poster.Retry, Code: "erp_unreachable", Reason: fmt.Sprintf("%s: %v", method, err), Down: true}
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return c.refused(method, resp)
	}
	var got struct {
		Result json.RawMessage   `json:"result"`
		Error  []json.RawMessage `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, answerBytesMax)).Decode(&got); err != nil {
		return &poster.Refusal{Remedy: poster.Retry, Code: "erp_answer", Reason: fmt.Sprintf("the answer to %s is cut or no JSON: %v", method, err), Down: true}
	}
	if got.Error != nil {
		return faultOf(got.Error)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(got.Result, into); err != nil {
		return &poster.Refusal{Remedy: poster.Fatal, Code: "erp_answer", Reason: fmt.Sprintf("the answer to %s is not what Tryton 6.0 says: %v", method, err)}
	}
	return nil
}

func faultOf(list []json.RawMessage) error {
	f := &fault{kind: "error"}
	if len(list) > 0 {
		if json.Unmarshal(list[0], &f.kind) != nil {
			f.kind = "error"
		}
		f.args = list[1:]
		var nested []json.RawMessage
		if len(f.args) == 1 && json.Unmarshal(f.args[0], &nested) == nil {
			f.args = nested // UserError and UserWarning: [kind, [name, message, …]]
		}
	}
	return f
}

// refused reads an HTTP status that is no answer.
func (c *client) refused(method string, resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, errorBytesMax))
	what := fmt.Sprintf("%s: HTTP %d", method, resp.StatusCode)
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return errSession
	case http.StatusForbidden, http.StatusNotFound:
		return &poster.Refusal{
			Remedy: poster.Fatal, Code: "erp_method", Reason: what + ": Tryton has no such method or database, or the user may not: are the modules stock and product active, and is url http://host:port/DATABASE/?",
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &poster.Refusal{Remedy: poster.Retry, Code: "erp_busy", Reason: what, Down: true, After: time.Duration(min(max(after, 0), 3600)) * time.Second}
	}
	return &poster.Refusal{Remedy: poster.Retry, Code: "erp_http", Reason: what + " " + clipText(string(text)), Down: true}
}

// clipText is one line for people.
func clipText(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > 300 {
		s = s[:300]
	}
	return strings.ToValidUTF8(s, "")
}
