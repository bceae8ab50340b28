package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

var testCodec = sync.OnceValues(NewFrameCodec)

func newCodec(t testing.TB) *FrameCodec {
	t.Helper()
	c, err := testCodec()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// chained sets LastChain to what the records make of PrevChain.
func chained(f *Frame) *Frame {
	f.LastChain = f.PrevChain
	for _, r := range f.Records {
		f.LastChain = f.LastChain.Next(r)
	}
	return f
}

func TestFrameRoundTrip(t *testing.T) {
	codec := newCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		f := chained(&Frame{
			Flags: rapid.Uint64Max(0xffff).Draw(t, "flags"), Epoch: rapid.Uint64().Draw(t, "epoch"), Lease: rapid.Uint64().Draw(t, "lease"),
			FirstSeq:  rapid.Uint64Range(1, math.MaxUint64-FrameEventsMax).Draw(t, "first"),
			PrevChain: Chain(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "prev")),
			SentUS:    rapid.Int64().Draw(t, "sent"), UptimeUS: rapid.Int64Min(0).Draw(t, "uptime"),
			ClockOffsetUS: rapid.Int64().Draw(t, "offset"), ClockErrorUS: rapid.Int64Min(0).Draw(t, "error"),
			Traceparent: rapid.StringN(-1, -1, traceparentMaxByte).Draw(t, "trace"),
			Records:     rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 400), 1, FrameEventsMax).Draw(t, "records"),
		})
		before := []byte("before")
		b, err := codec.Append(slices.Clone(before), f)
		if err != nil {
			t.Fatal(err)
		}
		b, ok := bytes.CutPrefix(b, before)
		if !ok {
			t.Fatal("Append changed what stood there")
		}
		got, err := codec.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(got, f); d != "" {
			t.Fatal(d)
		}
		// One flipped bit anywhere is found.
		i := rapid.IntRange(0, 8*len(b)-1).Draw(t, "bit")
		b[i/8] ^= 1 << (i % 8)
		if _, err := codec.Decode(b); err == nil {
			t.Fatalf("bit %d of %d flipped, and nobody saw", i, 8*len(b))
		}
	})
}

func TestFrameLimits(t *testing.T) {
	codec := newCodec(t)
	many := func(n, size int) [][]byte {
		out := make([][]byte, n)
		for i := range out {
			out[i] = bytes.Repeat([]byte{byte(i)}, size)
		}
		return out
	}
	noise := make([]byte, RecordBytesMax)
	for i, x := 0, uint64(1); i < len(noise); i++ { // does not compress
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		noise[i] = byte(x)
	}
	for _, c := range []struct {
		name string
		f    Frame
		ok   bool
	}{
		{"largest count", Frame{FirstSeq: 1, Records: many(FrameEventsMax, 3)}, true},
		{"one record too many", Frame{FirstSeq: 1, Records: many(FrameEventsMax+1, 3)}, false},
		{"no record", Frame{FirstSeq: 1}, false},
		{"empty record", Frame{FirstSeq: 1, Records: [][]byte{{1}, {}}}, false},
		{"largest record, of noise", Frame{FirstSeq: 1, Records: [][]byte{noise}}, true},
		{"record too large", Frame{FirstSeq: 1, Records: [][]byte{slices.Concat(noise, []byte{0})}}, false},
		{"exactly as much as fits", Frame{FirstSeq: 1, Records: many(64, FrameRawBytesMax/64-2)}, true},
		{"one byte more", Frame{FirstSeq: 1, Records: append(many(63, FrameRawBytesMax/64-2), make([]byte, FrameRawBytesMax/64-1))}, false},
		{"seq 0", Frame{Records: many(1, 1)}, false},
		{"longest traceparent", Frame{FirstSeq: 1, Records: many(1, 1), Traceparent: strings.Repeat("x", 128)}, true},
		{"traceparent too long", Frame{FirstSeq: 1, Records: many(1, 1), Traceparent: strings.Repeat("x", 129)}, false},
		{"negative uptime", Frame{FirstSeq: 1, Records: many(1, 1), UptimeUS: -1}, false},
		{"negative clock error", Frame{FirstSeq: 1, Records: many(1, 1), ClockErrorUS: -1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := codec.Append([]byte{7}, chained(&c.f))
			if (err == nil) != c.ok {
				t.Fatalf("ok %v, error %v", c.ok, err)
			}
			if !c.ok {
				if !bytes.Equal(b, []byte{7}) {
					t.Fatal("a refused frame left bytes behind")
				}
				return
			}
			if len(b)-1 > FrameBytesMax {
				t.Fatalf("%d bytes, a frame has at most %d", len(b)-1, FrameBytesMax)
			}
			got, err := codec.Decode(b[1:])
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(got.Records, c.f.Records, bytes.Equal) {
				t.Fatal("records differ")
			}
		})
	}
}

// forged is a frame put together from parts that need not fit; its checksum
// does.
type forged struct {
	magic   string
	header  []byte
	payload []byte
}

func (f forged) bytes() []byte {
	b := protowire.AppendBytes([]byte(f.magic), f.header)
	return sealed(append(b, f.payload...))
}

func sealed(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, Checksum(b)) }

func packed(t testing.TB, raw []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil, append([]zstd.EOption{zstd.WithEncoderConcurrency(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = enc.Close() }()
	return enc.EncodeAll(raw, nil)
}

// hostile makes frames that lie. The map's keys are names in hostile.json.
func hostile(t testing.TB) map[string][]byte {
	t.Helper()
	f := goldenFrames()["first"]
	raw := make([]byte, 0, 1024)
	for _, r := range f.Records {
		raw = protowire.AppendBytes(raw, r)
	}
	good := forged{FrameMagic, f.appendHeader(nil, len(raw)), packed(t, raw)}
	with := func(change func(*forged)) []byte {
		g := forged{good.magic, slices.Clone(good.header), slices.Clone(good.payload)}
		change(&g)
		return g.bytes()
	}
	head := func(more ...uint64) []byte { // varint fields behind the good ones: the last one counts
		return with(func(g *forged) {
			for i := 0; i < len(more); i += 2 {
				g.header = protowire.AppendVarint(protowire.AppendTag(g.header, protowire.Number(more[i]), protowire.VarintType), more[i+1])
			}
		})
	}
	raised := func(n protowire.Number, b []byte) []byte {
		return with(func(g *forged) {
			g.header = protowire.AppendBytes(protowire.AppendTag(g.header, n, protowire.BytesType), b)
		})
	}
	swapped := protowire.AppendBytes(protowire.AppendBytes(protowire.AppendBytes(nil, f.Records[1]), f.Records[0]), f.Records[2])
	n, size := uint64(len(f.Records)), uint64(len(raw))
	b := good.bytes()
	return map[string][]byte{
		"empty":                     {},
		"magic-only":                []byte(FrameMagic),
		"other-magic":               with(func(g *forged) { g.magic = "XWF1" }),
		"next-version":              with(func(g *forged) { g.magic = "TWF2" }),
		"cut-short":                 b[:len(b)-9],
		"checksum":                  append(slices.Clone(b[:len(b)-1]), b[len(b)-1]^1),
		"header-longer-than-frame":  sealed(append([]byte(FrameMagic), 0xff, 0xff, 0xff, 0xff, 0x0f)),
		"header-length-never-ends":  sealed(append([]byte(FrameMagic), bytes.Repeat([]byte{0xff}, 11)...)),
		"header-of-5000-bytes":      raised(100, make([]byte, 5000)),
		"header-is-noise":           with(func(g *forged) { g.header = bytes.Repeat([]byte{0xff}, 40) }),
		"header-group-never-ends":   with(func(g *forged) { g.header = append(g.header, bytes.Repeat([]byte{0x7b}, 400)...) }),
		"no-header":                 with(func(g *forged) { g.header = nil }),
		"count-0":                   head(uint64(hCount), 0),
		"count-201":                 head(uint64(hCount), FrameEventsMax+1),
		"count-2^64-1":              head(uint64(hCount), math.MaxUint64),
		"count-one-less":            head(uint64(hCount), n-1),
		"count-one-more":            head(uint64(hCount), n+1),
		"raw-len-0":                 head(uint64(hRawLen), 0),
		"raw-len-4GiB":              head(uint64(hRawLen), 1<<32),
		"raw-len-one-less":          head(uint64(hRawLen), size-1),
		"raw-len-one-more":          head(uint64(hRawLen), size+1),
		"first-seq-0":               head(uint64(hFirstSeq), 0),
		"seq-wraps":                 head(uint64(hFirstSeq), math.MaxUint64-1),
		"uptime-64-bits":            head(uint64(hUptimeUS), math.MaxUint64),
		"clock-error-64-bits":       head(uint64(hClockError), math.MaxUint64),
		"required-flag":             head(uint64(hFlags), 1<<16),
		"dictionary":                head(uint64(hDictID), 9),
		"count-as-bytes":            raised(hCount, []byte{3}),
		"last-chain-as-a-number":    head(uint64(hLastChain), 0),
		"prev-chain-15-bytes":       raised(hPrevChain, make([]byte, 15)),
		"last-chain-17-bytes":       raised(hLastChain, make([]byte, 17)),
		"prev-chain-other":          raised(hPrevChain, bytes.Repeat([]byte{1}, 16)),
		"last-chain-other":          raised(hLastChain, bytes.Repeat([]byte{1}, 16)),
		"records-swapped":           with(func(g *forged) { g.payload = packed(t, swapped) }),
		"payload-empty":             with(func(g *forged) { g.payload = nil }),
		"payload-is-noise":          with(func(g *forged) { g.payload = bytes.Repeat([]byte{0xa5}, 60) }),
		"payload-cut":               with(func(g *forged) { g.payload = g.payload[:len(g.payload)-7] }),
		"payload-with-a-tail":       with(func(g *forged) { g.payload = append(g.payload, 1, 2, 3) }),
		"bomb":                      with(func(g *forged) { g.payload = packed(t, make([]byte, 64<<20)) }),
		"bomb-behind-the-records":   with(func(g *forged) { g.payload = append(g.payload, packed(t, make([]byte, 64<<20))...) }),
		"bomb-size-not-told":        with(func(g *forged) { g.payload = streamed(t, 64<<20) }),
		"record-of-no-bytes":        lying(t, f, append(slices.Clone(raw), 0), n+1),
		"record-longer-than-others": lying(t, f, append(slices.Clone(raw), 0xff, 0xff, 0x7f), n+1),
		"record-length-2^63":        lying(t, f, append(slices.Clone(raw), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), n+1),
	}
}

// lying declares raw and count as they are, whatever raw holds.
func lying(t testing.TB, f *Frame, raw []byte, count uint64) []byte {
	t.Helper()
	h := f.appendHeader(nil, len(raw))
	h = appendUint(h, hCount, count)
	return forged{FrameMagic, h, packed(t, raw)}.bytes()
}

// streamed packs n zero bytes without telling their number.
func streamed(t testing.TB, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	enc, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(512<<10))
	if err != nil {
		t.Fatal(err)
	}
	for range n >> 20 {
		if _, err := enc.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// refusal names an error as hostile.json does.
func refusal(err error) string {
	var size *SizeError
	for _, c := range []struct {
		err  error
		name string
	}{{ErrMagic, "magic"}, {ErrChecksum, "checksum"}, {ErrTruncated, "truncated"}, {ErrUpgrade, "upgrade"}, {ErrMalformed, "malformed"}} {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &size):
		return "size"
	}
	return "unclassified: " + err.Error()
}

type goldenHostile struct {
	Error string `json:"error"`
	Frame string `json:"frame,omitempty"` // left out where it is long: frame_test.go makes it
}

func TestHostileFrames(t *testing.T) {
	codec := newCodec(t)
	frames := hostile(t)
	now := map[string]goldenHostile{}
	for name, b := range frames {
		_, err := codec.Decode(b)
		h := goldenHostile{Error: refusal(err)}
		if len(b) < 2048 {
			h.Frame = hex.EncodeToString(b)
		}
		now[name] = h
	}
	for name, want := range golden(t, "hostile.json", now) {
		t.Run(name, func(t *testing.T) {
			b, ok := frames[name]
			if want.Frame != "" {
				b = unhexed(t, want.Frame)
			} else if !ok {
				t.Fatal("no such frame is made")
			}
			got, err := codec.Decode(b)
			if refusal(err) != want.Error || want.Error == "accepted" || got != nil {
				t.Fatalf("%s (%v), want %s", refusal(err), err, want.Error)
			}
		})
	}
	t.Run("larger than a frame", func(t *testing.T) {
		if _, err := codec.Decode(make([]byte, FrameBytesMax+1)); refusal(err) != "size" {
			t.Fatal(err)
		}
	})
}

// TestHostileFramesCostLittle: what a lie makes us allocate is bounded by what
// an honest frame may hold.
func TestHostileFramesCostLittle(t *testing.T) {
	codec := newCodec(t)
	for name, b := range hostile(t) {
		_, _ = codec.Decode(b) // the coder's own tables are made once
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 8 {
			_, _ = codec.Decode(b)
		}
		runtime.ReadMemStats(&after)
		if per := (after.TotalAlloc - before.TotalAlloc) / 8; per > 2*FrameRawBytesMax {
			t.Errorf("%s: %d bytes are allocated for a frame of %d", name, per, len(b))
		}
	}
}

// TestFrameFromTheFuture: what a newer peer may add is skipped.
func TestFrameFromTheFuture(t *testing.T) {
	f := goldenFrames()["resumed"]
	f.Flags = 0xffff
	raw := make([]byte, 0, 1024)
	for _, r := range f.Records {
		raw = protowire.AppendBytes(raw, r)
	}
	h := f.appendHeader(nil, len(raw))
	h = protowire.AppendString(protowire.AppendTag(h, 200, protowire.BytesType), "what comes later")
	h = protowire.AppendFixed64(protowire.AppendTag(h, 201, protowire.Fixed64Type), 1)
	h = protowire.AppendVarint(protowire.AppendTag(h, 202, protowire.VarintType), 1)
	got, err := newCodec(t).Decode(forged{FrameMagic, h, packed(t, raw, zstd.WithEncoderLevel(zstd.SpeedBestCompression))}.bytes())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(got, f); d != "" {
		t.Fatal(d)
	}
}

// TestCodecIsSharedByMany runs one codec from many goroutines, as a simulated
// fleet does.
func TestCodecIsSharedByMany(t *testing.T) {
	codec := newCodec(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			f := chained(&Frame{FirstSeq: uint64(i + 1), Records: [][]byte{bytes.Repeat([]byte{byte(i)}, 100*(i+1)), {1}}})
			for range 50 {
				b, err := codec.Append(nil, f)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := codec.Decode(b)
				if err != nil || !cmp.Equal(got, f) {
					t.Errorf("%v, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// FuzzDecodeFrame takes bytes as they come, and once more under a checksum that
// fits, so that the fuzzer gets beyond it. What is accepted says the same again.
func FuzzDecodeFrame(f *testing.F) {
	codec := newCodec(f)
	for _, g := range goldenFrames() {
		b, err := codec.Append(nil, g)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, b := range hostile(f) {
		if len(b) < 8192 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, sealed(bytes.TrimSuffix(b, b[max(0, len(b)-4):]))} {
			got, err := codec.Decode(b)
			if err != nil {
				if got != nil || strings.HasPrefix(refusal(err), "unclassified") {
					t.Fatalf("%v, %v", got, err)
				}
				continue
			}
			again, err := codec.Append(nil, got)
			if err != nil {
				if slices.ContainsFunc(got.Records, func(r []byte) bool { return len(r) > RecordBytesMax }) {
					continue // refused one by one, when it is split
				}
				t.Fatalf("accepted, but cannot be written: %v", err)
			}
			same, err := codec.Decode(again)
			if err != nil || !cmp.Equal(same, got) {
				t.Fatalf("%v: %s", err, cmp.Diff(same, got))
			}
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	codec := newCodec(b)
	e := goldenEvents()[0].Event
	f := &Frame{Epoch: 1, Lease: 1, FirstSeq: 1}
	raw := 0
	for i := range FrameEventsMax {
		e.DocumentID = "S0042-R03-" + strings.Repeat("0", 3) + string(rune('0'+i%10)) + string(rune('0'+i/10%10)) + string(rune('0'+i/100))
		e.ID = MakeEventID(e.Store, e.Kind, e.DocumentID)
		r := AppendRecord(nil, goldenStartUS+int64(i)*1000, &e)
		f.Records = append(f.Records, r)
		raw += len(r)
	}
	wire, err := codec.Append(nil, chained(f))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(raw))
		buf := make([]byte, 0, len(wire)+1024)
		for b.Loop() {
			if _, err := codec.Append(buf[:0], f); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(raw))
		for b.Loop() {
			if _, err := codec.Decode(wire); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(raw)/float64(len(wire)), "ratio")
}
