package intake

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"tillwire/protocol"
)

// bodyHandler gets the whole body of a request; the bytes are reused after it
// returns.
type bodyHandler func(w http.ResponseWriter, r *http.Request, body []byte)

// mediaTypes are the Content-Types that an address takes.
type mediaTypes []string

var (
	jsonOnly    = mediaTypes{"application/json"}
	jsonOrLines = mediaTypes{"application/json", "application/x-ndjson", "application/ndjson"}
	xmlOnly     = mediaTypes{"application/xml", "text/xml"}
)

// hostSet are the names under which we may be called. A page in a browser that
// has rebound its own name to 127.0.0.1 sends its own name here.
func hostSet(more []string) map[string]bool {
	m := map[string]bool{"127.0.0.1": true, "localhost": true, "::1": true}
	for _, h := range more {
		m[strings.ToLower(strings.Trim(h, "[]"))] = true
	}
	return m
}

func hashTokens(tokens []string) [][32]byte {
	out := make([][32]byte, 0, len(tokens))
	for _, t := range tokens {
		if t != "" {
			out = append(out, sha256.Sum256([]byte(t)))
		}
	}
	return out
}

// checkHost refuses foreign names and everything that a browser sends on behalf
// of another page.
func (in *Intake) checkHost(r *http.Request) *protocol.Problem {
	if !in.ourHost(r.Host) {
		in.count.guard("host")
		return protocol.NewProblem(http.StatusMisdirectedRequest, "wrong_host", "This agent is not called by that name",
			"the Host header names another machine", "Call 127.0.0.1 or localhost, or add the name to http.hosts in agent.toml.")
	}
	if r.Header["Origin"] != nil || r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		in.count.guard("origin")
		return protocol.NewProblem(http.StatusForbidden, "browser_refused", "Pages in a browser may not call this port",
			"the request carries an Origin header", "Call from the POS program itself, not from a web page.")
	}
	return nil
}

// ourHost tells whether we may be called by the name in a Host header.
func (in *Intake) ourHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return in.hosts[host] || in.hosts[strings.ToLower(strings.Trim(host, "[]"))]
}

// knownToken compares an Authorization header in constant time, whichever token it
// is.
func (in *Intake) knownToken(authorization string) bool {
	if len(in.tokens) == 0 {
		return true
	}
	given, ok := strings.CutPrefix(authorization, "Bearer ")
	sum := sha256.Sum256([]byte(given))
	hit := 0
	for i := range in.tokens {
		hit |= subtle.ConstantTimeCompare(sum[:], in.tokens[i][:])
	}
	return ok && hit == 1
}

func (in *Intake) checkToken(r *http.Request) *protocol.Problem {
	if in.knownToken(r.Header.Get("Authorization")) {
		return nil
	}
	in.count.guard("token")
	return protocol.NewProblem(http.StatusUnauthorized, "unauthorized", "This agent asks for a token",
		"the Authorization header holds no token that is known here", "Send Authorization: Bearer with a token of http.tokens in agent.toml.")
}

// guard is for addresses without a body, behind the token.
func (in *Intake) guard(h http.HandlerFunc) http.HandlerFunc {
	return in.guardOpen(func(w http.ResponseWriter, r *http.Request) {
		if p := in.checkToken(r); p != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, p)
			return
		}
		h(w, r)
	})
}

// guardOpen is for addresses that say nothing of the shop's business.
func (in *Intake) guardOpen(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Cache-Control", "no-store")
		if p := in.checkHost(r); p != nil {
			refuse(w, p)
			return
		}
		h(w, r)
	}
}

// guardPage asks for the token only from other machines: whoever stands at the
// agent's own screen has no way to send one.
func (in *Intake) guardPage(h http.HandlerFunc) http.HandlerFunc {
	guarded := in.guard(h)
	open := in.guardOpen(h)
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsLoopback() {
			open(w, r)
			return
		}
		guarded(w, r)
	}
}

// guardBody is for addresses that take a document: after the guards the body is
// read whole, within its limit.
func (in *Intake) guardBody(types mediaTypes, h bodyHandler) http.HandlerFunc {
	return in.guard(func(w http.ResponseWriter, r *http.Request) {
		if !types.take(r.Header.Get("Content-Type")) {
			in.count.guard("content_type")
			refuse(w, protocol.NewProblem(http.StatusUnsupportedMediaType, "wrong_content_type", "This address takes another Content-Type",
				"the Content-Type header is missing or names another format", "Send Content-Type: "+strings.Join(types, " or ")+"."))
			return
		}
		select {
		case in.slots <- struct{}{}:
			defer func() { <-in.slots }()
		default:
			in.count.guard("busy")
			refuseRetry(w, protocol.NewProblem(http.StatusTooManyRequests, "queue_full", "Too many requests wait", "", "Send it again in a second, under the same document_id."), retryAfterS)
			return
		}
		buf := bodies.Get().(*bytes.Buffer)
		defer func() {
			if buf.Cap() <= pooledBytesMax {
				bodies.Put(buf)
			}
		}()
		buf.Reset()
		if p := readBody(w, r, buf); p != nil {
			in.count.guard("body")
			refuse(w, p)
			return
		}
		h(w, r, buf.Bytes())
	})
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func readBody(w http.ResponseWriter, r *http.Request, buf *bytes.Buffer) *protocol.Problem {
	large := func() *protocol.Problem {
		// The rest of the body is not read: the connection cannot be kept.
		w.Header().Set("Connection", "close")
		return protocol.NewProblem(http.StatusRequestEntityTooLarge, "body_too_large", "The body is too large",
			"more than "+strconv.Itoa(protocol.BodyBytesMax)+" bytes", "Send fewer documents or lines at once; nothing was journaled.")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return protocol.NewProblem(http.StatusUnsupportedMediaType, "wrong_content_encoding", "Compressed bodies are not taken", "the Content-Encoding header is set", "Send the body as it is.")
	}
	if r.ContentLength > protocol.BodyBytesMax {
		return large()
	}
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, protocol.BodyBytesMax))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return large()
	case err != nil && !errors.Is(err, io.EOF):
		w.Header().Set("Connection", "close")
		return protocol.NewProblem(http.StatusBadRequest, "body_incomplete", "The body ended early or came too slowly", "", "Send the whole body within 30 seconds; nothing was journaled.")
	}
	return nil
}

// take tells whether a Content-Type is one of ours, in UTF-8.
func (m mediaTypes) take(ct string) bool {
	for _, t := range m {
		if ct == t {
			return true
		}
	}
	t, params, err := mime.ParseMediaType(ct)
	if err != nil {
		return false
	}
	if cs, stated := params["charset"]; stated && !strings.EqualFold(cs, "utf-8") && !strings.EqualFold(cs, "utf8") {
		return false
	}
	for _, want := range m {
		if t == want {
			return true
		}
	}
	return false
}
