package protocol

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Source says where a document came from and what is demanded of it.
type Source struct {
	Store   StoreID // whose stock moves; with Feed the document's own location wins
	Kind    Kind    // KindInvalid: the document names its own "kind"
	Feed    bool    // "location", "source" and snapshots are allowed; location stands in for a missing Store
	Lenient bool    // legacy: bad check digits are kept as raw code and flagged
	Schemes Schemes // how price- and weight-embedded barcodes are read; checked by Schemes.Check
}

// Codes of the problems that DecodeDocument reports.
const (
	CodeMalformedJSON  = "malformed_json"     // 400: not one JSON object in UTF-8
	CodeDuplicateField = "duplicate_field"    // 400: one name twice in one object
	CodeUnknownField   = "unknown_field"      // 422
	CodeMissingField   = "missing_field"      // 422
	CodeInvalidField   = "invalid_field"      // 422: wrong type, form or range
	CodeBadCheckDigit  = "bad_check_digit"    // 422: a number of GTIN length that is none
	CodePANDetected    = "pan_detected"       // 422: a payment card number in an id
	CodeTooManyLines   = "too_many_lines"     // 422
	CodeDocumentLarge  = "document_too_large" // 413: more than a journal record holds
)

// codeWords are title and remedy of each code.
var codeWords = map[string]struct {
	status      int
	title, hint string
}{
	CodeMalformedJSON:  {400, "The body is not one JSON document", "Send one JSON object in UTF-8 without byte order mark, comments or trailing commas; errors[0] says where reading stopped."},
	CodeDuplicateField: {400, "A field stands twice in one object", "Send each field once: two values of one name are read differently by different programs."},
	CodeUnknownField:   {422, "The document has a field that its kind does not know", "Remove the field or correct its spelling; /openapi.json lists the fields of each kind."},
	CodeMissingField:   {422, "The document lacks a required field", "Add the fields named in errors[]; /openapi.json lists what each kind requires."},
	CodeInvalidField:   {422, "A field has a value that cannot be accepted", "Correct the fields named in errors[] and send the document again under the same document_id; nothing was journaled."},
	CodeBadCheckDigit:  {422, "An article number has a wrong check digit", "Codes of 12, 13 or 14 digits are GTINs and must carry their GS1 check digit: scan again, or send house numbers in another length."},
	CodePANDetected:    {422, "A field holds what looks like a payment card number", "Never send card data: put another identifier into the fields named in errors[]. The value was neither stored nor logged."},
	CodeTooManyLines:   {422, "The document has too many lines", "Split the document at 1000 lines under document ids of its own."},
	CodeDocumentLarge:  {413, "The document is larger than a journal record", "Split the document under document ids of its own, or shorten its zones and other texts."},
}

// fieldErrorsMax bounds errors[] of one problem.
const fieldErrorsMax = 20

// docReader reads one document. It goes over the bytes once; what depends on
// the kind is judged at the end, since "kind" may stand last.
type docReader struct {
	dec  *jsontext.Decoder
	src  Source
	e    *Event
	errs []FieldError
	code string // of the first error; pan_detected wins

	seen      uint64 // 1 << docField
	lineSeen  uint16 // 1 << lineField, over all lines
	lineFirst [lineFieldCount]int16
	linesMore bool // more lines than allowed were there
	acksMore  bool // more journals than allowed were acknowledged

	countedAt Stamp // document level, the default of its lines
	from, to  Disposition
	unitPrice Quantity  // of the line being read
	lineDocs  []lineDoc // original documents told per line
}

// lineDoc is an original document that a return's line names.
type lineDoc struct {
	line     int
	document string
	store    StoreID
}

// DecodeDocument reads one business document strictly: unknown and repeated
// fields, wrong types, bad check digits and card numbers are refused with a
// pointer each, several at once. On success the problem is nil and the event is
// whole: ID, normalised SKUs, unique line numbers. Values are never repeated in
// messages, since they may hold what must not be logged.
func DecodeDocument(b []byte, src Source) (*Event, *Problem) {
	r := docReader{dec: newDecoder(b), src: src, e: &Event{Store: src.Store, Kind: src.Kind}}
	if err := r.readDocument(); err != nil {
		return nil, syntaxProblem(err)
	}
	r.check()
	if p := r.problem(); p != nil {
		return nil, p
	}
	r.e.ID = MakeEventID(r.e.Store, r.e.Kind, r.e.DocumentID)
	if len(b) > RecordBytesMax/2 {
		// The wire form is smaller than the JSON but for odd corner cases, so
		// small bodies need no measuring.
		if n := len(AppendEvent(nil, r.e)); n > RecordBytesMax-recordTimeBytes {
			return nil, problemOf(CodeDocumentLarge, fmt.Sprintf("the document takes %d bytes, at most %d are kept", n, RecordBytesMax-recordTimeBytes), nil)
		}
	}
	return r.e, nil
}

// recordTimeBytes is the longest record time in front of an event.
const recordTimeBytes = 10

// syntaxProblem explains what made reading stop.
func syntaxProblem(err error) *Problem {
	var se *jsontext.SyntacticError
	if !errors.As(err, &se) {
		msg := err.Error()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			msg = "the body ends early"
		}
		return problemOf(CodeMalformedJSON, msg, []FieldError{{Pointer: "", Message: msg}})
	}
	ptr := string(se.JSONPointer)
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return problemOf(CodeDuplicateField, "a field stands twice", []FieldError{{Pointer: ptr, Message: "stands twice in its object"}})
	}
	what := se.Err.Error()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		what = "the body ends early"
	}
	msg := fmt.Sprintf("%s at byte %d", what, se.ByteOffset)
	return problemOf(CodeMalformedJSON, msg, []FieldError{{Pointer: ptr, Message: msg}})
}

func problemOf(code, detail string, errs []FieldError) *Problem {
	w := codeWords[code]
	p := NewProblem(w.status, code, w.title, detail, w.hint)
	p.Errors = errs
	return p
}

// fail records one wrong field.
func (r *docReader) fail(code, ptr, msg string) {
	if r.code == "" || code == CodePANDetected {
		r.code = code
	}
	if len(r.errs) < fieldErrorsMax {
		r.errs = append(r.errs, FieldError{Pointer: ptr, Message: msg})
	}
}

func (r *docReader) invalid(ptr, msg string) { r.fail(CodeInvalidField, ptr, msg) }

func (r *docReader) problem() *Problem {
	if len(r.errs) == 0 {
		return nil
	}
	first := r.errs[0]
	return problemOf(r.code, first.Pointer+" "+first.Message, r.errs)
}
