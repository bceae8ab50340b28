package aggregator_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

var (
	emptyCard = regexp.MustCompile(`(?s)<section class="card empty"><h2>(.+?)</h2>(.+?)</section>`)
	inNav     = regexp.MustCompile(`<li><a href="(/[^"]*)"`)
	tag       = regexp.MustCompile(`<[^>]*>`)
)

// On an aggregator that has seen nothing yet, every page that lists something says what
// will stand there and what brings it there.
func TestEveryPageOfAFreshAggregatorSaysWhatToDo(t *testing.T) {
	r := start(t, true)
	r.stop()
	r.cfg.DataDir, r.cfg.Stores = t.TempDir(), nil
	r.open()
	v := r.visitor()
	want := map[string][2]string{ // what would stand there; what to do
		"/":               {"its tile will appear here by itself", "tillwire-aggregator token"},
		"/availability":   {"articles appear here", "Type the barcode"},
		"/reservations":   {"A reservation appears here", "POST /v1/reservations"},
		"/exceptions":     {"it appears here with its cause", "what can be done"},
		"/reconciliation": {"No system states anything else than the book", "POST /v1/feeds/{source}/snapshot"},
		"/postings":       {"No ERP is configured", "[[erp]] in aggregator.toml"},
		"/channels":       {"Each connection appears here", "[channels] in aggregator.toml"},
		"/trace":          {"The way of a document from the till to the ERP", "Any id"},
		"/outcomes":       {"Week by week stands here", "tillwire-aggregator token"},
		"/policies":       {"Defaults apply", "New policy, below"},
		"/items":          {"puts them here", "PUT /v1/items/{sku}"},
		"/releases":       {"stands here by version", "tillwire-aggregator release publish"},
		"/enrolment":      {"No agent", "Make a token and give it to store IT"},
		"/audit":          {"appears with what was before and after", "Whoever presses a button"},
		"/accounts":       {"Who is let in stands here", "Add yourself as an admin"},
	}
	_, home := v.get("/")
	seen := 0
	for _, m := range inNav.FindAllStringSubmatch(home, -1) {
		path := m[1]
		words, lists := want[path]
		if path == "/ops/" { // a book, not a list
			continue
		}
		seen++
		code, body := v.get(path)
		_, body, _ = strings.Cut(body, `<main id="main"`)
		text := strings.Join(strings.Fields(tag.ReplaceAllString(body, "")), " ")
		if code != http.StatusOK || !lists {
			t.Errorf("%s: %d; what does it say when it is empty?", path, code)
			continue
		}
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s does not say %q: %s", path, w, text)
			}
		}
		if path != "/" && path != "/trace" && !emptyCard.MatchString(body) {
			t.Errorf("%s has no words in the place of its list", path)
		}
		if strings.Contains(body, "<tbody>") {
			t.Errorf("%s shows a table of nothing", path)
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d pages are in the navigation", seen, len(want))
	}
}
