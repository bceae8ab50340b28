package page

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
)

// Page is a whole report, in the order in which it is read.
type Page struct {
	Title    string
	Lead     string // under the title: what was rehearsed
	OK       bool
	Verdict  string // the sentence that counts
	Wrong    []string
	Tiles    []Tile
	Charts   []Chart
	Tables   []Table
	Repeat   string // command line
	Notes    []string
	Footnote string
}

// Tile is one figure that a reader should leave with.
type Tile struct {
	Value, Name, Note string
}

// Table is a table with a heading. Numeric columns stand right.
type Table struct {
	Title, Note string
	Head        []string
	Right       []bool // per column
	Rows        [][]string
}

//go:embed page.html
var text string

var parsed = template.Must(template.New("page").Funcs(template.FuncMap{
	"svg":   func(c Chart) template.HTML { return template.HTML(c.SVG()) }, //nolint:gosec // Chart escapes what it is given
	"right": func(t Table, i int) bool { return i < len(t.Right) && t.Right[i] },
}).Parse(text))

// HTML draws the page.
func (p *Page) HTML() ([]byte, error) {
	var b bytes.Buffer
	if err := parsed.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("draw page: %w", err)
	}
	return b.Bytes(), nil
}
