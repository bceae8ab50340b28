package intake

import (
	"bytes"
	_ "embed" // the page's template and style
	"html/template"
	"net/http"
	"time"

	"tillwire/protocol"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageStyle []byte

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"bytes": bytesWords,
	"ago":   func(now, t time.Time) string { return span(now.Sub(t)) + " ago" },
}).Parse(pageHTML))

// pageData is what the template shows. Times are in the agent's zone.
type pageData struct {
	Status
	Local    time.Time
	Sent     uint64
	LinkWord string
	Since    string
	Oldest   string
	LastSale string
	Uptime   string
	Fsync    string
}

var linkWords = map[string]string{
	"connected": "Connected", "connecting": "Not connected", "refused": "Refused by the chain", "off": "Not set up",
}

// page shows the shop at one glance. It refreshes itself through a meta tag:
// no script runs.
func (in *Intake) page(w http.ResponseWriter, _ *http.Request) {
	s, st, link := in.snapshot()
	now := in.o.Now()
	d := pageData{
		Status: s, Local: now, Sent: st.Merged, LinkWord: linkWords[s.Link.State], Uptime: span(now.Sub(in.started)),
		Oldest: "–", LastSale: "none yet", Fsync: (time.Duration(st.FsyncP99US) * time.Microsecond).Round(10 * time.Microsecond).String(),
	}
	if !link.Since.IsZero() {
		d.Since = clock(link.Since, now)
	}
	if st.OldestUnackedUS != 0 {
		d.Oldest = span(now.Sub(time.UnixMicro(st.OldestUnackedUS)))
	}
	if st.LastPOS != 0 {
		d.LastSale = span(now.Sub(time.UnixMicro(st.LastPOS))) + " ago"
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, &d); err != nil {
		in.o.Log.Error().Err(err).Msg("status page cannot be written")
		refuse(w, protocol.NewProblem(http.StatusInternalServerError, "internal", "The page cannot be written", "", "GET /v1/status says the same in JSON."))
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	answer(w, http.StatusOK, "text/html; charset=utf-8", b.Bytes())
}

func (in *Intake) pageCSS(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "text/css; charset=utf-8", pageStyle)
}
