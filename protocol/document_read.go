package protocol

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

var (
	errNotObject = errors.New("a document is a JSON object")
	errTrailing  = errors.New("more follows after the document")
)

// newDecoder reads b in place. By default jsontext refuses duplicate names and
// invalid UTF-8, which is what we want.
func newDecoder(b []byte) *jsontext.Decoder { return jsontext.NewDecoder(bytes.NewBuffer(b)) }

// readDocument goes over the whole body. The error is one of syntax; wrong
// fields are collected in r instead.
func (r *docReader) readDocument() error {
	if r.dec.PeekKind() != '{' {
		if _, err := r.dec.ReadValue(); err != nil {
			return err
		}
		return errNotObject
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	for r.dec.PeekKind() == '"' {
		name, err := r.name()
		if err != nil {
			return err
		}
		f := docFieldNames[string(name)]
		if f == docUnknown {
			r.fail(CodeUnknownField, pointer(string(name)), "is not a field of any document")
			if err := r.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := r.docField(f); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		if err != nil {
			return err
		}
		return errTrailing
	}
	return nil
}

// name reads a member name.
func (r *docReader) name() ([]byte, error) {
	v, err := r.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	return unquote(v), nil
}

func unquote(v jsontext.Value) []byte {
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1]
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return nil // cannot be: the decoder has validated it
	}
	return b
}

// pointer makes an RFC 6901 pointer of one member name.
func pointer(name string) string {
	if strings.ContainsAny(name, "~/") {
		name = strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	}
	return "/" + name
}

// linePointer points at a field of line i (from 0).
func linePointer(i int, field string) string {
	return "/lines/" + strconv.Itoa(i) + "/" + field
}

// at says where a value stands, composing the pointer only when it is needed.
type at struct {
	line int // -1: in the document itself
	name string
}

func (a at) String() string {
	if a.line < 0 {
		return pointer(a.name)
	}
	return linePointer(a.line, a.name)
}

// docField reads the value of one known field. null means not stated.
func (r *docReader) docField(f docField) error {
	where := at{-1, docRules[f].name}
	if f == docLines {
		return r.readLines()
	}
	switch f { //nolint:exhaustive // the others are strings
	case docComplete:
		return r.complete(where)
	case docAcknowledged:
		return r.acknowledged(where)
	}
	s, is, err := r.text(where)
	if err != nil || is == absent {
		return err
	}
	r.seen |= 1 << f
	if is == wrong {
		return nil
	}
	e := r.e
	switch f {
	case docKind:
		r.setKind(where, s)
	case docLocation:
		e.Store = StoreID(r.placeName(where, s))
	case docSource:
		e.Source = r.freeText(where, s)
	case docID, docSnapshotID:
		e.DocumentID = r.identifier(where, s)
	case docRegister:
		e.Register = r.identifier(where, s)
	case docOccurredAt, docAsOf:
		e.EventTime = r.stamp(where, s)
	case docBusinessDate:
		e.BusinessDate = r.date(where, s)
	case docTraceparent:
		if e.Traceparent = s; !ValidTraceparent(s) {
			r.invalid(where.String(), "is not a W3C traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		}
	case docOriginalStore:
		e.OriginalStore = StoreID(r.placeName(where, s))
	case docCounterparty:
		e.Counterparty = StoreID(r.placeName(where, s))
	case docZone:
		e.Zone = r.freeText(where, s)
	case docCountedAt:
		r.countedAt = r.stamp(where, s)
	case docFrom:
		r.from = r.disposition(where, s)
	case docTo:
		r.to = r.disposition(where, s)
	case docExpectedAt:
		e.ExpectedAt = r.stamp(where, s)
	case docVoidsKind, docDirection, docScope, docReason, docAction:
		r.choice(f, where, s)
	default:
		*r.idField(f) = r.identifier(where, s)
	}
	return nil
}

// idField is where an identifier without rules of its own belongs.
func (r *docReader) idField(f docField) *string {
	switch f {
	case docOrderID:
		return &r.e.OrderID
	case docHoldID:
		return &r.e.HoldID
	case docOriginalID:
		return &r.e.OriginalDocument
	case docVoids:
		return &r.e.Voids
	case docAdviceID:
		return &r.e.AdviceID
	case docTransferID:
		return &r.e.TransferID
	}
	return &r.e.Session
}

// readLines reads the array of lines.
func (r *docReader) readLines() error {
	if k := r.dec.PeekKind(); k != '[' {
		if k != 'n' && k != 0 {
			r.invalid("/lines", "must be an array of lines")
		}
		return r.dec.SkipValue()
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	r.seen |= 1 << docLines
	r.e.Lines = make([]Line, 0, 8)
	for k := r.dec.PeekKind(); k != ']' && k != 0; k = r.dec.PeekKind() {
		i := len(r.e.Lines)
		if i >= DocumentLinesMax {
			r.linesMore = true
			if err := r.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		r.e.Lines = append(r.e.Lines, Line{})
		if k != '{' {
			r.invalid("/lines/"+strconv.Itoa(i), "must be an object with sku and quantity")
			if err := r.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := r.readLine(i); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

func (r *docReader) readLine(i int) error {
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	var seen uint16
	r.unitPrice = 0
	for r.dec.PeekKind() == '"' {
		name, err := r.name()
		if err != nil {
			return err
		}
		f := lineFieldNames[string(name)]
		if f == lineUnknown {
			r.fail(CodeUnknownField, "/lines/"+strconv.Itoa(i)+pointer(string(name)), "is not a field of any line")
			if err := r.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		ok, err := r.lineField(i, f)
		if err != nil {
			return err
		}
		if ok {
			seen |= 1 << f
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	r.complain(i, r.scanned(i, seen))
	if fresh := seen &^ r.lineSeen; fresh != 0 {
		for f := range lineFieldCount {
			if fresh&(1<<f) != 0 {
				r.lineFirst[f] = int16(i)
			}
		}
		r.lineSeen |= fresh
	}
	return nil
}

// lineField reads one known field of line i; ok is false where it was null.
func (r *docReader) lineField(i int, f lineField) (ok bool, err error) {
	where := at{i, lineRules[f].name}
	l := &r.e.Lines[i]
	if f == lineLine || f == lineQuantity || f == lineUnitPrice {
		return r.lineNumber(l, f, where)
	}
	s, is, err := r.text(where)
	if err != nil || is != present {
		return is == wrong, err
	}
	switch f {
	case lineSKU:
		r.setSKU(l, where, s)
	case lineUOM:
		if l.UOM = s; !validUOM(s) {
			r.invalid(where.String(), "must be a UN/ECE Recommendation 20 code of 1 to 3 of A-Z 0-9, such as EA or KGM")
		}
	case lineDisposition:
		l.Disposition = r.disposition(where, s)
	case lineFrom:
		l.From = r.disposition(where, s)
	case lineTo:
		l.To = r.disposition(where, s)
	case lineCountedAt:
		l.CountedAt = r.stamp(where, s)
	case lineZone:
		l.Zone = r.freeText(where, s)
	case lineCode:
		l.RawCode = r.rawCode(where, s)
	case lineOriginalID:
		d := r.lineDoc(i)
		d.document = r.identifier(where, s)
	case lineOriginalStore:
		d := r.lineDoc(i)
		d.store = StoreID(r.placeName(where, s))
	}
	return true, nil
}

func (r *docReader) lineDoc(i int) *lineDoc {
	if n := len(r.lineDocs); n == 0 || r.lineDocs[n-1].line != i {
		r.lineDocs = append(r.lineDocs, lineDoc{line: i})
	}
	return &r.lineDocs[len(r.lineDocs)-1]
}

// lineNumber reads line, quantity and unit price.
func (r *docReader) lineNumber(l *Line, f lineField, where at) (bool, error) {
	k := r.dec.PeekKind()
	if k != '0' {
		if k != 'n' && k != 0 {
			r.invalid(where.String(), "must be a JSON number, without quotes")
		}
		// What is there was told about: it is not missing too.
		return k != 'n', r.dec.SkipValue()
	}
	v, err := r.dec.ReadValue()
	if err != nil {
		return false, err
	}
	if f != lineLine {
		q, err := ParseQuantity(string(v))
		switch {
		case err != nil:
			r.invalid(where.String(), err.Error())
		case f == lineQuantity:
			l.Quantity = q
		case q < 0:
			r.invalid(where.String(), "is negative: give the regular price of one base unit")
		default:
			r.unitPrice = q
		}
		return true, nil
	}
	// A number that Atoi cannot read is out of the range as well.
	if l.Line, err = strconv.Atoi(string(v)); err != nil || l.Line < 1 || l.Line > lineNumberMax {
		r.invalid(where.String(), "must be a whole number from 1 to 999999")
	}
	return true, nil
}

const lineNumberMax = 999_999

// presence of a value: null counts as absent; what has another type is there
// and told about, so it is not missing too.
type presence uint8

const (
	absent presence = iota
	wrong
	present
)

// text reads a string.
func (r *docReader) text(where at) (string, presence, error) {
	switch k := r.dec.PeekKind(); k {
	case '"':
		v, err := r.dec.ReadValue()
		if err != nil {
			return "", absent, err
		}
		return string(unquote(v)), present, nil
	case 'n', 0:
		return "", absent, r.dec.SkipValue()
	default:
		r.invalid(where.String(), "must be a string")
		return "", wrong, r.dec.SkipValue()
	}
}

// complete reads the boolean of snapshots.
func (r *docReader) complete(where at) error {
	switch k := r.dec.PeekKind(); k {
	case 't', 'f':
		r.e.Complete = k == 't'
		r.seen |= 1 << docComplete
	case 'n', 0:
	default:
		r.seen |= 1 << docComplete
		r.invalid(where.String(), "must be true or false")
	}
	return r.dec.SkipValue()
}

// stamp reads an RFC 3339 time with zone.
func (r *docReader) stamp(where at, s string) Stamp {
	st, err := ParseStamp(s)
	if err != nil {
		r.invalid(where.String(), err.Error())
	}
	return st
}

var (
	errStampForm = errors.New("must be an RFC 3339 time with zone, such as 2026-11-23T10:15:02.123+01:00")
	errStampYear = errors.New("is not within the years 2000 to 2099: check the clock of the sender")
	errDateForm  = errors.New("must be a date such as 2026-11-23, within the years 2000 to 2099")
)

// ParseStamp reads an RFC 3339 time with zone within the years 2000 to 2099.
// Times ahead of ours are fine: a wrong clock must never stop a sale.
func ParseStamp(s string) (Stamp, error) {
	var t time.Time
	if err := t.UnmarshalText([]byte(s)); err != nil {
		return Stamp{}, errStampForm
	}
	if y := t.Year(); y < 2000 || y > 2099 {
		return Stamp{}, errStampYear
	}
	return StampOf(t), nil
}

// CheckDate validates YYYY-MM-DD within the years 2000 to 2099.
func CheckDate(s string) error {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Year() < 2000 || t.Year() > 2099 {
		return errDateForm
	}
	return nil
}
