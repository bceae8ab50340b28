package agent

import (
	"io"

	"tillwire/protocol"
)

// Masked is a log without card numbers: none is written there on purpose, but errors
// quote what they could not read.
func Masked(w io.Writer) io.Writer { return masked{w} }

type masked struct{ w io.Writer }

// Write passes a line on. Masking keeps its length.
func (m masked) Write(p []byte) (int, error) {
	if s, found := protocol.MaskPAN(string(p)); found {
		p = []byte(s)
	}
	return m.w.Write(p)
}
