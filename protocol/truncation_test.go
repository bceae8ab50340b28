package protocol

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTruncatedEvents cuts every golden record at every byte. Protobuf does not
// tell its own end, so a cut between two fields may still be an event; it must be
// exactly the fields that are left, never something else, and neither the content
// hash nor the chain takes it for the whole.
func TestTruncatedEvents(t *testing.T) {
	rows, records := goldenJournal()
	for n, rec := range records {
		whole := goldenEvents()[n].Event
		for cut := range len(rec) {
			var e Event
			us, err := DecodeRecord(rec[:cut:cut], &e)
			if err != nil {
				if refusal(err) != "truncated" && refusal(err) != "malformed" {
					t.Fatalf("%s cut at %d: %v", rows[n].Name, cut, err)
				}
				continue
			}
			if again := AppendRecord(nil, us, &e); !bytes.Equal(again, rec[:cut]) {
				t.Fatalf("%s cut at %d is read as %+v", rows[n].Name, cut, e)
			}
			if e.ContentHash() == whole.ContentHash() && cmp.Equal(e, whole) {
				t.Fatalf("%s cut at %d is taken for the whole", rows[n].Name, cut)
			}
			if (Chain{}).Next(rec[:cut]) == (Chain{}).Next(rec) {
				t.Fatalf("%s cut at %d has the chain of the whole", rows[n].Name, cut)
			}
		}
	}
}

// TestTruncatedFrames cuts every golden frame at every byte: none is a frame.
// Nor is one with bytes behind it, or with the checksum made to fit the cut.
func TestTruncatedFrames(t *testing.T) {
	codec := newCodec(t)
	refused := func(what string, b []byte) {
		t.Helper()
		f, err := codec.Decode(b)
		if err == nil || f != nil || refusal(err) == fmt.Sprintf("unclassified: %v", err) {
			t.Fatalf("%s: %v, %v", what, f, err)
		}
	}
	for name, f := range goldenFrames() {
		b, err := codec.Append(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range len(b) {
			refused(fmt.Sprintf("%s cut at %d", name, cut), b[:cut:cut])
			if cut >= len(FrameMagic) && cut < len(b)-4 {
				refused(fmt.Sprintf("%s cut at %d and sealed", name, cut), sealed(bytes.Clone(b[:cut])))
			}
		}
		refused(name+" and a byte", append(bytes.Clone(b), 0))
		refused(name+" twice", append(bytes.Clone(b), b...))
	}
}
