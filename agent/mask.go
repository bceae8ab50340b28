package agent

import (
	"io"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// Masked is a log without card numbers: none is written there on purpose, but errors
// quote what they could not read. What w does by level, as a system's event log does,
// it goes on doing.
func Masked(w io.Writer) zerolog.LevelWriter {
	to, ok := w.(zerolog.LevelWriter)
	if !ok {
		to = zerolog.LevelWriterAdapter{Writer: w}
	}
	return masked{to}
}

type masked struct{ to zerolog.LevelWriter }

// Write passes a line on. Masking keeps its length.
func (m masked) Write(p []byte) (int, error) { return m.to.Write(withoutPAN(p)) }

// WriteLevel is Write for who asks for the level.
func (m masked) WriteLevel(level zerolog.Level, p []byte) (int, error) {
	return m.to.WriteLevel(level, withoutPAN(p))
}

func withoutPAN(p []byte) []byte {
	if s, found := protocol.MaskPAN(string(p)); found {
		return []byte(s)
	}
	return p
}
