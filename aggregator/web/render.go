package web

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
)

//go:embed templates/*.html
var templateFiles embed.FS

// frame is what every page has around it.
type frame struct {
	Title   string
	Page    string // of the navigation
	Dev     bool
	Version string
	Person  Person
	Nav     []navGroup
	Here    string // the page's name in the navigation
	Filters bool   // the search box narrows what the page shows
	Query   string
	At      time.Time // of which it is
	Error   string
	Body    string // classes of the page's body
	Data    any
}

// within says under which page of the navigation a page stands.
var within = map[string]string{"reservation": "reservations", "policy": "policies", "item": "items", "agent": "fleet", "store": "fleet", "posting": "postings", "connector": "channels", "subscription": "channels", "exception": "exceptions"}

func (w *Web) frame(r *http.Request, page, title string) *frame {
	f := &frame{Title: title, Page: page, Dev: w.opts.Dev, Version: w.opts.Version, Person: person(r), Query: query(r, "q"), At: w.now()}
	if f.Person.Role < Ops {
		f.Body = "viewer" // buttons of fragments that know nothing of roles are hidden
	}
	if up := within[page]; up != "" {
		f.Page = up
	}
	f.Nav = w.nav(r)
	for _, g := range f.Nav {
		for _, it := range g.Items {
			if it.Page == f.Page {
				f.Here = it.Name
			}
		}
	}
	return f
}

func (w *Web) openCount() int {
	if w.opts.OpenCount == nil {
		return 0
	}
	return w.opts.OpenCount()
}

// query reads a search parameter, bounded.
func query(r *http.Request, name string) string {
	s := strings.TrimSpace(r.URL.Query().Get(name))
	if len(s) > queryBytesMax {
		s = strings.ToValidUTF8(s[:queryBytesMax], "")
	}
	return s
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// render writes a template whole or not at all, compressed where it helps.
func (w *Web) render(rw http.ResponseWriter, r *http.Request, name string, data any) error {
	b := buffers.Get().(*bytes.Buffer)
	b.Reset()
	defer buffers.Put(b)
	if err := w.tpl.ExecuteTemplate(b, name, data); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	return send(rw, r, b.Bytes())
}

// send compresses what is worth it. Pages hold no secrets beside what a
// stranger could put into them, so compression gives nothing away.
func send(rw http.ResponseWriter, r *http.Request, b []byte) error {
	h := rw.Header()
	h.Add("Vary", "Accept-Encoding")
	if len(b) < 1024 || !acceptsGzip(r) {
		h.Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = rw.Write(b) // the reader is gone: nobody to tell
		return nil
	}
	h.Set("Content-Encoding", "gzip")
	z := gzips.Get().(*gzip.Writer)
	defer gzips.Put(z)
	z.Reset(rw)
	_, _ = z.Write(b)
	_ = z.Close()
	return nil
}

var gzips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	return z
}}

func acceptsGzip(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
}

func writeJSON(rw http.ResponseWriter, r *http.Request, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	rw.Header().Set("Content-Type", "application/json")
	return send(rw, r, b)
}

func writeProblem(rw http.ResponseWriter, e *pageError, fields ...protocol.FieldError) {
	rw.Header().Set("Content-Type", "application/problem+json")
	rw.WriteHeader(e.status)
	p := protocol.NewProblem(e.status, e.code, http.StatusText(e.status), e.text, "")
	p.Errors = fields
	_ = json.NewEncoder(rw).Encode(p)
}

func parseTemplates(w *Web) (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{
		"asset":    w.assets.url,
		"comma":    func(v any) string { return comma(toInt(v)) },
		"ago":      func(s any) string { return agoAny(s) },
		"since":    func(t any) string { return w.since(t) },
		"bytes":    size,
		"presence": presenceWord,
		"iso":      func(t time.Time) string { return t.Format(time.RFC3339Nano) },
		"clock":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"unix":     func(s int64) time.Time { return time.Unix(s, 0).UTC() },
		"us":       func(us int64) time.Time { return time.UnixMicro(us).UTC() },
		"signed":   signed,
		"path":     url.PathEscape,
		"section":  w.manual.has,
		"bands":    func() [8]string { return protocol.BandNames },
		"states":   func() []protocol.Presence { return presences[:] },
		"add":      func(a, b int) int { return a + b },
		"words":    func(s string) string { return strings.ReplaceAll(s, "_", " ") },
		"did":      strings.NewReplacer(".", " ", "_", " ").Replace,
		"deref":    func(f *float64) float64 { return *f },
		"ms":       func(us int64) string { return strconv.FormatFloat(float64(us)/1000, 'f', 1, 64) },
		"skew":     skew,
		"tiles":    tilesHTML,
		"qty":      quantity,
		"plural":   func(n any, one, many string) string { return plural(int(toInt(n)), one, many) },
		"join":     strings.Join,
		"open":     openReservation,
		"percent":  func(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + " %" },
		"seconds":  func(s float64) string { return lasted(int64(s * 1000)) },
		"letters":  makeLetters,
		"share":    share,
		"span":     tookMS,
		"notkept":  func(f protocol.FulfilmentSum) int64 { return notKept(&f) },
		"policy":   makePolicyForm,
		"pair":     func(name, value string) pair { return pair{name, value} },
		"sourcings": func() []string {
			return []string{protocol.SourcingNearest, protocol.SourcingMostStock, protocol.SourcingFreshest, protocol.SourcingLeastSplits}
		},
		"conflicts": func() []string { return []string{protocol.OnConflictSource, protocol.OnConflictNotify} },
	}).ParseFS(templateFiles, "templates/*.html")
}

func toInt(v any) int64 {
	switch n := v.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	case uint64:
		return int64(min(n, 1<<62))
	}
	return 0
}

func (w *Web) since(t any) string {
	switch x := t.(type) {
	case *time.Time:
		if x == nil {
			return "never"
		}
		return ago(int64(w.now().Sub(*x).Seconds())) + " ago"
	case time.Time:
		return ago(int64(w.now().Sub(x).Seconds())) + " ago"
	}
	return ""
}

func agoAny(v any) string {
	if f, ok := v.(float64); ok {
		return ago(int64(f))
	}
	return ago(toInt(v))
}

func ago(s int64) string {
	switch {
	case s < 0:
		return "0 s"
	case s < 60:
		return strconv.FormatInt(s, 10) + " s"
	case s < 3600:
		return strconv.FormatInt(s/60, 10) + " min"
	case s < 86400:
		return fmt.Sprintf("%d h %02d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
}

func comma(n int64) string {
	s := strconv.FormatInt(n, 10)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if neg {
		return "−" + s
	}
	return s
}

// quantity groups the digits of what people read.
func quantity(q protocol.Quantity) string {
	whole, part, fraction := strings.Cut(max(q, -q).String(), ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return q.String()
	}
	s := comma(n)
	if q < 0 {
		s = "−" + s
	}
	if fraction {
		s += "." + part
	}
	return s
}

func size(n uint64) string {
	v, unit := float64(n), 0
	for v >= 1024 && unit < 4 {
		v, unit = v/1024, unit+1
	}
	if unit == 0 {
		return strconv.FormatUint(n, 10) + " B"
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + [...]string{"", "KiB", "MiB", "GiB", "TiB"}[unit]
}

func signed(q protocol.Quantity) string {
	switch {
	case q > 0:
		return "+" + quantity(q)
	case q < 0:
		return quantity(q)
	}
	return "0"
}

func skew(ms int64) string {
	switch s := max(ms, -ms) / 1000; {
	case s == 0 && ms == 0:
		return "0 ms"
	case s < 10 && ms > 0:
		return strconv.FormatInt(ms, 10) + " ms fast"
	case s < 10:
		return strconv.FormatInt(-ms, 10) + " ms slow"
	case ms > 0:
		return ago(s) + " fast"
	default:
		return ago(s) + " slow"
	}
}

// presences as the pages number them, calm first.
var presences = [...]protocol.Presence{
	protocol.PresenceOnline, protocol.PresencePOSSilent, protocol.PresenceDraining,
	protocol.PresenceRebuilding, protocol.PresenceStuck, protocol.PresenceOffline,
}

func presenceNo(p protocol.Presence) int {
	for i, x := range presences {
		if x == p {
			return i
		}
	}
	return len(presences) - 1
}

func presenceWord(p protocol.Presence) string {
	switch p {
	case protocol.PresencePOSSilent:
		return "POS silent"
	case "":
		return "unknown"
	}
	return strings.ToUpper(string(p[:1])) + string(p[1:])
}
