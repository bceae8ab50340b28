package intake

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The page is filled by replacement: no place may stay open, and no text from
// outside may become markup or name another place.
func TestPageIsFilledAndEscaped(t *testing.T) {
	link := LinkStatus{Broker: `mqtt://"x"&y`, LastError: "<script>{{action}}", NextTry: testNow, Since: testNow}
	s := newShop(t, func(o *Options) { o.Link = func() LinkStatus { return link }; o.Version = "<v>" })
	empty := s.do(http.MethodGet, "/", "", "").Body.String()
	if strings.Contains(empty, "<h2>Registers") {
		t.Error("registers are shown before any has written")
	}
	s.mustPost("/v1/sales", goodDocs["/v1/sales"])
	full := s.do(http.MethodGet, "/", "", "").Body.String()
	for _, want := range []string{"mqtt://&#34;x&#34;&amp;y", "&lt;script&gt;{{action}}", "&lt;v&gt;", "· trying again", "<h2>Registers", "<td>R1</td>", "1 register seen"} {
		if !strings.Contains(full, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	open := regexp.MustCompile(`\{\{[a-z_]*\}\}`)
	for _, page := range []string{empty, full} {
		page = strings.ReplaceAll(page, "&lt;script&gt;{{action}}", "")
		if left := open.FindAllString(page, -1); left != nil {
			t.Errorf("left open: %v", left)
		}
	}
}

// Every word and part that is made has its place, and each level its verdict.
func TestPageUsesAllThatIsMade(t *testing.T) {
	s := newShop(t)
	status, st, link := s.in.snapshot()
	words, parts := s.in.pageWords(&status, &st, link, time.Now()), pageParts(&status, time.Now())
	for name := range parts {
		words[name] = ""
	}
	for name := range words {
		if !strings.Contains(pageHTML, "{{"+name+"}}") {
			t.Errorf("the page has no place for %q", name)
		}
	}
	for _, level := range []string{"ok", "warn", "bad"} {
		if verdicts[level] == "" {
			t.Errorf("no verdict for level %q", level)
		}
	}
}
