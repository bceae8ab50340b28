package protocol

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// DecodeStrict reads one JSON object into the struct that into points to. Unknown
// and repeated fields, fields in another case and values of another type are
// refused with a pointer. Values are not repeated in messages, since they may
// hold what must not be logged.
func DecodeStrict(b []byte, into any) *Problem {
	if k := newDecoder(b).PeekKind(); k != '{' && k != 0 {
		msg := "is not a JSON object"
		return requestProblem(CodeMalformedJSON, "the body "+msg, []FieldError{{Message: msg}})
	}
	err := json.Unmarshal(b, into, json.RejectUnknownMembers(true))
	var wrong *json.SemanticError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &wrong):
		return syntaxProblem(err)
	}
	ptr := string(wrong.JSONPointer)
	if errors.Is(err, json.ErrUnknownName) {
		return requestProblem(CodeUnknownField, ptr+" is not a field here", []FieldError{{Pointer: ptr, Message: "is not a field of this request"}})
	}
	msg := wrongType(wrong)
	return requestProblem(CodeInvalidField, ptr+" "+msg, []FieldError{{Pointer: ptr, Message: msg}})
}

// ownWords are errors of our own types: they say what is wrong without the value.
var ownWords = []error{errQuantitySyntax, errQuantityScale, errQuantityRange}

// wrongType says what stands where something else belongs.
func wrongType(e *json.SemanticError) string {
	for _, own := range ownWords {
		if errors.Is(e.Err, own) {
			return own.Error()
		}
	}
	if e.GoType == nil {
		return "has a value that cannot be read"
	}
	for t := e.GoType; ; t = t.Elem() {
		if t == timeType {
			return errStampForm.Error()
		}
		switch t.Kind() { //nolint:exhaustive // no request has other kinds
		case reflect.Pointer:
			continue
		case reflect.String:
			return "must be a string"
		case reflect.Bool:
			return "must be true or false"
		case reflect.Int, reflect.Int64:
			return "must be a whole number of at most 63 bits"
		case reflect.Uint64:
			return "must be a whole number from 0"
		case reflect.Float64:
			return "must be a number"
		case reflect.Slice, reflect.Array:
			return "must be an array"
		case reflect.Struct, reflect.Map:
			return "must be an object"
		}
		return "has a value that cannot be read"
	}
}

var timeType = reflect.TypeFor[time.Time]()

// checks collects what is wrong with a decoded request; its code is that of the
// first error, but a card number wins.
type checks struct {
	errs []FieldError
	code string
}

func (c *checks) fail(code, ptr, msg string) {
	if c.code == "" || code == CodePANDetected {
		c.code = code
	}
	if len(c.errs) < fieldErrorsMax {
		c.errs = append(c.errs, FieldError{Pointer: ptr, Message: msg})
	}
}

func (c *checks) invalid(ptr, format string, args ...any) {
	c.fail(CodeInvalidField, ptr, fmt.Sprintf(format, args...))
}

func (c *checks) missing(ptr string) { c.fail(CodeMissingField, ptr, "is required") }

// text checks an identifier or a text for people; "" is not stated.
func (c *checks) text(ptr, s string, bytesMax int) {
	switch {
	case s == "":
	case badText(s, bytesMax) != "":
		c.invalid(ptr, "%s", badText(s, bytesMax))
	case FindPAN(s, true):
		c.fail(CodePANDetected, ptr, "holds what looks like a payment card number: use a word of your own")
	}
}

// id checks an identifier that must be there.
func (c *checks) id(ptr, s string, bytesMax int) {
	if s == "" {
		c.missing(ptr)
		return
	}
	c.text(ptr, s, bytesMax)
}

// name checks the name of a location or channel; "" is not stated.
func (c *checks) name(ptr, s string) {
	if s == "" {
		return
	}
	if err := CheckName(s); err != nil {
		c.invalid(ptr, "%s", err.Error())
		return
	}
	c.text(ptr, s, NameBytesMax)
}

// oneOf checks a word; "" is not stated.
func (c *checks) oneOf(ptr, s string, of ...string) {
	if s != "" && !slices.Contains(of, s) {
		c.invalid(ptr, "must be one of %s", strings.Join(of, ", "))
	}
}

// sku normalises an article code.
func (c *checks) sku(ptr string, s *SKU) {
	if *s == "" {
		c.missing(ptr)
		return
	}
	n, err := NormalizeSKU(string(*s))
	switch {
	case errors.Is(err, ErrCheckDigit):
		c.fail(CodeBadCheckDigit, ptr, err.Error())
	case err != nil:
		c.invalid(ptr, "%s", err.Error())
	default:
		*s = n
	}
}

// uom checks a unit of measure; "" is not stated.
func (c *checks) uom(ptr, s string) {
	if s != "" && !validUOM(s) {
		c.invalid(ptr, "must be a UN/ECE Recommendation 20 code of 1 to 3 of A-Z 0-9, such as EA or KGM")
	}
}

// positive checks a quantity; zero is what a field that was left out reads as.
func (c *checks) positive(ptr string, q Quantity, what string) {
	if q <= 0 || q > QuantityMax {
		c.invalid(ptr, "must be above zero: %s", what)
	}
}

// aggregators refuses what the aggregator sets itself.
func (c *checks) aggregators(fields ...aggregatorsField) {
	for _, f := range fields {
		if f.stated {
			c.invalid("/"+f.name, "is set by the aggregator: leave it out")
		}
	}
}

type aggregatorsField struct {
	name   string
	stated bool
}

func (c *checks) problem() *Problem {
	if len(c.errs) == 0 {
		return nil
	}
	return requestProblem(c.code, c.errs[0].Pointer+" "+c.errs[0].Message, c.errs)
}

// requestWords are title and remedy where a request is no document.
var requestWords = map[string][2]string{
	CodeUnknownField: {"The request has a field that is not known here", "Remove the field or correct its spelling; /openapi.json lists the fields of each request."},
	CodeMissingField: {"The request lacks a required field", "Add the fields named in errors[]; nothing was changed."},
	CodeInvalidField: {"A field has a value that cannot be accepted", "Correct the fields named in errors[] and send the request again; nothing was changed."},
}

func requestProblem(code, detail string, errs []FieldError) *Problem {
	p := problemOf(code, detail, errs)
	if w, ok := requestWords[code]; ok {
		p.Title, p.Hint = w[0], w[1]
	}
	return p
}
