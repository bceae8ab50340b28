package account

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// OIDCOptions say who vouches for people, and what makes a role.
type OIDCOptions struct {
	Issuer       string
	ClientID     string
	ClientSecret string
	RedirectURL  string // {public_url}/login/oidc/callback
	Scopes       []string
	NameClaim    string
	RoleClaim    string            // a text or a list of texts
	Values       map[Role][]string // of the role claim; the highest role that matches counts
}

// OIDC lets people in whom an OpenID Connect provider knows: authorization code
// with PKCE, state and nonce. The provider is asked at the first login, so that an
// aggregator starts while it is away.
type OIDC struct {
	o   OIDCOptions
	now func() time.Time
	web *http.Client

	mu       sync.Mutex // guards all below
	provider *oidc.Provider
	pending  map[string]pending // by state
}

// pending is a login that has gone to the provider and has not come back.
type pending struct {
	nonce, verifier, next string
	until                 time.Time
}

// NewOIDC prepares logins; it asks nobody yet.
func NewOIDC(o OIDCOptions, now func() time.Time) *OIDC {
	return &OIDC{o: o, now: now, web: &http.Client{Timeout: providerWait}, pending: map[string]pending{}}
}

// Errors of a login by OpenID Connect.
var (
	ErrAway    = errors.New("the identity provider does not answer")
	ErrStale   = errors.New("this login was begun elsewhere, or more than ten minutes ago; begin again")
	ErrNoRole  = errors.New("the identity provider knows you, but none of your groups may look here")
	errNoToken = errors.New("the provider's answer has no id_token")
)

func (c *OIDC) context(ctx context.Context) context.Context { return oidc.ClientContext(ctx, c.web) }

func (c *OIDC) discover(ctx context.Context) (*oidc.Provider, error) {
	c.mu.Lock()
	p := c.provider
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	// the provider keeps the context for its keys: it outlives this request
	p, err := oidc.NewProvider(c.context(context.WithoutCancel(ctx)), c.o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAway, err)
	}
	c.mu.Lock()
	c.provider = p
	c.mu.Unlock()
	return p, nil
}

func (c *OIDC) client(p *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: c.o.ClientID, ClientSecret: c.o.ClientSecret, Endpoint: p.Endpoint(), RedirectURL: c.o.RedirectURL,
		Scopes: append([]string{oidc.ScopeOpenID}, c.o.Scopes...),
	}
}

func random() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// Begin returns where to send the browser, and the state that its cookie keeps:
// only the browser that began may end it.
func (c *OIDC) Begin(ctx context.Context, next string) (to, state string, err error) {
	p, err := c.discover(ctx)
	if err != nil {
		return "", "", err
	}
	state = random()
	x := pending{random(), oauth2.GenerateVerifier(), next, c.now().Add(pendingLasts)}
	c.mu.Lock()
	if len(c.pending) >= pendingMax {
		c.forget()
	}
	if len(c.pending) >= pendingMax {
		clear(c.pending) // a flood of beginnings; who means it begins again
	}
	c.pending[state] = x
	c.mu.Unlock()
	return c.client(p).AuthCodeURL(state, oidc.Nonce(x.nonce), oauth2.S256ChallengeOption(x.verifier)), state, nil
}

func (c *OIDC) forget() {
	now := c.now()
	for s, x := range c.pending {
		if now.After(x.until) {
			delete(c.pending, s)
		}
	}
}

// End trades the provider's code for a person. cookie is the state that the
// browser kept. A state is good once.
func (c *OIDC) End(ctx context.Context, state, cookie, code string) (person Person, next string, err error) {
	c.mu.Lock()
	x, ok := c.pending[state]
	delete(c.pending, state)
	c.mu.Unlock()
	if !ok || state != cookie || c.now().After(x.until) {
		return Person{}, "", ErrStale
	}
	p, err := c.discover(ctx)
	if err != nil {
		return Person{}, "", err
	}
	ctx = c.context(ctx)
	token, err := c.client(p).Exchange(ctx, code, oauth2.VerifierOption(x.verifier))
	if err != nil {
		return Person{}, "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return Person{}, "", fmt.Errorf("%w: %w", ErrRefused, errNoToken)
	}
	id, err := p.Verifier(&oidc.Config{ClientID: c.o.ClientID, Now: c.now}).Verify(ctx, raw)
	if err != nil {
		return Person{}, "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if id.Nonce != x.nonce {
		return Person{}, "", fmt.Errorf("%w: the token was made for another login", ErrRefused)
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return Person{}, "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	person, err = c.o.person(id.Subject, claims)
	return person, x.next, err
}

// person reads who it is and what they may.
func (o *OIDCOptions) person(subject string, claims map[string]any) (Person, error) {
	name, _ := claims[o.NameClaim].(string)
	if name = strings.TrimSpace(name); name == "" {
		name = subject
	}
	if len(name) > passwordBytesMax {
		name = strings.ToValidUTF8(name[:passwordBytesMax], "")
	}
	has := words(claims[o.RoleClaim])
	for i := len(Roles) - 1; i >= 0; i-- {
		for _, v := range o.Values[Roles[i]] {
			if slices.Contains(has, v) {
				return Person{name, Roles[i], ByOIDC}, nil
			}
		}
	}
	return Person{Name: name, By: ByOIDC}, ErrNoRole
}

// words are the texts of a claim that is one, or a list of them.
func words(claim any) (out []string) {
	switch x := claim.(type) {
	case string:
		return []string{x}
	case []any:
		for _, v := range x {
			if s, ok := v.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}
