package aggregator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tillwire/aggregator"
)

func TestFeedsConfiguration(t *testing.T) {
	const good = "[[feeds]]\nname = \"3pl\"\nkind = \"edi\"\ndir = \"/srv/edi\"\nzone = \"Europe/Berlin\"\nplaces = [{ id = \"0042\", location = \"S0042\" }]\n"
	for _, c := range []struct{ name, from, to, want string }{
		{"good", "", "", ""},
		{"no zone", "zone = \"Europe/Berlin\"\n", "", "say whose clock it is"},
		{"zone", "Europe/Berlin", "Europe/Birlin", "is not known"},
		{"kind", `"edi"`, `"xls"`, "is not csv, edi, epcis, json or poslog"},
		{"csv", `"edi"`, `"csv"`, ""},
		{"column", "places = ", "csv = { columns = { Bon = \"receipt_no\" } }\nplaces = ", "column Bon is mapped to"},
		{"folder", "/srv/edi", "srv/edi", "is not an absolute path"},
		{"name", "3pl", "3 pl", "must be 1 to 64"},
		{"twice", "places", "[[feeds]]\nname = \"other\"\nkind = \"json\"\ndir = \"/srv/edi/\"\nplaces", "stands twice"},
		{"clockless", "places", "clockless = \"noon\"\nplaces", "is not park or end_of_day"},
		{"destination", "places", "unknown_destination = \"lost\"\nplaces", "is not park or sale"},
		{"encoding", "places", "encoding = \"ebcdic\"\nplaces", "is not latin1"},
		{"place", "S0042", "S 42", "places need a location"},
		{"misspelt", "zone", "zoen", "feeds.zoen"},
		{"POSLog without store", `"edi"`, `"poslog"`, "name the store of these tills"},
		{"channel of that name", "[[feeds]]", "[[channels.shopify]]\nname = \"3pl\"\nsecrets = [\"s\"]\n[[feeds]]", "stands twice"},
		{"EPCIS policy", "[[feeds]]", "[epcis]\nunknown_destination = \"lost\"\n[[feeds]]", "epcis.unknown_destination"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "aggregator.toml")
			if err := os.WriteFile(path, []byte(strings.Replace(good, c.from, c.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := aggregator.LoadConfig(path, func(string) (string, bool) { return "", false })
			if err == nil {
				err = cfg.Check()
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
