package bolt

import (
	"path/filepath"
	"testing"

	"tillwire/store/ledger"
	"tillwire/store/ledger/ledgertest"
)

func TestConformance(t *testing.T) {
	ledgertest.Conformance(t, func(dir string) ledger.Ledger {
		l, err := Open(Options{Path: filepath.Join(dir, "ledger.db"), IDsHot: 64})
		if err != nil {
			t.Fatal(err)
		}
		return l
	})
}
