package simulator

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// The plain reader: what a person with a spreadsheet would do. It reads the
// file a second time, line by line, and adds quantities up per store and
// article. It shares nothing with the reader that makes documents: not the
// CSV parser, not the number parser, not the zone rules.

// plainSums is thousandths per store and per article as the file spells it.
type plainSums struct {
	Lines int
	Sums  map[string]map[string]int64
}

func (p *plainSums) add(store, article string, thousandths int64) {
	p.Lines++
	if p.Sums == nil {
		p.Sums = map[string]map[string]int64{}
	}
	if p.Sums[store] == nil {
		p.Sums[store] = map[string]int64{}
	}
	p.Sums[store][article] += thousandths
}

// sumPlainly reads a file of a known format.
func sumPlainly(name, format string) (*plainSums, error) {
	r, err := openFile(name)
	if err != nil {
		return nil, err
	}
	p, err := sumReader(r, format)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("sum %s: %w", name, err)
	}
	return p, nil
}

func sumReader(r io.Reader, format string) (*plainSums, error) {
	p := &plainSums{}
	if format == formatNCR {
		return p, sumPOSLog(r, p)
	}
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), sourceLineMax)
	var head []string
	for no := 1; sc.Scan(); no++ {
		f := splitPlainly(strings.TrimSuffix(sc.Text(), "\r"))
		if head == nil {
			head = f
			continue
		}
		if err := sumRow(p, format, head, f); err != nil {
			return nil, fmt.Errorf("line %d: %w", no, err)
		}
	}
	return p, sc.Err()
}

// splitPlainly cuts a line at commas outside quotes.
func splitPlainly(s string) []string {
	var out []string
	var b strings.Builder
	quoted := false
	for _, c := range s {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteRune(c)
		}
	}
	return append(out, b.String())
}

func sumRow(p *plainSums, format string, head, row []string) error {
	get := func(name string) string {
		for i, h := range head {
			if h == name && i < len(row) {
				return row[i]
			}
		}
		return ""
	}
	if format == formatCJ {
		q, err := thousandths(get("qty"))
		p.add("CJ-"+get("store"), get("product"), -q)
		return err
	}
	q, err := thousandths(get("quantity"))
	if q < 0 && get("invoice")[:1] != "C" {
		p.add("UCI-1", get("stock_code"), q) // written off: leaves the shelf
	} else {
		p.add("UCI-1", get("stock_code"), -q) // sold, or (negative) brought back
	}
	return err
}

func thousandths(s string) (int64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("quantity %q is not a number", s)
	}
	return int64(math.Round(f * 1000)), nil
}

// sumPOSLog adds up the Sale lines of an NCR POSLog. A voided line stands in
// the file as an extra line with a negative quantity, so it is simply added;
// a bottle refund (acs:NegativeItem) is goods coming in.
func sumPOSLog(r io.Reader, p *plainSums) error {
	type sale struct {
		ItemType string `xml:"ItemType,attr"`
		ItemID   string `xml:"ItemID"`
		Quantity string `xml:"Quantity"`
	}
	dec := xml.NewDecoder(r)
	store := ""
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "RetailStoreID":
			if err := dec.DecodeElement(&store, &start); err != nil {
				return err
			}
		case "Sale":
			var s sale
			if err := dec.DecodeElement(&s, &start); err != nil {
				return err
			}
			q, err := thousandths(s.Quantity)
			if err != nil {
				return err
			}
			if !strings.HasSuffix(s.ItemType, "NegativeItem") {
				q = -q
			}
			p.add(store, s.ItemID, q)
		}
	}
}
