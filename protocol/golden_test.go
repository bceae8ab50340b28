package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
)

// The vectors in testdata/golden are for other implementers as much as for us:
// SPEC.md explains them. -update rewrites them; a diff there is a change of the
// wire, which needs a new version.
var update = flag.Bool("update", false, "rewrite the golden vectors")

const goldenStartUS = 1_795_425_302_123_456 // 2026-11-23T09:15:02.123456Z

// goldenRecord is one record of testdata/golden/journal.json.
type goldenRecord struct {
	Name        string  `json:"name"` // events/{name}.txtpb shows the event
	Seq         uint64  `json:"seq"`
	RecordUS    int64   `json:"record_us"`
	EventID     EventID `json:"event_id"`
	ContentHash string  `json:"content_hash"`
	Event       string  `json:"event"`
	Record      string  `json:"record"`
	Chain       Chain   `json:"chain"` // after this record
}

func goldenJournal() (rows []goldenRecord, records [][]byte) {
	var chain Chain
	for i, g := range goldenEvents() {
		us := goldenStartUS + int64(i+1)*1_000_000
		rec := AppendRecord(nil, us, &g.Event)
		chain = chain.Next(rec)
		hash := g.Event.ContentHash()
		rows = append(rows, goldenRecord{
			Name: g.Name, Seq: uint64(i + 1), RecordUS: us, EventID: g.Event.ID, ContentHash: hex.EncodeToString(hash[:]),
			Event: hex.EncodeToString(AppendEvent(nil, &g.Event)), Record: hex.EncodeToString(rec), Chain: chain,
		})
		records = append(records, rec)
	}
	return rows, records
}

func goldenPath(name ...string) string {
	return filepath.Join(append([]string{"testdata", "golden"}, name...)...)
}

// golden reads a vector file into what it says, or writes want there.
func golden[T any](t *testing.T, name string, want T) (got T) {
	t.Helper()
	if *update {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		if err := e.Encode(want); err != nil {
			t.Fatal(err)
		}
		writeGolden(t, goldenPath(name), b.Bytes())
	}
	b, err := os.ReadFile(goldenPath(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func writeGolden(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func unhexed(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenJournal(t *testing.T) {
	want, _ := goldenJournal()
	got := golden(t, "journal.json", want)
	if d := cmp.Diff(got, want); d != "" {
		t.Fatalf("the file (-) and this code (+) differ:\n%s", d)
	}
	var chain Chain
	for i, g := range goldenEvents() {
		rec := unhexed(t, got[i].Record)
		var e Event
		us, err := DecodeRecord(rec, &e)
		if err != nil || us != got[i].RecordUS {
			t.Fatalf("%s: %d, %v", g.Name, us, err)
		}
		if d := cmp.Diff(e, g.Event); d != "" {
			t.Errorf("%s: decoded (-), written (+):\n%s", g.Name, d)
		}
		if chain = chain.Next(rec); chain != got[i].Chain {
			t.Errorf("%s: chain %s, want %s", g.Name, chain, got[i].Chain)
		}
		if MakeEventID(e.Store, e.Kind, e.DocumentID) != got[i].EventID {
			t.Errorf("%s: event id", g.Name)
		}
	}
}

// goldenFrame is one frame of testdata/golden/frames.json. Its payload may be
// packed otherwise by another zstd; what must be equal is the header and what
// is inside.
type goldenFrame struct {
	Name    string   `json:"name"` // frames/{name}.txtpb shows the header
	Frame   string   `json:"frame"`
	Header  string   `json:"header"`
	Records []string `json:"records,omitempty"` // left out where they are many: last_chain proves them
}

func goldenFrames() map[string]*Frame {
	rows, records := goldenJournal()
	return map[string]*Frame{
		"first": {
			Epoch: 1, Lease: 1, FirstSeq: 1, LastChain: rows[2].Chain, SentUS: goldenStartUS + 5_000_000,
			UptimeUS: 61_000_000, Records: records[:3],
		},
		"resumed": {
			Flags: 1, Epoch: 7, Lease: 300, FirstSeq: 4, PrevChain: rows[2].Chain, LastChain: rows[5].Chain, SentUS: goldenStartUS + 9_000_000,
			UptimeUS: 1 << 62, ClockOffsetUS: -2_500, ClockErrorUS: 900, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			Records: records[3:6],
		},
		"one":  {Epoch: 7, Lease: 301, FirstSeq: 7, PrevChain: rows[5].Chain, LastChain: rows[6].Chain, UptimeUS: 1, Records: records[6:7]},
		"full": fullFrame(Frame{Epoch: 7, Lease: 301, FirstSeq: 21, PrevChain: rows[len(rows)-1].Chain, SentUS: goldenStartUS, UptimeUS: 1}),
	}
}

// fullFrame has as many records as a frame may: sales of R04, G-000 to G-199.
func fullFrame(f Frame) *Frame {
	f.LastChain = f.PrevChain
	for i := range FrameEventsMax {
		id := fmt.Sprintf("G-%03d", i)
		rec := AppendRecord(nil, goldenStartUS+int64(30+i)*1_000_000, &Event{
			ID: MakeEventID("S0042", KindSale, id), Kind: KindSale, Store: "S0042", DocumentID: id, Register: "R04",
			EventTime: Stamp{US: goldenStartUS + int64(30+i)*999_999}, Lines: []Line{{Line: 1, SKU: "04006381333931", Quantity: Units(int64(i))}},
		})
		f.Records, f.LastChain = append(f.Records, rec), f.LastChain.Next(rec)
	}
	return &f
}

func TestGoldenFrames(t *testing.T) {
	codec := newCodec(t)
	frames := goldenFrames()
	var want []goldenFrame
	for _, name := range []string{"first", "resumed", "one", "full"} {
		f := frames[name]
		b, err := codec.Append(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		head, _ := protowire.ConsumeBytes(b[4:])
		g := goldenFrame{Name: name, Frame: hex.EncodeToString(b), Header: hex.EncodeToString(head)}
		if len(f.Records) < FrameEventsMax {
			for _, r := range f.Records {
				g.Records = append(g.Records, hex.EncodeToString(r))
			}
		}
		want = append(want, g)
	}
	for i, g := range golden(t, "frames.json", want) {
		f, err := codec.Decode(unhexed(t, g.Frame))
		if err != nil {
			t.Fatalf("%s: %v", g.Name, err)
		}
		if d := cmp.Diff(f, frames[g.Name]); d != "" {
			t.Errorf("%s: decoded (-), meant (+):\n%s", g.Name, d)
		}
		if g.Header != want[i].Header || !cmp.Equal(g.Records, want[i].Records) {
			t.Errorf("%s: header or records differ from what this code writes", g.Name)
		}
		if next := f.FirstSeq + uint64(len(f.Records)); f.LastSeq()+1 != next {
			t.Errorf("%s: last seq %d", g.Name, f.LastSeq())
		}
	}
}

// protoc runs Debian's protobuf-compiler on tillwire.proto: an implementation
// that knows nothing of our code.
func protoc(t *testing.T, mode, message string, in []byte) []byte {
	t.Helper()
	bin, err := exec.LookPath("protoc")
	switch {
	case err != nil && os.Getenv("CI") != "":
		t.Fatal("protoc is not installed: apt-get install protobuf-compiler; in CI this test may not be skipped")
	case err != nil:
		t.Skip("protoc is not installed: apt-get install protobuf-compiler")
	}
	cmd := exec.CommandContext(t.Context(), bin, "-I.", mode+"=tillwire.v1."+message, "tillwire.proto")
	cmd.Stdin = bytes.NewReader(in)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("protoc %s %s: %v: %s", mode, message, err, said.String())
	}
	return out
}

// TestProtoc holds tillwire.proto and the hand-written codec together in both
// directions: protoc reads our bytes as the text beside them, naming every
// field, and makes the very same bytes of that text.
func TestProtoc(t *testing.T) {
	check := func(t *testing.T, message, path string, wire []byte) {
		t.Helper()
		text := protoc(t, "--decode", message, wire)
		if *update {
			writeGolden(t, path, text)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(text), string(want)); d != "" {
			t.Errorf("protoc reads our bytes as (-), %s says (+):\n%s", path, d)
		}
		if got := protoc(t, "--encode", message, want); !bytes.Equal(got, wire) {
			t.Errorf("protoc encodes %s as\n%x, we as\n%x", path, got, wire)
		}
		for _, line := range bytes.Split(text, []byte("\n")) {
			if s := bytes.TrimSpace(line); len(s) > 0 && s[0] >= '0' && s[0] <= '9' {
				t.Errorf("%s: field without a name: %s", path, s)
			}
		}
	}
	for _, g := range goldenEvents() {
		t.Run(g.Name, func(t *testing.T) {
			check(t, "Event", goldenPath("events", g.Name+".txtpb"), AppendEvent(nil, &g.Event))
		})
	}
	for name, f := range goldenFrames() {
		t.Run(name, func(t *testing.T) {
			raw := 0
			for _, r := range f.Records {
				raw += protowire.SizeBytes(len(r))
			}
			check(t, "FrameHeader", goldenPath("frames", name+".txtpb"), f.appendHeader(nil, raw))
		})
	}
}

// specHex joins the hex columns of the block of SPEC.md that begins with from.
func specHex(t *testing.T, spec, from string) string {
	t.Helper()
	at := strings.Index(spec, "    "+from)
	if at < 0 {
		t.Fatalf("SPEC.md has no block that begins with %s", from)
	}
	var out strings.Builder
	for line := range strings.Lines(spec[at:]) {
		column, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		digits := strings.ReplaceAll(column, " ", "")
		if _, err := hex.DecodeString(digits); err != nil || digits == "" {
			break
		}
		out.WriteString(digits)
	}
	return out.String()
}

// TestSpecExamples: the bytes that SPEC.md takes apart are the golden ones.
func TestSpecExamples(t *testing.T) {
	b, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	spec := string(b)
	rows, records := goldenJournal()
	if got := specHex(t, spec, "80b5a1bce09d9803 "); got != rows[2].Record {
		t.Errorf("record: SPEC.md says\n%s, it is\n%s", got, rows[2].Record)
	}
	raw := 0
	for _, r := range records[:3] {
		raw += protowire.SizeBytes(len(r))
	}
	if got, want := specHex(t, spec, "1001 1801 "), hex.EncodeToString(goldenFrames()["first"].appendHeader(nil, raw)); got != want {
		t.Errorf("header: SPEC.md says\n%s, it is\n%s", got, want)
	}
	for _, said := range []string{
		"h(2) = " + rows[1].Chain.String(), "h(3) = " + rows[2].Chain.String(), "→  " + rows[0].EventID.String(),
		"224 KiB", "384 KiB", "h ≤ 4,096", "at most 64 KiB", "1–262,144", "count 1–200",
	} {
		if !strings.Contains(spec, said) {
			t.Errorf("SPEC.md does not say %q", said)
		}
	}
	if RecordBytesMax != 224<<10 || FrameBytesMax != 384<<10 || FrameHeaderBytesMax != 4096 || ControlBytesMax != 64<<10 ||
		FrameRawBytesMax != 262_144 || FrameEventsMax != 200 {
		t.Error("a limit was changed: SPEC.md names them")
	}
}

// TestGoldenDigest: a part with every field, for who writes another agent.
func TestGoldenDigest(t *testing.T) {
	codec := newCodec(t)
	d := &Digest{
		Epoch: 7, Lease: 300, After: 4, AsOf: 90, AsOfUS: goldenStartUS, Chain: Chain{1, 2, 3, 15: 255}, Parts: 1, Open: 2,
		Cancelled: []EventID{MakeEventID("S0042", KindSale, "R03-187")},
		Rows: []DigestRow{
			{SKU: "04006381333931", Net: Units(-12), Unavailable: Units(1)},
			{SKU: "04006381333931", UOM: "CS", Net: Units(-1)},
			{SKU: "MILK", Net: Units(-7), Count: &DigestCount{Seq: 50, Cut: 3, CountedUS: goldenStartUS - 1, Quantity: Units(20), Since: Units(-5), Before: Units(-1)}},
		},
	}
	b, err := codec.AppendDigest(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range golden(t, "digest.json", []struct{ Digest string }{{hex.EncodeToString(b)}}) {
		got, err := codec.DecodeDigest(unhexed(t, g.Digest))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Errorf("decoded (-), meant (+):\n%s", diff)
		}
	}
}
