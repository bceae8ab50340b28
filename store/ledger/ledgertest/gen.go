package ledgertest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// origin names the n-th journal of the tests, from 1.
func origin(n int) protocol.Origin {
	return protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%04d", n)), Agent: "server"}
}

func document(n int) string { return fmt.Sprintf("S0001-R01-%06d", n) }

// record makes the n-th event's record; the same n makes the same bytes.
func record(n int) (protocol.EventID, []byte, [8]byte) {
	e := protocol.Event{
		Kind: protocol.KindSale, Store: "S0001", DocumentID: document(n), Register: "R01",
		EventTime: protocol.Stamp{US: 1_790_000_000_000_000 + int64(n)},
		Lines:     []protocol.Line{{Line: 1, SKU: "04006381333931", Quantity: protocol.Units(1 + int64(n%7))}},
	}
	e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
	return e.ID, protocol.AppendRecord(nil, e.EventTime.US, &e), e.ContentHash()
}

// entry makes the entry at position p; its shape depends on p alone.
func entry(p ledger.Position) ledger.Entry {
	n := int(p)
	e := ledger.Entry{
		Position: p, Origin: ledger.OriginID(1 + n%3), Epoch: uint64(n % 5), Seq: uint64(n), MergedUS: int64(n)*1000 - 2000,
	}
	switch {
	case n%17 == 0 && n > 1: // completes an earlier one: neither record nor id
		e.Ref = p - 1
	case n%19 == 0: // not a canonical record: the id stands beside it
		binary.BigEndian.PutUint64(e.EventID[:], uint64(n)) // ids need not be hashes
		e.Record = []byte{1, 2, 3, byte(n)}
	case n%23 == 0: // a canonical record under another id
		_, e.Record, e.Content = record(n)
		binary.LittleEndian.PutUint64(e.EventID[8:], uint64(n))
	default:
		e.EventID, e.Record, e.Content = record(n)
	}
	for i := range n % 5 {
		l := ledger.Link{Cell: ledger.CellID(1 + (n*7+i*1000)%4000)}
		if n > 10 {
			l.Prev = p - ledger.Position(1+i)
		}
		e.Links = append(e.Links, l)
	}
	return e
}

// entries makes n entries from position p on.
func entries(p ledger.Position, n int) []ledger.Entry {
	out := make([]ledger.Entry, n)
	for i := range out {
		out[i] = entry(p + ledger.Position(i))
	}
	return out
}

func exception(id, state, code string, store int) protocol.Exception {
	return protocol.Exception{
		ID: id, State: state, Code: code, Reason: "because <of> \"this\"", Origin: origin(store), Epoch: 1, Seq: 7,
		Kind: protocol.Kind(200), At: time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC),
		Document: map[string]any{"document_id": id, "lines": []any{map[string]any{"sku": "x"}}}, Raw: []byte{0, 1, 0xff},
	}
}

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s: (-want +got)\n%s", what, d)
	}
}

// same compares entries quickly; cmp.Diff is left to tell where they differ.
func same(a, b *ledger.Entry) bool {
	return a.Position == b.Position && a.Origin == b.Origin && a.Epoch == b.Epoch && a.Seq == b.Seq && a.MergedUS == b.MergedUS &&
		a.EventID == b.EventID && a.Content == b.Content && a.Ref == b.Ref && slices.Equal(a.Links, b.Links) && bytes.Equal(a.Record, b.Record)
}
