package aggregator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tillwire/aggregator"
)

// What is wrong with a connector's configuration is said before anything starts.
func TestChannelsAreChecked(t *testing.T) {
	vendure := func(more string) string {
		return "[[channels.vendure]]\nname='w'\nadmin_url='https://x/admin-api'\nuser='u'\npassword='p'\n" + more
	}
	const place = "[[channels.vendure.places]]\nlocation='S1'\nid='Store 1'\n"
	amazon := func(more string) string {
		return "[[channels.marketplaces]]\nname='a'\nkind='amazon-listings'\nendpoint='https://x'\naccount='A'\nmarketplace='M'\n" + more
	}
	for name, c := range map[string]struct{ toml, says string }{
		"all is well":         {vendure(place) + amazon("rate=2.5\nmin_interval='1s'\n") + "[[channels.shopify]]\nname='s'\nsecrets=['x']\n[webhooks]\nallow_networks=['10.0.0.0/8']\n", ""},
		"no network":          {"[webhooks]\nallow_networks=['10.0.0.1']\n", "10.1.0.0/16"},
		"one name twice":      {vendure(place) + "[[channels.shopify]]\nname='w'\nsecrets=['x']\n", "stands twice"},
		"no name":             {"[[channels.shopify]]\nsecrets=['x']\n", "name"},
		"no address":          {strings.Replace(vendure(place), "https://x/admin-api", "x", 1), "admin_url"},
		"no places":           {vendure(""), "places"},
		"two passwords":       {vendure("password_file='f'\n" + place), "one of password and password_file"},
		"no such fulfilment":  {vendure("fulfilment='drone'\n" + place), "drone"},
		"no secret":           {"[[channels.shopify]]\nname='s'\n", "secrets"},
		"no such kind":        {strings.Replace(amazon(""), "amazon-listings", "ebay", 1), "ebay"},
		"no account":          {strings.Replace(amazon(""), "account='A'", "", 1), "account"},
		"a rate below 0":      {amazon("rate=-1.0\n"), "rate"},
		"a key that is wrong": {amazon("burts=1\n"), "burts"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "aggregator.toml")
			if err := os.WriteFile(path, []byte("data_dir='x'\n"+c.toml), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := aggregator.LoadConfig(path, func(string) (string, bool) { return "", false })
			if err == nil {
				err = cfg.Check()
			}
			switch {
			case c.says == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("%v does not say %q", err, c.says)
			}
		})
	}
}
