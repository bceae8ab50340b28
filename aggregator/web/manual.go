package web

import (
	"html"
	"html/template"
	"net/http"
	"strings"
)

// renderManual turns the little Markdown that OPERATIONS.md uses into HTML:
// headings, paragraphs, lists, code, emphasis, links within our pages. All text
// is escaped first; markup comes from here only.
func renderManual(md string) (template.HTML, map[string]bool) {
	m := &manualWriter{sections: map[string]bool{}}
	for line := range strings.Lines(md) {
		m.line(strings.TrimRight(line, "\r\n"))
	}
	m.close()
	if m.code {
		m.b.WriteString("</pre>\n")
	}
	return template.HTML(m.b.String()), m.sections //nolint:gosec // every text went through html.EscapeString
}

type manualWriter struct {
	b        strings.Builder
	open     string // element that is open: p, ul, ol
	code     bool
	sections map[string]bool
}

func (m *manualWriter) close() {
	switch m.open {
	case "p":
		m.b.WriteString("</p>\n")
	case "ul", "ol":
		m.b.WriteString("</li></" + m.open + ">\n")
	}
	m.open = ""
}

func (m *manualWriter) line(s string) {
	if strings.HasPrefix(s, "```") {
		m.close()
		if m.code = !m.code; m.code {
			m.b.WriteString(`<pre tabindex="0">`)
		} else {
			m.b.WriteString("</pre>\n")
		}
		return
	}
	if m.code {
		m.b.WriteString(html.EscapeString(s) + "\n")
		return
	}
	t := strings.TrimSpace(s)
	level := len(t) - len(strings.TrimLeft(t, "#"))
	number, item, numbered := strings.Cut(t, ". ")
	switch {
	case t == "":
		m.close()
	case level > 0 && level < 5 && strings.HasPrefix(t[level:], " "):
		m.heading(level, strings.TrimSpace(t[level:]))
	case strings.HasPrefix(t, "- "):
		m.item("ul", t[2:])
	case numbered && len(number) < 3 && strings.Trim(number, "0123456789") == "":
		m.item("ol", item)
	case m.open == "":
		m.b.WriteString("<p>" + inline(t))
		m.open = "p"
	default: // goes on in the same paragraph or item
		m.b.WriteString(" " + inline(t))
	}
}

func (m *manualWriter) heading(level int, text string) {
	m.close()
	h := "h" + string(rune('0'+level))
	id := strings.Trim(strings.ToLower(strings.ReplaceAll(text, " ", "-")), "`")
	if level > 1 {
		m.sections[id] = true
	}
	m.b.WriteString("<" + h + ` id="` + html.EscapeString(id) + `"><a href="#` + html.EscapeString(id) + `">` + inline(text) + "</a></" + h + ">\n")
}

func (m *manualWriter) item(list, text string) {
	if m.open != list {
		m.close()
		m.b.WriteString("<" + list + ">")
		m.open = list
	} else {
		m.b.WriteString("</li>")
	}
	m.b.WriteString("<li>" + inline(text))
}

// inline handles `code`, **strong** and [text](/path or #anchor).
func inline(s string) string {
	var b strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "`*[")
		if i < 0 {
			break
		}
		b.WriteString(html.EscapeString(s[:i]))
		s = s[i:]
		if out, rest, ok := span(s); ok {
			b.WriteString(out)
			s = rest
			continue
		}
		b.WriteString(html.EscapeString(s[:1]))
		s = s[1:]
	}
	b.WriteString(html.EscapeString(s))
	return b.String()
}

func span(s string) (out, rest string, ok bool) {
	switch {
	case strings.HasPrefix(s, "**"):
		if t, r, ok := strings.Cut(s[2:], "**"); ok {
			return "<strong>" + inline(t) + "</strong>", r, true
		}
	case s[0] == '`':
		if t, r, ok := strings.Cut(s[1:], "`"); ok {
			return "<code>" + html.EscapeString(t) + "</code>", r, true
		}
	case s[0] == '[':
		t, r, ok := strings.Cut(s[1:], "](")
		if !ok {
			return "", "", false
		}
		href, r, ok := strings.Cut(r, ")")
		local := strings.HasPrefix(href, "#") || strings.HasPrefix(href, "/") && !strings.HasPrefix(href, "//")
		if ok && local {
			return `<a href="` + html.EscapeString(href) + `">` + html.EscapeString(t) + "</a>", r, true
		}
	}
	return "", "", false
}

// manual is OPERATIONS.md, read once: whole, and by section.
type manual struct {
	all      template.HTML
	order    []string // codes, as they stand in the text
	sections map[string]template.HTML
}

func readManual(md string) manual {
	m := manual{sections: map[string]template.HTML{}}
	m.all, _ = renderManual(md)
	parts := strings.Split("\n"+md, "\n## ")
	for _, p := range parts[1:] {
		html, names := renderManual("## " + p)
		code, _, _ := strings.Cut(p, "\n")
		code = strings.TrimSpace(code)
		if names[code] {
			m.order = append(m.order, code)
			m.sections[code] = html
		}
	}
	return m
}

func (m *manual) has(code string) bool { return m.sections[code] != "" }

type manualData struct {
	Code  string
	Order []string
	Text  template.HTML
}

func (w *Web) operationsPage(rw http.ResponseWriter, r *http.Request) error {
	f := w.frame(r, "operations", "Operations")
	f.Data = &manualData{Order: w.manual.order, Text: w.manual.all}
	return w.render(rw, r, "operations.html", f)
}

// sectionPage is one section, for whoever follows an incident's link.
func (w *Web) sectionPage(rw http.ResponseWriter, r *http.Request) error {
	code := r.PathValue("section")
	if !w.manual.has(code) {
		return notFound("The manual has no section of this name. /ops/ has all of it.")
	}
	f := w.frame(r, "operations", strings.ReplaceAll(code, "_", " "))
	f.Data = &manualData{Code: code, Order: w.manual.order, Text: w.manual.sections[code]}
	return w.render(rw, r, "operations.html", f)
}
