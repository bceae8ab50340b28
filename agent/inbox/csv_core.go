package inbox

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tillwire/protocol"
)

// Reason says what is wrong with one line of a file.
type Reason struct {
	Line       int    `json:"line"` // of the file, from 1; 0 = the file as a whole
	DocumentID string `json:"document_id,omitempty"`
	Field      string `json:"field,omitempty"`
	Code       string `json:"code"`
	Problem    string `json:"problem"`
	Remedy     string `json:"remedy"`
}

// document is a decoded document with the line on which it begins, or the
// reasons why there is none.
type document struct {
	line   int
	id     string
	events []*protocol.Event // several where it has more lines than the wire allows
	bad    []Reason
}

// csvReader turns rows into documents, one at a time. Rows of one document
// stand together; memory holds one document and a hash per id.
type csvReader struct {
	m      *Mapping
	store  protocol.StoreID
	zone   *time.Location
	csv    *csv.Reader
	fields []string
	seen   map[uint64]bool // documents that are complete
	cur    group
	spoilt *Reason // an unreadable line: its neighbours may lack a row
	lines  int
	eof    bool
}

// group is the document being gathered: the rows that share kind and id.
type group struct {
	head  row
	rows  []row
	lines []int // of the file, for each row
	bad   []Reason
}

// newCSV reads the header.
func newCSV(in io.Reader, m *Mapping, store protocol.StoreID, zone *time.Location) (*csvReader, *Reason) {
	r := &csvReader{m: m, store: store, zone: zone, csv: csv.NewReader(in), seen: make(map[uint64]bool)}
	r.csv.Comma = m.delimiter()
	r.csv.FieldsPerRecord = -1
	r.csv.ReuseRecord = true
	if len(m.NoHeader) > 0 {
		r.fields = m.NoHeader
		return r, nil
	}
	names, err := r.csv.Read()
	if err != nil {
		return nil, &Reason{Line: 1, Code: "no_header", Problem: "the header line cannot be read: " + plain(err), Remedy: "The first line must name the columns, or the mapping must have no_header."}
	}
	if len(names) > columnsMax {
		return nil, &Reason{Line: 1, Code: "too_many_columns", Problem: fmt.Sprintf("the file has %d columns", len(names)), Remedy: "Check the delimiter in the mapping."}
	}
	if r.fields, err = m.header(names); err != nil {
		return nil, &Reason{Line: 1, Code: "bad_header", Problem: err.Error(), Remedy: "Make header and mapping agree."}
	}
	return r, nil
}

func plain(err error) string {
	if errors.Is(err, io.EOF) {
		return "the file is empty"
	}
	return err.Error()
}

// next gives the next document; ok is false at the end of the file.
func (r *csvReader) next() (document, bool) {
	for !r.eof {
		cells, err := r.csv.Read()
		if err == io.EOF {
			r.eof = true
			break
		}
		r.lines++
		line := 0 // a line that breaks within its first cell has no cells
		if len(cells) > 0 {
			line, _ = r.csv.FieldPos(0)
		}
		if reason := r.unreadable(cells, line, err); reason != nil {
			// Whose row it was cannot be known: neither the document before nor
			// the one behind may be journaled, since it may lack this row.
			r.spoilt = reason
			if r.cur.head != nil {
				return r.flush(), true
			}
			continue
		}
		rw := r.m.row(r.fields, cells)
		if r.cur.head != nil && (rw["document_id"] != r.cur.head["document_id"] || rw["kind"] != r.cur.head["kind"]) {
			d := r.flush()
			r.cur.add(rw, line)
			return d, true
		}
		r.cur.add(rw, line)
		if r.spoilt != nil && len(r.cur.rows) == 1 {
			r.cur.bad = append(r.cur.bad, *r.spoilt)
		}
		r.spoilt = nil
	}
	if r.cur.head != nil {
		return r.flush(), true
	}
	if r.spoilt != nil {
		d := document{line: r.spoilt.Line, bad: []Reason{*r.spoilt}}
		r.spoilt = nil
		return d, true
	}
	return document{}, false
}

func (r *csvReader) unreadable(cells []string, line int, err error) *Reason {
	var pe *csv.ParseError
	switch {
	case errors.As(err, &pe):
		return &Reason{Line: pe.Line, Code: "malformed_csv", Problem: pe.Err.Error(), Remedy: "Quote cells that hold the delimiter, and double quotes within them. Documents beside this line were left out, since it may belong to them."}
	case err != nil:
		r.eof = true
		return &Reason{Line: line, Code: "unreadable", Problem: err.Error(), Remedy: "Copy the file again."}
	case r.lines > fileLinesMax:
		r.eof = true
		return &Reason{Line: line, Code: "too_many_lines", Problem: fmt.Sprintf("the file has more than %d lines", fileLinesMax), Remedy: "Split the file; what stands before this line was journaled."}
	case len(cells) != len(r.fields):
		return &Reason{Line: line, Code: "wrong_cells", Problem: fmt.Sprintf("has %d cells, the header has %d", len(cells), len(r.fields)), Remedy: "Correct the line or the delimiter. Documents beside this line were left out, since it may belong to them."}
	}
	for i, c := range cells {
		if !utf8.ValidString(c) {
			return &Reason{Line: line, Field: r.fields[i], Code: "encoding", Problem: "is not UTF-8", Remedy: "Export the file as UTF-8."}
		}
		if len(c) > lineBytesMax {
			return &Reason{Line: line, Field: r.fields[i], Code: "cell_too_long", Problem: "the cell is too long", Remedy: "Look for a missing quote."}
		}
	}
	return nil
}

// add puts a row to its document; what a row says of the document must agree
// with the first.
func (g *group) add(r row, line int) {
	if g.head == nil {
		g.head = r
	}
	for _, f := range docFields {
		if v := r[f]; v != "" && v != g.head[f] && f != "occurred_at" {
			g.bad = append(g.bad, Reason{
				Line: line, DocumentID: g.head["document_id"], Field: f, Code: "contradiction",
				Problem: "differs from the document's first line", Remedy: "Rows with one document_id are one document: correct the export, or give them ids of their own.",
			})
		}
	}
	if q := r["quantity"]; q != "" && !isNumber(q) {
		g.bad = append(g.bad, Reason{
			Line: line, DocumentID: g.head["document_id"], Field: "quantity", Code: protocol.CodeInvalidField,
			Problem: "is not a number", Remedy: "Write 0.455; where the file has decimal commas set decimal_comma in the mapping.",
		})
	}
	g.rows, g.lines = append(g.rows, r), append(g.lines, line)
}

// flush decodes the document gathered, by the same decoder as every other.
func (r *csvReader) flush() document {
	g := r.cur
	r.cur = group{}
	d := document{line: g.lines[0], id: g.head["document_id"], bad: g.bad}
	if r.spoilt != nil {
		d.bad = append(d.bad, *r.spoilt)
	}
	h := fnv.New64a()
	h.Write([]byte(g.head["kind"] + "\x00" + d.id))
	key := h.Sum64()
	if r.seen[key] {
		d.bad = append(d.bad, Reason{Line: d.line, DocumentID: d.id, Field: "document_id", Code: "rows_apart", Problem: "further rows of this document stand elsewhere in the file", Remedy: "Sort the file by document_id: the rows of one document must stand together."})
	}
	r.seen[key] = true
	if len(d.bad) > 0 {
		return d
	}
	var whole protocol.Event
	for from := 0; from < len(g.rows); from += protocol.DocumentLinesMax {
		to := min(from+protocol.DocumentLinesMax, len(g.rows))
		e := r.decode(&g, from, to, &d)
		if e == nil {
			return d
		}
		if from == 0 {
			whole = *e
		} else {
			whole.Lines = append(whole.Lines, e.Lines...)
			whole.Flags |= e.Flags
		}
	}
	d.events = protocol.SplitDocument(&whole)
	return d
}

// decode reads rows[from:to] as one document.
func (r *csvReader) decode(g *group, from, to int, d *document) *protocol.Event {
	times := timeReader{zone: r.zone, layout: r.m.TimeLayout}
	e, p := protocol.DecodeDocument(g.json(r.m, &times, from, to), protocol.Source{Store: r.store, Lenient: true})
	if p != nil {
		for _, f := range p.Errors {
			line, field := g.lines[from], strings.TrimPrefix(f.Pointer, "/")
			if i, name, ok := linePointer(f.Pointer); ok && from+i < to {
				line, field = g.lines[from+i], name
			}
			d.bad = append(d.bad, Reason{Line: line, DocumentID: d.id, Field: field, Code: p.Code, Problem: f.Message, Remedy: p.Hint})
		}
		if len(p.Errors) == 0 {
			d.bad = append(d.bad, Reason{Line: d.line, DocumentID: d.id, Code: p.Code, Problem: p.Detail, Remedy: p.Hint})
		}
		return nil
	}
	if times.zoneless {
		e.Flags |= protocol.FlagZoneless
	}
	return e
}

// linePointer takes /lines/3/sku apart.
func linePointer(ptr string) (i int, field string, ok bool) {
	rest, found := strings.CutPrefix(ptr, "/lines/")
	n, field, _ := strings.Cut(rest, "/")
	i, err := strconv.Atoi(n)
	return i, field, found && err == nil
}

// json writes rows[from:to] as a document of ours. Every row gives one line, so
// that pointers lead back to it; a void has none.
func (g *group) json(m *Mapping, times *timeReader, from, to int) []byte {
	b := []byte{'{'}
	for _, f := range docFields {
		v := g.head[f]
		switch {
		case v == "":
			continue
		case f == "occurred_at":
			v = times.stamp(v)
		case f == "business_date":
			v = date(v, m.DateLayout)
		}
		b = appendMember(b, f, v)
	}
	if g.head["kind"] == "void" {
		return append(b[:len(b)-1], '}')
	}
	b = append(b, `"lines":[`...)
	for i, r := range g.rows[from:to] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		for _, f := range lineFields {
			v := r[f]
			switch {
			case v == "":
			case (f == "quantity" || f == "line") && isNumber(v):
				b = append(append(append(b, '"'), f...), `":`...)
				b = append(append(b, v...), ',')
			case f == "counted_at":
				b = appendMember(b, f, times.stamp(v))
			default:
				b = appendMember(b, f, v)
			}
		}
		if b[len(b)-1] == ',' {
			b = b[:len(b)-1]
		}
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

func appendMember(b []byte, name, v string) []byte {
	quoted, err := json.Marshal(v)
	if err != nil { // a string: cannot be
		quoted = []byte(`""`)
	}
	b = append(append(append(b, '"'), name...), `":`...)
	return append(append(b, quoted...), ',')
}

// isNumber tells whether v can stand in JSON as a number.
func isNumber(v string) bool {
	return v != "" && (v[0] == '-' || v[0] >= '0' && v[0] <= '9') && json.Valid([]byte(v))
}

// timeReader turns the file's times into RFC 3339.
type timeReader struct {
	zone     *time.Location
	layout   string
	zoneless bool
}

// stamp gives back what it cannot read, for the decoder to complain about.
func (t *timeReader) stamp(v string) string {
	layouts := []string{t.layout}
	if t.layout == "" {
		layouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04"}
	}
	for _, l := range layouts {
		at, err := time.ParseInLocation(l, v, t.zone)
		if err != nil {
			continue
		}
		if !strings.Contains(l, "Z07") && !strings.Contains(l, "-07") && !strings.Contains(l, "MST") {
			t.zoneless = true
		}
		return at.Format(time.RFC3339Nano)
	}
	return v
}

func date(v, layout string) string {
	if layout == "" {
		return v
	}
	if d, err := time.Parse(layout, v); err == nil {
		return d.Format(time.DateOnly)
	}
	return v
}
