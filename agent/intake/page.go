package intake

import (
	_ "embed" // the page's design and style
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// pageHTML holds {{name}} where pageWords gives text. html/template would do the
// same, but its reflection keeps every exported method of the whole program
// alive: 2.8 MB of an agent that should have 12.
//
//go:embed page.html
var pageHTML string

//go:embed page.css
var pageStyle []byte

//go:embed page.svg
var pageMark []byte

var (
	linkWords = map[string]string{
		"connected": "Connected", "connecting": "Not connected", "refused": "Refused by the chain", "off": "Not set up",
	}
	verdicts = map[string]string{"ok": "Everything works", "warn": "Keep an eye on this", "bad": "Somebody must act"}
)

// page shows the shop at one glance. It refreshes itself through a meta tag:
// no script runs.
func (in *Intake) page(w http.ResponseWriter, _ *http.Request) {
	s, st, link := in.snapshot()
	now := in.o.Now()
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	answer(w, http.StatusOK, "text/html; charset=utf-8", []byte(renderPage(in.pageWords(&s, &st, link, now), in.pageParts(&s, now))))
}

// pageWords are the texts of the page; renderPage escapes them. Times are in the
// agent's zone.
func (in *Intake) pageWords(s *Status, st *journal.State, link LinkStatus, now time.Time) map[string]string {
	words := map[string]string{
		"store": string(s.Store), "agent": string(s.Agent), "version": s.AgentVersion, "uptime": span(now.Sub(in.started)),
		"level": s.Advice.Level, "verdict": verdicts[s.Advice.Level],
		"headline": s.Advice.Headline, "detail": s.Advice.Detail, "action": or(s.Advice.Action, "nothing."),
		"link": linkWords[s.Link.State], "broker": or(s.Link.Broker, "none"), "link_since": "",
		"waiting": strconv.FormatUint(s.Journal.BacklogEvents, 10), "oldest": "–", "last_sale": "none yet",
		"registers_seen": plural(len(s.Registers), "register"), "merged": strconv.FormatUint(st.Merged, 10),
		"phase": s.Journal.Phase, "boot": s.Journal.BootReason, "disk_free": bytesWords(s.Journal.DiskFreeBytes),
		"fsync": (time.Duration(st.FsyncP99US) * time.Microsecond).Round(10 * time.Microsecond).String(),
		"skus":  strconv.Itoa(s.Stock.SKUs), "stock_seq": strconv.FormatUint(s.Stock.AsOfSeq, 10),
		"now": now.Format("2 January 2006, 15:04:05 MST"),
	}
	for name, n := range map[string]uint64{
		"epoch": s.Journal.Epoch, "tail": s.Journal.TailSeq, "head": s.Journal.HeadSeq, "safe": s.Journal.SafeSeq,
	} {
		words[name] = strconv.FormatUint(n, 10)
	}
	if !link.Since.IsZero() {
		words["link_since"] = "since " + clock(link.Since, now)
	}
	if s.Link.NextTryAt != nil {
		words["link_since"] += " · trying again"
	}
	if st.OldestUnackedUS != 0 {
		words["oldest"] = span(now.Sub(time.UnixMicro(st.OldestUnackedUS)))
	}
	if st.LastPOS != 0 {
		words["last_sale"] = span(now.Sub(time.UnixMicro(st.LastPOS))) + " ago"
	}
	return words
}

// pageParts are the parts that are there at times only, escaped already.
func (in *Intake) pageParts(s *Status, now time.Time) map[string]string {
	parts := map[string]string{"dev": "", "errors": "", "registers": "", "tasks": taskTable(in.Tasks(), now), "siblings": siblingTable(s.Siblings, now)}
	if s.Dev {
		parts["dev"] = `<p class="dev">Development mode: no tokens are asked. Never in a shop.</p>`
	}
	for _, e := range [][2]string{{"link", s.Link.LastError}, {"disk", s.Journal.LastError}} {
		if e[1] != "" {
			parts["errors"] += fmt.Sprintf("      <dt>Last error of the %s</dt><dd>%s</dd>\n", e[0], html.EscapeString(e[1]))
		}
	}
	if len(s.Registers) == 0 {
		return parts
	}
	var b strings.Builder
	b.WriteString("  <section>\n    <h2>Registers</h2>\n    <table><thead><tr><th scope=\"col\">Register</th><th scope=\"col\">Last write</th></tr></thead>\n    <tbody>")
	for _, r := range s.Registers {
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%s ago</td></tr>", html.EscapeString(or(r.Register, "not named")), span(now.Sub(r.LastAt)))
	}
	b.WriteString("</tbody></table>\n  </section>\n")
	parts["registers"] = b.String()
	return parts
}

// taskTable is the shop's work: what to fetch from the shelf, and for whom.
func taskTable(tasks []Task, now time.Time) string {
	if len(tasks) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("  <section>\n    <h2>To do for orders</h2>\n    <table><thead><tr><th scope=\"col\">Order</th><th scope=\"col\">What</th><th scope=\"col\">State</th><th scope=\"col\">Since</th></tr></thead>\n    <tbody>")
	for i, t := range tasks {
		if i == pageTasksMax {
			fmt.Fprintf(&b, "<tr><td colspan=\"4\">and %s</td></tr>", plural(len(tasks)-i, "further order"))
			break
		}
		var what []string
		for _, l := range t.Lines {
			what = append(what, l.Quantity.String()+" × "+string(l.SKU))
		}
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>", html.EscapeString(or(t.OrderID, t.HoldID)),
			html.EscapeString(strings.Join(what, ", ")), html.EscapeString(taskWords(&t)), span(now.Sub(t.CreatedAt)))
	}
	b.WriteString("</tbody></table>\n  </section>\n")
	return b.String()
}

// taskWords say what the shop does next.
func taskWords(t *Task) string {
	to := "hand over at the till"
	if t.Fulfilment == protocol.FulfilmentShip {
		to = "pack and send"
	}
	switch t.State {
	case protocol.ReservationAccepted:
		return "accepted: fetch it, then " + to
	case protocol.ReservationPicked:
		return "fetched: " + to
	default:
		return "new: accept or refuse it"
	}
}

// siblingTable lists the shop's other agents.
func siblingTable(list []StatusSibling, now time.Time) string {
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("  <section>\n    <h2>Other agents of this shop</h2>\n    <table><thead><tr><th scope=\"col\">Agent</th><th scope=\"col\">Last answer</th></tr></thead>\n    <tbody>")
	for _, s := range list {
		seen := "not asked yet: only counts ask"
		if s.SeenAt != nil {
			seen = span(now.Sub(*s.SeenAt)) + " ago"
		}
		if s.LastError != "" {
			seen += "; " + s.LastError
		}
		fmt.Fprintf(&b, "<tr><td>%s</td><td>%s</td></tr>", html.EscapeString(string(s.Agent)+" at "+s.Address), html.EscapeString(seen))
	}
	b.WriteString("</tbody></table>\n  </section>\n")
	return b.String()
}

// renderPage puts words, escaped, and parts into the page in one pass, so that
// no text can name another place.
func renderPage(words, parts map[string]string) string {
	pairs := make([]string, 0, 2*(len(words)+len(parts)))
	for name, text := range words {
		pairs = append(pairs, "{{"+name+"}}", html.EscapeString(text))
	}
	for name, part := range parts {
		pairs = append(pairs, "{{"+name+"}}", part)
	}
	return strings.NewReplacer(pairs...).Replace(pageHTML)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func (in *Intake) pageIcon(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "image/svg+xml", pageMark)
}

func (in *Intake) pageCSS(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "text/css; charset=utf-8", pageStyle)
}
