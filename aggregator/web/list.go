package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// listing is what the pages that list things have in common: tabs and fields that
// narrow the list and stand in the address, a file of it, and its next page.
//
//	{{template "list-head" .}}  tabs, fields, CSV
//	{{template "list-foot" .}}  next page
type listing struct {
	Path   string // of the page
	Ops    bool   // the reader may decide
	Admin  bool
	Tabs   []option
	Fields []field
	CSV    string // address of the file
	Next   string // address of the next page; "": this is the last
	First  string // address of the first page; "": this is it
	query  url.Values
}

// option is a tab, or a choice of a field.
type option struct {
	Value, Text string
	On          bool
	Href        string
	N           int  // shown beside it
	Counted     bool // N is known
	Bad         bool // N is one too many if it is not 0
}

// field narrows a list by a text, or by one of Options.
type field struct {
	Name, Label, Value, Hint string
	Options                  []option
}

func (w *Web) listing(r *http.Request, path string) *listing {
	q := url.Values{}
	for k := range r.URL.Query() {
		if v := query(r, k); v != "" {
			q.Set(k, v)
		}
	}
	p := person(r)
	l := &listing{Path: path, Ops: p.Role >= Ops, Admin: p.Role >= Admin, query: q}
	l.CSV = path + ".csv?" + q.Encode()
	if q.Get("after") != "" {
		l.First = l.with("after", "")
	}
	return l
}

// with is the page's address with one parameter changed; its place in the pages is
// lost, except where it is the place that changes.
func (l *listing) with(name, value string) string {
	q := url.Values{}
	for k, v := range l.query {
		if k != "after" {
			q[k] = v
		}
	}
	q.Set(name, value)
	if value == "" {
		q.Del(name)
	}
	if len(q) == 0 {
		return l.Path
	}
	return l.Path + "?" + q.Encode()
}

// tabs make a parameter's values tabs; the first is that of no parameter.
func (l *listing) tabs(name string, all ...option) string {
	now := l.query.Get(name)
	if !slices.ContainsFunc(all, func(o option) bool { return o.Value == now }) {
		now = all[0].Value
	}
	for i := range all {
		o := &all[i]
		o.On = o.Value == now
		if o.Href = l.with(name, o.Value); i == 0 {
			o.Href = l.with(name, "")
		}
	}
	l.Tabs = all
	return now
}

// field adds one and returns its value.
func (l *listing) field(name, label, hint string, choices ...string) string {
	f := field{Name: name, Label: label, Value: l.query.Get(name), Hint: hint}
	for _, c := range choices {
		f.Options = append(f.Options, option{Value: c, Text: c, On: c == f.Value})
	}
	if f.Value != "" && len(choices) > 0 && !slices.Contains(choices, f.Value) { // of a sent link: it stays
		f.Options = append(f.Options, option{Value: f.Value, Text: f.Value, On: true})
	}
	l.Fields = append(l.Fields, f)
	return f.Value
}

// Kept are parameters that neither a tab nor a field of the page has: the form that
// narrows the list sends them along.
func (l *listing) Kept() (out []pair) {
	for k := range l.query {
		if k != "after" && k != "state" && !slices.ContainsFunc(l.Fields, func(f field) bool { return f.Name == k }) {
			out = append(out, pair{k, l.query.Get(k)})
		}
	}
	slices.SortFunc(out, func(a, b pair) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Narrowed tells whether something is left out.
func (l *listing) Narrowed() bool {
	return slices.ContainsFunc(l.Fields, func(f field) bool { return f.Value != "" })
}

// page cuts a list that was asked for with one more than fits, and links the rest.
func page[T any](l *listing, list []T, size int, id func(*T) string) []T {
	if len(list) <= size {
		return list
	}
	list = list[:size]
	l.Next = l.with("after", id(&list[size-1]))
	return list
}

// show renders a page, or only what of it changes where the page asks for that.
func (w *Web) show(rw http.ResponseWriter, r *http.Request, name, title string, data any) error {
	if r.Header.Get("X-Tillwire") == "part" {
		rw.Header().Set("X-Tillwire-Counts", w.counts(r)) // for the navigation, which is no part of it
		return w.render(rw, r, name+"-part", data)
	}
	f := w.frame(r, name, title)
	f.Data = data
	return w.render(rw, r, name+".html", f)
}

// decided turns the error of an action into words for whoever pressed the button.
func (w *Web) decided(what string, err error) error {
	var pe *pageError
	var p *protocol.Problem
	switch {
	case err == nil || errors.As(err, &pe):
		return err
	case errors.As(err, &p):
		text := p.Detail
		if text == "" {
			text = p.Title
		}
		if p.Hint != "" {
			text += " — " + p.Hint
		}
		return &fieldsError{&pageError{p.Status, p.Code, text}, p.Errors}
	case errors.Is(err, ledger.ErrNotFound):
		return notFound("It is gone.")
	}
	w.opts.Log.Warn().Err(err).Str("what", what).Msg("action failed")
	return &pageError{http.StatusConflict, "not_done", "It did not work: " + err.Error()}
}

// done answers a button: say is told to the person.
func done(rw http.ResponseWriter, r *http.Request, say string) error {
	return writeJSON(rw, r, map[string]any{"ok": true, "say": say})
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return comma(int64(n)) + " " + many
}
