package api

import (
	"strings"
	"testing"

	"tillwire/protocol"
)

// A channel's name comes from outside; no spreadsheet may run it.
func TestTableIsHarmless(t *testing.T) {
	for _, name := range []string{"=1+1", "+1", "-1", "@x", "\tx", "|x"} {
		b := outcomesTable(&protocol.Outcomes{Rows: []protocol.Outcome{{Channel: name}}})
		if !strings.Contains(string(b), "'"+name) {
			t.Errorf("%q stands in the table as it came", name)
		}
	}
}
