package intake

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"tillwire/protocol"
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

// Whoever stands in the shop sees what to fetch, and which till is not seen.
func TestPageShowsOrdersAndSiblings(t *testing.T) {
	seen := time.Now().Add(-time.Minute)
	s := newShop(t, func(o *Options) {
		o.Siblings = func() []StatusSibling {
			return []StatusSibling{{Agent: "till-02", Address: "10.0.0.2:7412", SeenAt: &seen}, {Agent: "till-03", Address: "10.0.0.3:7412", LastError: "<refused>"}}
		}
	})
	if page := s.do(http.MethodGet, "/", "", "").Body.String(); strings.Contains(page, "To do for orders") {
		t.Error("orders are shown where there are none")
	}
	many := []protocol.HoldTask{task("<r1>", 1, "X", 2)}
	for i := range pageTasksMax {
		many = append(many, task(fmt.Sprint("r", i+2), int64(i+2), "Y", 1))
	}
	s.told(1, many...)
	page := s.do(http.MethodGet, "/", "", "").Body.String()
	for _, want := range []string{"&lt;r1&gt;", "2 × X", "new: accept or refuse it", "and 1 further order", "till-02 at 10.0.0.2:7412", "not asked yet: only counts ask; &lt;refused&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for state, want := range map[protocol.ReservationState]string{
		protocol.ReservationAccepted: "accepted: fetch it, then pack and send", protocol.ReservationPicked: "fetched: pack and send",
	} {
		if got := taskWords(&Task{State: state, Fulfilment: protocol.FulfilmentShip}); got != want {
			t.Errorf("%s: %q, want %q", state, got, want)
		}
	}
}

// Every word and part that is made has its place, and each level its verdict.
func TestPageUsesAllThatIsMade(t *testing.T) {
	s := newShop(t)
	status, st, link := s.in.snapshot()
	words, parts := s.in.pageWords(&status, &st, link, time.Now()), s.in.pageParts(&status, time.Now())
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
