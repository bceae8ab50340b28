package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// CodeTooManyDocuments is the code of a bulk body beyond BulkEventsMax.
const CodeTooManyDocuments = "too_many_documents" // 422

// SplitDocuments takes a bulk body apart without judging the documents: a JSON
// array, or one document per line (NDJSON); the first byte tells which. The
// parts are slices of body. A broken line stays a part of its own, to be
// answered in its place; a broken array has no places and is refused whole.
func SplitDocuments(body []byte) ([][]byte, *Problem) {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return nil, malformedBulk("is empty: send at least one document")
	case trimmed[0] == '[':
		return splitArray(trimmed)
	case trimmed[0] != '{':
		return nil, malformedBulk("must be an array of documents, or one document per line")
	}
	var docs [][]byte
	for line := range bytes.Lines(trimmed) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(docs) >= BulkEventsMax {
			return nil, tooManyDocuments()
		}
		docs = append(docs, line)
	}
	return docs, nil
}

func splitArray(body []byte) ([][]byte, *Problem) {
	// Names that stand twice are judged with their document.
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true))
	if _, err := dec.ReadToken(); err != nil {
		return nil, malformedBulk(plainSyntax(err))
	}
	var docs [][]byte
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			return nil, malformedBulk(fmt.Sprintf("document %d cannot be read: %s", len(docs), plainSyntax(err)))
		}
		if len(docs) >= BulkEventsMax {
			return nil, tooManyDocuments()
		}
		end := int(dec.InputOffset())
		docs = append(docs, body[end-len(v):end:end])
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, malformedBulk(plainSyntax(err))
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, malformedBulk("holds more behind the array")
	}
	if len(docs) == 0 {
		return nil, malformedBulk("is an empty array: send at least one document")
	}
	return docs, nil
}

func plainSyntax(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the body ends early"
	}
	return err.Error()
}

func malformedBulk(msg string) *Problem {
	p := NewProblem(400, CodeMalformedJSON, "The body is no list of documents", "the body "+msg,
		"Send a JSON array of documents, or NDJSON with one document per line, each with its kind; nothing was journaled.")
	p.Errors = []FieldError{{Pointer: "", Message: msg}}
	return p
}

func tooManyDocuments() *Problem {
	msg := "holds more than " + strconv.Itoa(BulkEventsMax) + " documents"
	p := NewProblem(422, CodeTooManyDocuments, "Too many documents at once", "the body "+msg, "Send them in several calls; nothing was journaled.")
	p.Errors = []FieldError{{Pointer: "", Message: msg}}
	return p
}
