package scenario

import (
	"strings"
	"testing"
	"time"
)

func TestReadyMadeStoriesLoad(t *testing.T) {
	names := Names()
	if len(names) < 11 {
		t.Fatalf("only %d stories: %v", len(names), names)
	}
	for _, n := range names {
		s, err := Load(n)
		if err != nil {
			t.Errorf("%s: %v", n, err)
			continue
		}
		if s.Name != n || s.About == "" || s.Title == "" {
			t.Errorf("%s: name %q, title %q, about %q", n, s.Name, s.Title, s.About)
		}
	}
}

func TestMistakesNameLineKeyAndRemedy(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "title = \"x\"\nstoers = 3\n", `f.toml:2: key "stoers" is not known; did you mean "stores"?`},
		{"unknown key of a section", "title = \"x\"\n[shop]\nopen = \"08:00\"\n", `key "shop.open" is not known; did you mean "shop.opens"?`},
		{"unknown key of a fault", "title = \"x\"\n[[fault]]\nkind = \"outage\"\nlast = \"3h\"\n", `did you mean "fault.lasts"?`},
		{"unknown kind", "title = \"x\"\n[[fault]]\nkind = \"flood\"\n", `kind "flood" is not known; use outage`},
		{"missing key of a kind", "title = \"x\"\n[[fault]]\nkind = \"outage\"\n", `fault 1 (outage): lasts is missing`},
		{"key of another kind", "title = \"x\"\n[[fault]]\nkind = \"outage\"\nlasts = \"1h\"\nshare = 0.5\n", `share means nothing here; it takes lasts, silent`},
		{"after the end", "title = \"x\"\nlasts = \"1h\"\n[[fault]]\nkind = \"outage\"\nat = \"2h\"\nlasts = \"1h\"\n", `begins at 2h, after the story's end (lasts = 1h)`},
		{"stores and region", "title = \"x\"\n[[fault]]\nkind = \"outage\"\nlasts = \"1h\"\nstores = \"3\"\nregion = \"Coast\"\n", `exclude each other`},
		{"a bad share", "title = \"x\"\n[[fault]]\nkind = \"outage\"\nlasts = \"1h\"\nstores = \"some\"\n", `neither all, nor a number`},
		{"a bad span", "title = \"x\"\nlasts = \"3 hours\"\n", `is not a duration such as 90s, 15m, 3h or 30d`},
		{"a bad moment", "title = \"x\"\nstarts = \"Saturday\"\n", `is not a moment such as`},
		{"no title", "stores = 3\n", "title is missing"},
		{"two mistakes", "stores = 0\n", "stores is 0; between 1 and 4000"},
		{"not TOML", "title = \n", "f.toml:1:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("f", "f.toml", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	if _, err := Load("sunday"); err == nil || !strings.Contains(err.Error(), "saturday") {
		t.Errorf("an unknown story: %v", err)
	}
	if _, err := Load("absent.toml"); err == nil {
		t.Error("an absent file loads")
	}
}

// The printed documentation is itself a scenario file that differs from the
// default in nothing but the title.
func TestKeysDocumentEveryKey(t *testing.T) {
	text := Keys()
	head, _, _ := strings.Cut(text, "\n[[rush]]")
	s, err := Parse("keys", "keys.toml", []byte(strings.Replace(head, `title = ""`, `title = "x"`, 1)))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := Default()
	if s.Title != "x" || s.Shop != want.Shop || s.Web != want.Web || s.Warehouse != want.Warehouse || s.Lasts != want.Lasts {
		t.Errorf("read back: %+v", s)
	}
	for _, k := range Kinds {
		if _, ok := needs[k.Name]; !ok || !strings.Contains(text, "#   "+k.Name) {
			t.Errorf("kind %s is not documented", k.Name)
		}
	}
	if len(Kinds) != len(needs) {
		t.Errorf("%d kinds are documented, %d exist", len(Kinds), len(needs))
	}
}

func TestShopsOpenAndClose(t *testing.T) {
	s := Default().Shop
	at := func(h, m int) time.Time { return time.Date(2026, 11, 21, h, m, 0, 0, time.UTC) }
	for _, c := range []struct {
		at   time.Time
		open bool
		next time.Time
	}{
		{at(7, 59), false, at(8, 0)},
		{at(8, 0), true, at(8, 0)},
		{at(21, 59), true, at(21, 59)},
		{at(22, 0), false, at(32, 0)},
	} {
		if open, next := s.Open(c.at); open != c.open || !next.Equal(c.next) {
			t.Errorf("at %s: open %v, next %s", c.at, open, next)
		}
	}
}

func TestSpansAreWrittenAsTheyAreRead(t *testing.T) {
	for _, s := range []string{"3h", "15m", "30d", "1h30m", "90ms", "2h45m", "0s"} {
		var d Duration
		if err := d.UnmarshalText([]byte(s)); err != nil || d.String() != s {
			t.Errorf("%s is written %s (%v)", s, d, err)
		}
	}
}
