package csvdoc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tillwire/protocol"
)

// Mapping says how a CSV file is written. The zero value reads files whose
// header names our own fields.
type Mapping struct {
	Delimiter    string            `toml:"delimiter"`     // one character; "" = comma
	DecimalComma bool              `toml:"decimal_comma"` // 0,455 instead of 0.455
	Kind         string            `toml:"kind"`          // of rows whose kind column is empty or not mapped; "" = sale
	Columns      map[string]string `toml:"columns"`       // header of the file → field, see Fields
	Defaults     map[string]string `toml:"defaults"`      // field → value for rows that have none
	TimeLayout   string            `toml:"time_layout"`   // in Go's notation; "" = RFC 3339, or 2006-01-02 15:04:05 without zone
	DateLayout   string            `toml:"date_layout"`   // of business_date; "" = 2006-01-02
	NoHeader     []string          `toml:"no_header"`     // fields by position, for files without a header line
	// NegativeSales: rows of sales with a negative quantity are returns.
	NegativeSales bool `toml:"negative_sales"`
	// Trailer is the first cell of the last line; a number behind it counts the rows
	// before it. "": files have no such line.
	Trailer string `toml:"trailer"`
	// OpenEnd: the last line has no line break, so that one that was cut off looks whole.
	OpenEnd bool `toml:"open_end"`
}

// docFields and lineFields are what a column may be mapped to: the fields of
// the JSON documents.
var (
	docFields = []string{
		"kind", "location", "document_id", "register", "occurred_at", "business_date", "order_id", "hold_id", "original_document_id",
		"original_store", "voids", "voids_kind", "source", "advice_id", "transfer_id", "counterparty", "direction",
		"scope", "session", "reason",
	}
	lineFields = []string{"line", "sku", "quantity", "uom", "disposition", "counted_at", "zone", "from", "to"}
)

// Fields lists what a column may be mapped to; "-" ignores a column.
func Fields() []string { return append(slices.Clone(docFields), lineFields...) }

// Check names the first thing that is wrong with a mapping.
func (m *Mapping) Check() error {
	if d := []rune(m.Delimiter); len(d) > 1 || m.Delimiter == "\"" || m.Delimiter == "\n" || m.Delimiter == "\r" {
		return fmt.Errorf("check mapping: delimiter %q must be one character other than a quote", m.Delimiter)
	}
	if m.Trailer != strings.TrimSpace(m.Trailer) || strings.ContainsAny(m.Trailer, "\"\r\n"+string(m.delimiter())) {
		return fmt.Errorf("check mapping: trailer %q must be one cell without quotes, delimiters, line breaks and spaces at its ends", m.Trailer)
	}
	if m.Kind != "" && protocol.ParseKind(m.Kind) == protocol.KindInvalid {
		return fmt.Errorf("check mapping: kind %q is not known", m.Kind)
	}
	known := Fields()
	check := func(what, field string) error {
		if field != "-" && !slices.Contains(known, field) {
			return fmt.Errorf("check mapping: %s is mapped to %q; choose one of %s, or - to ignore it", what, field, strings.Join(known, ", "))
		}
		return nil
	}
	for _, c := range slices.Sorted(maps.Keys(m.Columns)) {
		if err := check("column "+c, m.Columns[c]); err != nil {
			return err
		}
	}
	for i, f := range m.NoHeader {
		if err := check(fmt.Sprintf("position %d", i+1), f); err != nil {
			return err
		}
	}
	for _, f := range slices.Sorted(maps.Keys(m.Defaults)) {
		if err := check("default of "+f, f); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mapping) delimiter() rune {
	if m.Delimiter == "" {
		return ','
	}
	return []rune(m.Delimiter)[0]
}

// header turns the first line into fields by position.
func (m *Mapping) header(names []string) ([]string, error) {
	fields := make([]string, len(names))
	seen := map[string]string{}
	known := Fields()
	for i, n := range names {
		n = strings.TrimSpace(strings.TrimPrefix(n, "\ufeff"))
		f, mapped := m.Columns[n]
		if !mapped {
			if f = "-"; slices.Contains(known, n) {
				f = n
			} else if len(m.Columns) == 0 {
				return nil, fmt.Errorf("column %q is not a field; map it in the mapping file, or to - to ignore it", n)
			}
		}
		if f != "-" && seen[f] != "" {
			return nil, fmt.Errorf("columns %q and %q are both %s; map one of them to -", seen[f], n, f)
		}
		seen[f] = n
		fields[i] = f
	}
	for c, f := range m.Columns {
		if f != "-" && seen[f] != c {
			return nil, fmt.Errorf("column %q of the mapping is not in the file; correct the mapping or the export", c)
		}
	}
	if seen["document_id"] == "" && m.Defaults["document_id"] == "" {
		return nil, errors.New("no column is mapped to document_id; without it the file could not be read twice safely")
	}
	return fields, nil
}

// row is one line of a file by field.
type row map[string]string

func (m *Mapping) row(fields, cells []string) row {
	r := make(row, len(fields))
	for i, f := range fields {
		if f == "-" || i >= len(cells) {
			continue
		}
		if v := strings.TrimSpace(cells[i]); v != "" {
			r[f] = v
		}
	}
	for f, v := range m.Defaults {
		if r[f] == "" {
			r[f] = v
		}
	}
	if r["kind"] == "" {
		if r["kind"] = m.Kind; m.Kind == "" {
			r["kind"] = "sale"
		}
	}
	if q := r["quantity"]; q != "" {
		if m.DecimalComma {
			q = strings.Replace(strings.ReplaceAll(q, ".", ""), ",", ".", 1)
		}
		q = strings.TrimPrefix(q, "+")
		if m.NegativeSales && r["kind"] == "sale" && strings.HasPrefix(q, "-") {
			r["kind"], q = "return", q[1:]
		}
		r["quantity"] = q
	}
	return r
}
