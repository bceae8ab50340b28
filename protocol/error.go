package protocol

import (
	"errors"
	"fmt"
)

// Errors of the decoders. A decoder never panics and never allocates by an
// unchecked length.
var (
	ErrMagic     = errors.New("frame magic or version is not known")
	ErrChecksum  = errors.New("checksum differs")
	ErrTruncated = errors.New("data ends early")
	ErrMalformed = errors.New("data is malformed")
	ErrUpgrade   = errors.New("frame carries a required flag that this version does not know")
)

// SizeError says that something is larger than the protocol allows.
type SizeError struct {
	What     string
	Got, Max int
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, at most %d are allowed", e.What, e.Got, e.Max)
}

// ContentTypeProblem is the media type of every error answer (RFC 9457).
const ContentTypeProblem = "application/problem+json"

// Problem is an error answer as RFC 9457 defines it, with a stable code, a
// remedy, and JSON pointers to what is wrong.
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Code   string       `json:"code"`
	Hint   string       `json:"hint,omitempty"`
	Errors []FieldError `json:"errors,omitempty"`

	Shortfalls []Shortfall `json:"shortfalls,omitempty"` // insufficient_stock: what each line lacked
}

// FieldError points at one wrong field.
type FieldError struct {
	Pointer string `json:"pointer"` // RFC 6901, e.g. /lines/0/quantity
	Message string `json:"message"`
}

func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Code + ": " + p.Detail
	}
	return p.Code + ": " + p.Title
}

// NewProblem makes a problem; its type is a stable URN of the code.
func NewProblem(status int, code, title, detail, hint string) *Problem {
	return &Problem{Type: "urn:tillwire:problem:" + code, Title: title, Status: status, Detail: detail, Code: code, Hint: hint}
}
