package aggregator

import (
	"errors"
	"fmt"
	"net/url"

	"tillwire/aggregator/account"
)

// OIDCConfig names who else vouches for people. Without an issuer there are local
// accounts and API keys only.
type OIDCConfig struct {
	Issuer       string   `toml:"issuer" help:"URL of the OpenID Connect provider; empty: local accounts only"`
	ClientID     string   `toml:"client_id" help:"this aggregator's name there"`
	ClientSecret string   `toml:"client_secret" secret:"true" help:"its secret there; empty for a public client, which PKCE alone protects"`
	PublicURL    string   `toml:"public_url" help:"where people's browsers reach this aggregator, e.g. https://stock.example; register PUBLIC_URL/login/oidc/callback there"`
	Name         string   `toml:"name" help:"words on the login's button"`
	Scopes       []string `toml:"scopes" help:"scopes asked for beside openid"`
	NameClaim    string   `toml:"name_claim" help:"claim that names the person here"`
	RoleClaim    string   `toml:"role_claim" help:"claim whose values make the role: a text or a list of texts"`
	Viewer       []string `toml:"viewer" help:"values of role_claim that may look"`
	Ops          []string `toml:"ops" help:"values that may decide"`
	Admin        []string `toml:"admin" help:"values that may let in"`
}

func (c *OIDCConfig) check() error {
	if c.Issuer == "" {
		return nil
	}
	for _, u := range [][2]string{{"issuer", c.Issuer}, {"public_url", c.PublicURL}} {
		x, err := url.Parse(u[1])
		if err != nil || x.Host == "" || x.Scheme != "https" && x.Scheme != "http" {
			return fmt.Errorf("oidc.%s %q is not a URL such as https://login.example", u[0], u[1])
		}
	}
	if c.ClientID == "" || c.RoleClaim == "" {
		return errors.New("oidc.client_id and oidc.role_claim are needed with oidc.issuer")
	}
	if len(c.Viewer)+len(c.Ops)+len(c.Admin) == 0 {
		return errors.New("oidc: nobody could log in; name values of role_claim in oidc.viewer, oidc.ops or oidc.admin")
	}
	return nil
}

func (c *OIDCConfig) options() account.OIDCOptions {
	return account.OIDCOptions{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, RedirectURL: c.PublicURL + "/login/oidc/callback",
		Scopes: c.Scopes, NameClaim: c.NameClaim, RoleClaim: c.RoleClaim,
		Values: map[account.Role][]string{account.Viewer: c.Viewer, account.Ops: c.Ops, account.Admin: c.Admin},
	}
}
