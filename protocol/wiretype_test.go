package protocol

import (
	"errors"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// misTyped are values of every wire type but the wanted one, as a field of
// number n: a number where bytes belong reads as "", bytes where a number
// belongs as 0, unless somebody looks.
func misTyped(n protowire.Number, wanted protowire.Type) map[string][]byte {
	tag := func(typ protowire.Type) []byte { return protowire.AppendTag(nil, n, typ) }
	all := map[protowire.Type][]byte{
		protowire.VarintType:     protowire.AppendVarint(tag(protowire.VarintType), 1),
		protowire.BytesType:      protowire.AppendString(tag(protowire.BytesType), "x"),
		protowire.Fixed32Type:    protowire.AppendFixed32(tag(protowire.Fixed32Type), 1),
		protowire.Fixed64Type:    protowire.AppendFixed64(tag(protowire.Fixed64Type), 1),
		protowire.StartGroupType: protowire.AppendTag(tag(protowire.StartGroupType), n, protowire.EndGroupType),
	}
	names := map[protowire.Type]string{
		protowire.VarintType: "varint", protowire.BytesType: "bytes", protowire.Fixed32Type: "fixed32",
		protowire.Fixed64Type: "fixed64", protowire.StartGroupType: "group",
	}
	delete(all, wanted)
	out := map[string][]byte{}
	for typ, b := range all {
		out[names[typ]] = b
	}
	return out
}

// TestWrongWireType: a field that we know with a wire type that is not its own is
// refused, in every message. Read as zero, a quantity would be 0, a sale another
// article's.
func TestWrongWireType(t *testing.T) {
	event := AppendEvent(nil, &goldenEvents()[2].Event)
	line := pb{}.raw(lSKU, "A").num(lQuantity, 2)
	cut := pb{}.raw(cAgent, "till-02").num(cSeq, 1)
	ack := slices.Clip(cut).raw(cStore, "S0042")
	in := func(n protowire.Number, outer, inner []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(slices.Clip(outer), n, protowire.BytesType), inner)
	}
	decode := func(b []byte) error { return DecodeEvent(b, &Event{}) }
	frame := goldenFrames()["first"]
	header := frame.appendHeader(nil, 446)
	for _, m := range []struct {
		name   string
		last   protowire.Number
		bytes  []protowire.Number // the others are varints
		decode func(field []byte) error
	}{
		{
			"Event", fBody,
			[]protowire.Number{
				fID, fStore, fDocumentID, fRegister, fBusinessDate, fTraceparent, fLine, fOrderID, fHoldID, fOriginalDocument, fOriginalStore,
				fVoids, fSource, fAdviceID, fTransferID, fCounterparty, fSession, fZone, fReason, fAction, fAck, fBody,
			},
			func(f []byte) error { return decode(slices.Concat(event, f)) },
		},
		{
			"Line", lCutsFollow,
			[]protowire.Number{lSKU, lUOM, lZone, lRawCode, lSiblingCut},
			func(f []byte) error { return decode(in(fLine, event, slices.Concat(line, f))) },
		},
		{
			"SiblingCut", cSeq,
			[]protowire.Number{cAgent},
			func(f []byte) error { return decode(in(fLine, event, in(lSiblingCut, line, slices.Concat(cut, f)))) },
		},
		{
			"JournalAck", cStore,
			[]protowire.Number{cAgent, cStore},
			func(f []byte) error { return decode(in(fAck, event, slices.Concat(ack, f))) },
		},
		{
			"FrameHeader", hDictID,
			[]protowire.Number{hPrevChain, hLastChain, hTraceparent},
			func(f []byte) error { _, _, err := new(Frame).decodeHeader(slices.Concat(header, f)); return err },
		},
	} {
		if err := m.decode(nil); err != nil {
			t.Fatalf("%s as it should be: %v", m.name, err)
		}
		for n := protowire.Number(1); n <= m.last; n++ {
			wanted := protowire.VarintType
			if slices.Contains(m.bytes, n) {
				wanted = protowire.BytesType
			}
			for typ, f := range misTyped(n, wanted) {
				if err := m.decode(f); !errors.Is(err, ErrMalformed) {
					t.Errorf("%s field %d as %s: %v", m.name, n, typ, err)
				}
			}
		}
		for _, n := range []protowire.Number{m.last + 1, 63, 64, 65, 1000, math.MaxInt32 >> 3} {
			for typ, f := range misTyped(n, -1) {
				if err := m.decode(f); err != nil {
					t.Errorf("%s unknown field %d as %s: %v", m.name, n, typ, err)
				}
			}
		}
	}
}
