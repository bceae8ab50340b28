package aggregator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"tillwire/aggregator/account"
	"tillwire/aggregator/credential"
	"tillwire/aggregator/web"
	"tillwire/protocol"
)

// people lets people into the UI: by password, by an API key, by somebody else's word.
type people struct {
	a *Aggregator
	d desk
}

var roles = map[account.Role]web.Role{account.Viewer: web.Viewer, account.Ops: web.Ops, account.Admin: web.Admin}

// refused turns the errors of logins into words for the person.
func refused(err error) error {
	say := func(status int, code, detail string) error {
		return protocol.NewProblem(status, code, "Not logged in", detail, "")
	}
	switch {
	case errors.Is(err, account.ErrTooMany):
		return say(http.StatusTooManyRequests, "too_many_tries", "Too many tries. Wait a minute.")
	case errors.Is(err, account.ErrNoRole):
		return say(http.StatusForbidden, "no_role", "You are known, but none of your groups may look here. Ask an admin of Tillwire which group you need.")
	case errors.Is(err, account.ErrStale):
		return say(http.StatusUnauthorized, "login_stale", "This login was begun elsewhere, or more than ten minutes ago. Begin again.")
	case errors.Is(err, account.ErrAway):
		return say(http.StatusBadGateway, "provider_away", "The identity provider does not answer. Try again, or log in with a local account.")
	case errors.Is(err, account.ErrRefused):
		return say(http.StatusUnauthorized, "login_refused", "Name or password is wrong.")
	}
	return err
}

// began records that a person came in.
func (p people) began(ctx context.Context, name, by, from string) {
	p.d.record(ctx, name, "session.begin", by, from, nil, nil, nil)
}

// Login lets in by password.
func (p people) Login(ctx context.Context, name, password, from string) (string, time.Time, error) {
	s, until, err := p.a.accounts.Login(ctx, name, password, from)
	if err != nil {
		err = refused(err)
		p.away(ctx, name, account.ByPassword, from, err)
		return "", until, err
	}
	p.began(ctx, name, account.ByPassword, from)
	return s, until, nil
}

// LoginKey lets the holder of an API key in, for a chain that has no accounts yet.
// Keys are long: trying them is bounded for the machine's sake.
func (p people) LoginKey(ctx context.Context, key, from string) (string, time.Time, error) {
	role, name, err := p.a.keys.CheckKey(key)
	if err != nil || role != credential.RoleOps && role != credential.RoleAdmin {
		err = protocol.NewProblem(http.StatusUnauthorized, "login_refused", "Not logged in", "No such key, or it has neither the role ops nor admin.", "")
		p.away(ctx, "", account.ByKey, from, err)
		return "", time.Time{}, err
	}
	s, until, err := p.a.accounts.Admit(account.Person{Name: "key:" + name, Role: account.Role(role), By: account.ByKey})
	if err != nil {
		return "", until, err
	}
	p.began(ctx, "key:"+name, account.ByKey, from)
	return s, until, nil
}

// Who tells whose session it is. A session of a key ends with the key.
func (p people) Who(session string) (web.Person, bool) {
	w, ok := p.a.accounts.Who(session)
	if name, key := strings.CutPrefix(w.Name, "key:"); ok && key && w.By == account.ByKey && p.a.keys.IsRevoked("key/"+name) {
		return web.Person{}, false
	}
	return web.Person{Name: w.Name, Role: roles[w.Role], By: w.By}, ok
}

// Logout ends a session.
func (p people) Logout(session string) {
	if err := p.a.accounts.Logout(session); err != nil {
		p.a.deps.Log.Error().Err(err).Msg("session not ended")
	}
}

// oidcDoor is account.OIDC with sessions of ours.
type oidcDoor struct {
	people
	o *account.OIDC
}

// Begin says where to send the browser.
func (d oidcDoor) Begin(ctx context.Context, next string) (to, state string, err error) {
	to, state, err = d.o.Begin(ctx, next)
	return to, state, d.told(err)
}

// End lets the person in whom the provider vouches for.
func (d oidcDoor) End(ctx context.Context, state, cookie, code string) (session string, until time.Time, next string, err error) {
	w, next, err := d.o.End(ctx, state, cookie, code)
	if err != nil {
		err = d.told(err)
		d.away(ctx, "", account.ByOIDC, "", err)
		return "", until, "", err
	}
	if session, until, err = d.a.accounts.Admit(w); err != nil {
		return "", until, "", err
	}
	d.began(ctx, w.Name, account.ByOIDC, "")
	return session, until, next, nil
}

// told leaves the provider's own words in the log: they may be long, and are not
// for strangers.
func (d oidcDoor) told(err error) error {
	if err != nil {
		d.a.deps.Log.Warn().Err(err).Msg("login by OpenID Connect failed")
	}
	return refused(err)
}

// Accounts lists local accounts.
func (d desk) Accounts() []web.Account {
	online := d.a.accounts.Online()
	var out []web.Account
	for _, u := range d.a.accounts.Users() {
		out = append(out, web.Account{Name: u.Name, Role: roles[u.Role], CreatedAt: u.CreatedAt, ChangedAt: u.ChangedAt, Sessions: online[u.Name]})
	}
	return out
}

func (d desk) roleOf(name string) any {
	for _, u := range d.a.accounts.Users() {
		if u.Name == name {
			return map[string]account.Role{"role": u.Role}
		}
	}
	return nil
}

// unfit turns what is wrong with an account into a problem of the request.
func unfit(err error) error {
	if err == nil {
		return nil
	}
	return protocol.NewProblem(http.StatusUnprocessableEntity, "account_refused", "The account is not changed", err.Error(), "")
}

// AddAccount makes a local account.
func (d desk) AddAccount(ctx context.Context, name, role, password, who string) error {
	err := d.a.accounts.Add(name, account.Role(role), password)
	d.record(ctx, who, "account.add", name, "", nil, map[string]string{"role": role}, err)
	return unfit(err)
}

// SetPassword changes a password. The trail has that it was changed, no more.
func (d desk) SetPassword(ctx context.Context, name, password, who string) error {
	err := d.a.accounts.SetPassword(name, password)
	d.record(ctx, who, "account.password", name, "", nil, nil, err)
	return unfit(err)
}

// SetRole changes a role.
func (d desk) SetRole(ctx context.Context, name, role, who string) error {
	before := d.roleOf(name)
	err := d.a.accounts.SetRole(name, account.Role(role))
	d.record(ctx, who, "account.role", name, "", before, map[string]string{"role": role}, err)
	return unfit(err)
}

// RemoveAccount deletes a local account.
func (d desk) RemoveAccount(ctx context.Context, name, who string) error {
	before := d.roleOf(name)
	err := d.a.accounts.Remove(name)
	d.record(ctx, who, "account.remove", name, "", before, nil, err)
	return unfit(err)
}

// Revoked lists credentials that are void.
func (d desk) Revoked() []string { return d.a.revoked() }

// openPeople reads accounts and prepares who else vouches for people.
func (a *Aggregator) openPeople() (err error) {
	if a.accounts, err = account.Open(a.cfg.DataDir, a.deps.Now); err == nil {
		a.accounts.Elsewhere() // from here on what others change is told
	}
	return err
}

// driftEvery is how often the rows of drift are counted for the navigation.
const driftEvery = 5 * time.Second

// followHouse records what the command line changed of the accounts, which asks
// nobody here, and counts what waits for a person.
func (a *Aggregator) followHouse(ctx context.Context) error {
	t := time.NewTicker(locationsTick)
	defer t.Stop()
	d := desk{a.ingest, a, protocol.ViaCommandLine}
	counted := time.Time{}
	for {
		if now := a.deps.Now(); now.Sub(counted) >= driftEvery {
			if n, err := a.ingest.OpenDrift(ctx); err == nil {
				a.drift.Store(int64(n))
			}
			counted = now
		}
		desk{a.ingest, a, protocol.ViaUI}.sumLogins(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		for _, c := range a.accounts.Elsewhere() {
			d.record(ctx, "command line", c.Action, c.Name, "", roleState(c.Before), roleState(c.After), nil)
		}
	}
}

func roleState(r account.Role) any {
	if r == "" {
		return nil
	}
	return map[string]account.Role{"role": r}
}

// People are the local accounts of a data folder, for the command line.
type People struct{ book *account.Book }

// OpenPeople reads them.
func OpenPeople(c Config) (People, error) {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return People{}, fmt.Errorf("make data folder: %w", err)
	}
	b, err := account.Open(c.DataDir, time.Now)
	return People{b}, err
}

// List gives the accounts by name.
func (p People) List() []account.User { return p.book.Users() }

// Add lets a person log in.
func (p People) Add(name, role, password string) error {
	return p.book.Add(name, account.Role(role), password)
}

// SetPassword ends the account's sessions.
func (p People) SetPassword(name, password string) error { return p.book.SetPassword(name, password) }

// SetRole ends the account's sessions.
func (p People) SetRole(name, role string) error { return p.book.SetRole(name, account.Role(role)) }

// Remove ends the account's sessions.
func (p People) Remove(name string) error { return p.book.Remove(name) }
