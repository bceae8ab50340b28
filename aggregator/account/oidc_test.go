package account

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// provider is a small OpenID Connect server: discovery, authorization, token and
// keys, with PKCE checked as RFC 7636 asks.
type provider struct {
	*httptest.Server
	key    *rsa.PrivateKey
	claims map[string]any    // of the person who logs in
	codes  map[string]string // code → challenge
	nonces map[string]string // code → nonce
	sign   *rsa.PrivateKey   // another key than the published: a forger
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key, sign: key, codes: map[string]string{}, nonces: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("code_challenge_method") != "S256" || q.Get("client_id") != "tillwire" || !strings.Contains(q.Get("scope"), "openid") {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		code := random()
		p.codes[code], p.nonces[code] = q.Get("code_challenge"), q.Get("nonce")
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		code := r.PostFormValue("code")
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		challenge, ok := p.codes[code]
		if !ok || challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
			return
		}
		delete(p.codes, code) // good once
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.token(p.nonces[code])})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) token(nonce string) string {
	c := map[string]any{"iss": p.URL, "aud": "tillwire", "sub": "u-1", "nonce": nonce, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
	for k, v := range p.claims {
		c[k] = v
	}
	enc := base64.RawURLEncoding
	body, _ := json.Marshal(c)
	text := enc.EncodeToString([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + enc.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	sig, _ := rsa.SignPKCS1v15(rand.Reader, p.sign, crypto.SHA256, sum[:])
	return text + "." + enc.EncodeToString(sig)
}

func (p *provider) options() OIDCOptions {
	return OIDCOptions{
		Issuer: p.URL, ClientID: "tillwire", RedirectURL: "http://here.example/login/oidc/callback", NameClaim: "email", RoleClaim: "groups",
		Values: map[Role][]string{Viewer: {"staff"}, Ops: {"stock-ops"}, Admin: {"stock-admin"}},
	}
}

// authorize follows the browser to the provider and back.
func (p *provider) authorize(t *testing.T, to string) (code, state string) {
	t.Helper()
	client := http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	back, err := res.Location()
	if err != nil {
		t.Fatal(res.StatusCode, err)
	}
	return back.Query().Get("code"), back.Query().Get("state")
}

func TestOIDCLogin(t *testing.T) {
	p := newProvider(t)
	c := NewOIDC(p.options(), time.Now)
	login := func() (Person, string, error) {
		to, state, err := c.Begin(t.Context(), "/exceptions?state=open")
		if err != nil {
			t.Fatal(err)
		}
		code, back := p.authorize(t, to)
		if back != state {
			t.Fatal("the state did not come back")
		}
		return c.End(t.Context(), back, state, code)
	}
	for name, x := range map[string]struct {
		claims map[string]any
		want   Person
		err    error
	}{
		"the highest role counts": {map[string]any{"email": "ann@example", "groups": []any{"staff", "stock-admin"}}, Person{"ann@example", Admin, ByOIDC}, nil},
		"a single group":          {map[string]any{"email": "bob@example", "groups": "staff"}, Person{"bob@example", Viewer, ByOIDC}, nil},
		"no name":                 {map[string]any{"groups": []any{"stock-ops"}}, Person{"u-1", Ops, ByOIDC}, nil},
		"no group":                {map[string]any{"email": "eve@example", "groups": []any{"sales", 7}}, Person{"eve@example", "", ByOIDC}, ErrNoRole},
		"for another client":      {map[string]any{"aud": "other", "groups": "staff"}, Person{}, ErrRefused},
		"expired":                 {map[string]any{"exp": time.Now().Add(-time.Hour).Unix(), "groups": "staff"}, Person{}, ErrRefused},
		"another issuer":          {map[string]any{"iss": "https://evil.example", "groups": "staff"}, Person{}, ErrRefused},
		"another login's nonce":   {map[string]any{"nonce": "x", "groups": "staff"}, Person{}, ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			p.claims = x.claims
			got, next, err := login()
			if !errors.Is(err, x.err) || got != x.want || err == nil && next != "/exceptions?state=open" {
				t.Errorf("%+v %q %v", got, next, err)
			}
		})
	}
	p.claims = map[string]any{"email": "ann@example", "groups": "staff"}
	p.sign, _ = rsa.GenerateKey(rand.Reader, 2048)
	if _, _, err := login(); !errors.Is(err, ErrRefused) {
		t.Error("a token signed by a stranger:", err)
	}
}

func TestOIDCStateIsOfOneBrowserAndGoodOnce(t *testing.T) {
	p := newProvider(t)
	p.claims = map[string]any{"groups": "staff"}
	at := &clock{at: time.Now()}
	c := NewOIDC(p.options(), at.now)
	begin := func() (code, state string) {
		to, state, err := c.Begin(t.Context(), "/")
		if err != nil {
			t.Fatal(err)
		}
		code, _ = p.authorize(t, to)
		return code, state
	}
	code, state := begin()
	if _, _, err := c.End(t.Context(), state, "another browser", code); !errors.Is(err, ErrStale) {
		t.Error("login CSRF:", err)
	}
	if _, _, err := c.End(t.Context(), state, state, code); !errors.Is(err, ErrStale) {
		t.Error("a state was good twice:", err)
	}
	code, state = begin()
	if _, _, err := c.End(t.Context(), state, state, code); err != nil {
		t.Error(err)
	}
	code, state = begin()
	at.pass(pendingLasts + time.Second)
	if _, _, err := c.End(t.Context(), state, state, code); !errors.Is(err, ErrStale) {
		t.Error("a login of yesterday:", err)
	}
	for range pendingMax + 10 {
		if _, _, err := c.Begin(t.Context(), "/"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.pending); n > pendingMax {
		t.Error("beginnings are not bounded:", n)
	}
	// an intercepted code is worth nothing without the verifier that never left us
	to, state, err := c.Begin(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	code, _ = p.authorize(t, to)
	c.pending[state] = pending{c.pending[state].nonce, "guessed", "/", at.now().Add(time.Minute)}
	if _, _, err := c.End(t.Context(), state, state, code); !errors.Is(err, ErrRefused) {
		t.Error("PKCE is not asked for:", err)
	}
	p.Close()
	if _, _, err := NewOIDC(p.options(), at.now).Begin(t.Context(), "/"); !errors.Is(err, ErrAway) {
		t.Error("a provider that is away:", err)
	}
}
