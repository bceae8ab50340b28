package csvdoc

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tillwire/protocol"
)

// Reason says what is wrong with one line of a file.
type Reason struct {
	Line       int // of the file, from 1; 0 = the file as a whole
	DocumentID string
	Field      string
	Code       string // stable, snake_case
	Problem    string
	Remedy     string
}

// Codes of reasons that the readers of other formats have, too.
const (
	CodeHalf  = "half_file"     // the file may have been cut off behind this document
	CodePlace = "unknown_place" // a location that the options do not name
)

// Codes of what a document's own rows do not show.
const (
	codeApart = "rows_apart"
	codeLines = "too_many_lines"
)

// Document is one document of a file: its events, or the reasons why there are none.
type Document struct {
	Line     int // of the file on which it begins
	ID       string
	Kind     string
	Events   []*protocol.Event // several where it has more lines than the wire allows
	Bad      []Reason
	From, To int64 // its rows, and unreadable ones beside it, stand between these bytes
}

// Options are what a file leaves open. Zone is required.
type Options struct {
	Mapping Mapping
	Store   protocol.StoreID // of documents that name no location
	Zone    *time.Location   // of times without one
	// Feed: the file is of an outer system. Statements and advices are allowed, and
	// Places tells what its locations are called here. Without it a document of
	// another location than Store is refused.
	Feed     bool
	Places   map[string]protocol.StoreID
	Complete bool // a statement names all that is there
}

// Reader turns rows into documents, one at a time. Rows of one document
// stand together; memory holds one document and a hash per id.
type Reader struct {
	o      Options
	csv    *csv.Reader
	end    *ending
	fields []string
	header int64
	seen   map[uint64]bool // documents that are complete
	cur    group
	spoilt *spoilt // an unreadable line: its neighbours may lack a row
	lines  int
	over   bool    // the file has been read to its end
	wrong  *Reason // with its end
}

type spoilt struct {
	Reason
	from, to int64
}

// group is the document being gathered: the rows that share kind and id.
type group struct {
	head     row
	rows     []row
	lines    []int // of the file, for each row
	bad      []Reason
	from, to int64
}

// ending remembers the last byte that was read.
type ending struct {
	io.Reader
	last byte
}

func (e *ending) Read(b []byte) (int, error) {
	n, err := e.Reader.Read(b)
	if n > 0 {
		e.last = b[n-1]
	}
	return n, err
}

// New reads the header.
func New(in io.Reader, o Options) (*Reader, *Reason) {
	end := &ending{Reader: in}
	r := &Reader{o: o, end: end, csv: csv.NewReader(end), seen: make(map[uint64]bool)}
	m := &r.o.Mapping
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
	r.header = r.csv.InputOffset()
	return r, nil
}

// Alone makes a file of one refused document of the text that was read: the header before
// its rows, and the last line behind them, unless it is refused for want of that. Read
// again it is refused until its reasons are mended; where its rows do not show them, it is
// all of the text.
func (r *Reader) Alone(text []byte, d *Document) []byte {
	has := func(codes ...string) bool {
		return slices.ContainsFunc(d.Bad, func(x Reason) bool { return slices.Contains(codes, x.Code) })
	}
	if has(codeApart, codeLines) {
		return text
	}
	out := slices.Concat(text[:r.header], text[d.From:d.To])
	if t := r.o.Mapping.Trailer; t != "" && !has(CodeHalf) {
		out = append(append(out, t...), '\n')
	}
	return out
}

func plain(err error) string {
	if errors.Is(err, io.EOF) {
		return "the file is empty"
	}
	return err.Error()
}

// Next gives the next document; ok is false at the end of the file.
func (r *Reader) Next() (Document, bool) {
	for !r.over {
		from := r.csv.InputOffset()
		cells, err := r.csv.Read()
		if err == io.EOF {
			r.finish("")
			break
		}
		line := 0 // a line that breaks within its first cell has no cells
		if len(cells) > 0 {
			line, _ = r.csv.FieldPos(0)
		}
		if t := r.o.Mapping.Trailer; err == nil && t != "" && strings.TrimSpace(cells[0]) == t {
			r.trailer(cells, line)
			break
		}
		r.lines++
		if reason := r.unreadable(cells, line, err); reason != nil {
			// Whose row it was cannot be known: neither the document before nor
			// the one behind may be taken, since it may lack this row.
			if r.spoilt == nil {
				r.spoilt = &spoilt{from: from}
			}
			r.spoilt.Reason, r.spoilt.to = *reason, r.csv.InputOffset()
			if r.cur.head != nil {
				return r.flush(), true
			}
			continue
		}
		rw := r.o.Mapping.row(r.fields, cells)
		if r.cur.head != nil && !r.cur.takes(rw) {
			d := r.flush()
			r.cur.add(rw, line, from, r.csv.InputOffset())
			return d, true
		}
		r.cur.add(rw, line, from, r.csv.InputOffset())
		if r.spoilt != nil && len(r.cur.rows) == 1 {
			r.cur.bad = append(r.cur.bad, r.spoilt.Reason)
			r.cur.from = r.spoilt.from
		}
		r.spoilt = nil
	}
	return r.last()
}

// last gives what is left at the end of the file.
func (r *Reader) last() (Document, bool) {
	wrong := r.wrong
	r.wrong = nil
	switch {
	case r.cur.head != nil:
		if wrong != nil {
			wrong.DocumentID = r.cur.head["document_id"]
			r.cur.bad = append(r.cur.bad, *wrong)
		}
		return r.flush(), true
	case r.spoilt != nil:
		d := Document{Line: r.spoilt.Line, Bad: []Reason{r.spoilt.Reason}, From: r.spoilt.from, To: r.spoilt.to}
		if wrong != nil {
			d.Bad = append(d.Bad, *wrong)
		}
		r.spoilt = nil
		return d, true
	case wrong != nil:
		return Document{Bad: []Reason{*wrong}, From: r.header, To: r.csv.InputOffset()}, true
	}
	return Document{}, false
}

// finish judges the end of the file: whether it looks as if it had been cut off, or what
// else is wrong with it.
func (r *Reader) finish(wrong string) {
	r.over = true
	remedy := "Have the file written again, whole; what stands before this document was taken."
	switch m := &r.o.Mapping; {
	case wrong != "":
	case m.Trailer != "":
		wrong = fmt.Sprintf("the file ends without its last line, which begins with %q: it may have been cut off", m.Trailer)
	case r.end.last != '\n' && r.end.last != '\r' && !m.OpenEnd:
		wrong = "the file ends within a line: it may have been cut off"
		remedy += " Where its writer never ends the last line, set open_end in the mapping."
	default:
		return
	}
	r.wrong = &Reason{Code: CodeHalf, Problem: wrong, Remedy: remedy}
}

// trailer reads the last line.
func (r *Reader) trailer(cells []string, line int) {
	r.over = true
	if len(cells) > 1 {
		if n, err := strconv.Atoi(strings.TrimSpace(cells[1])); err == nil && n != r.lines {
			r.finish(fmt.Sprintf("line %d says that the file has %d rows, it has %d", line, n, r.lines))
			return
		}
	}
	if _, err := r.csv.Read(); err != io.EOF {
		r.finish(fmt.Sprintf("line %d is the last, and further ones stand behind it", line))
	}
}

func (r *Reader) unreadable(cells []string, line int, err error) *Reason {
	var pe *csv.ParseError
	switch {
	case errors.As(err, &pe):
		return &Reason{Line: pe.Line, Code: "malformed_csv", Problem: pe.Err.Error(), Remedy: "Quote cells that hold the delimiter, and double quotes within them. Documents beside this line were left out, since it may belong to them."}
	case err != nil:
		r.over = true
		return &Reason{Line: line, Code: "unreadable", Problem: err.Error(), Remedy: "Copy the file again."}
	case r.lines > linesMax:
		r.over = true
		return &Reason{Line: line, Code: codeLines, Problem: fmt.Sprintf("the file has more than %d lines", linesMax), Remedy: "Split the file; what stands before this line was taken."}
	case len(cells) != len(r.fields):
		return &Reason{Line: line, Code: "wrong_cells", Problem: fmt.Sprintf("has %d cells, the header has %d", len(cells), len(r.fields)), Remedy: "Correct the line or the delimiter. Documents beside this line were left out, since it may belong to them."}
	}
	for i, c := range cells {
		if !utf8.ValidString(c) {
			return &Reason{Line: line, Field: r.fields[i], Code: "encoding", Problem: "is not UTF-8", Remedy: "Export the file as UTF-8."}
		}
		if len(c) > cellBytesMax {
			return &Reason{Line: line, Field: r.fields[i], Code: "cell_too_long", Problem: "the cell is too long", Remedy: "Look for a missing quote."}
		}
	}
	return nil
}

// takes tells whether a row is of the document being gathered. Ids are a location's own.
func (g *group) takes(r row) bool {
	at := r["location"]
	return r["document_id"] == g.head["document_id"] && r["kind"] == g.head["kind"] && (at == "" || at == g.head["location"])
}

// add puts a row to its document; what a row says of the document must agree
// with the first.
func (g *group) add(r row, line int, from, to int64) {
	if g.head == nil {
		g.head, g.from = r, from
	}
	g.to = to
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
func (r *Reader) flush() Document {
	g := r.cur
	r.cur = group{}
	d := Document{Line: g.lines[0], ID: g.head["document_id"], Kind: g.head["kind"], Bad: g.bad, From: g.from, To: g.to}
	if r.spoilt != nil {
		d.Bad = append(d.Bad, r.spoilt.Reason)
		d.To = r.spoilt.to
	}
	store, reason := r.place(&g)
	if reason != nil {
		d.Bad = append(d.Bad, *reason)
	}
	h := fnv.New64a()
	h.Write([]byte(d.Kind + "\x00" + string(store) + "\x00" + d.ID))
	key := h.Sum64()
	if r.seen[key] {
		d.Bad = append(d.Bad, Reason{Line: d.Line, DocumentID: d.ID, Field: "document_id", Code: codeApart, Problem: "further rows of this document stand elsewhere in the file", Remedy: "Sort the file by document_id: the rows of one document must stand together."})
	}
	r.seen[key] = true
	if len(d.Bad) > 0 {
		return d
	}
	var whole protocol.Event
	for from := 0; from < len(g.rows); from += protocol.DocumentLinesMax {
		to := min(from+protocol.DocumentLinesMax, len(g.rows))
		e := r.decode(&g, store, from, to, &d)
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
	if whole.Kind == protocol.KindSnapshot {
		whole.Session = whole.DocumentID
	}
	d.Events = protocol.SplitDocument(&whole)
	return d
}

// place is the location of a document.
func (r *Reader) place(g *group) (protocol.StoreID, *Reason) {
	name := g.head["location"]
	if name == "" {
		if r.o.Store != "" {
			return r.o.Store, nil
		}
		return "", &Reason{Line: g.lines[0], DocumentID: g.head["document_id"], Field: "location", Code: CodePlace, Problem: "no location is named", Remedy: "Map a column to location, or configure the location of all documents."}
	}
	if at, ok := r.o.Places[name]; ok {
		return at, nil
	}
	if name == string(r.o.Store) {
		return r.o.Store, nil
	}
	return "", &Reason{Line: g.lines[0], DocumentID: g.head["document_id"], Field: "location", Code: CodePlace, Problem: fmt.Sprintf("%q is not known here", name), Remedy: "Name it among the places of the configuration; a shop's own agent takes its own documents alone."}
}

// decode reads rows[from:to] as one document.
func (r *Reader) decode(g *group, store protocol.StoreID, from, to int, d *Document) *protocol.Event {
	times := timeReader{zone: r.o.Zone, layout: r.o.Mapping.TimeLayout}
	src := protocol.Source{Store: store, Lenient: true, Feed: r.o.Feed}
	statement := r.o.Feed && d.Kind == protocol.KindSnapshot.String()
	if statement {
		src.Kind = protocol.KindSnapshot
	}
	e, p := protocol.DecodeDocument(g.json(&r.o.Mapping, &times, statement, from, to), src)
	if p != nil {
		for _, f := range p.Errors {
			line, field := g.lines[from], strings.TrimPrefix(f.Pointer, "/")
			if i, name, ok := linePointer(f.Pointer); ok && from+i < to {
				line, field = g.lines[from+i], name
			}
			d.Bad = append(d.Bad, Reason{Line: line, DocumentID: d.ID, Field: field, Code: p.Code, Problem: f.Message, Remedy: p.Hint})
		}
		if len(p.Errors) == 0 {
			d.Bad = append(d.Bad, Reason{Line: d.Line, DocumentID: d.ID, Code: p.Code, Problem: p.Detail, Remedy: p.Hint})
		}
		return nil
	}
	if times.zoneless {
		e.Flags |= protocol.FlagZoneless
	}
	e.Complete = statement && r.o.Complete
	return e
}

// linePointer takes /lines/3/sku apart.
func linePointer(ptr string) (i int, field string, ok bool) {
	rest, found := strings.CutPrefix(ptr, "/lines/")
	n, field, _ := strings.Cut(rest, "/")
	i, err := strconv.Atoi(n)
	return i, field, found && err == nil
}

// statementFields are called otherwise in a statement; what is "" it does not have.
var statementFields = map[string]string{"document_id": "snapshot_id", "occurred_at": "as_of", "kind": ""}

// json writes rows[from:to] as a document of ours. Every row gives one line, so
// that pointers lead back to it; a void has none.
func (g *group) json(m *Mapping, times *timeReader, statement bool, from, to int) []byte {
	b := []byte{'{'}
	for _, f := range docFields {
		v := g.head[f]
		switch {
		case v == "" || f == "location": // the place is the source's
			continue
		case f == "occurred_at":
			v = times.stamp(v)
		case f == "business_date":
			v = date(v, m.DateLayout)
		}
		if name, other := statementFields[f]; statement && other {
			if name == "" {
				continue
			}
			f = name
		}
		b = appendMember(b, f, v)
	}
	if g.head["kind"] == protocol.KindVoid.String() {
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
