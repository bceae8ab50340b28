package simulator

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the files' local times need their zones on any machine

	"github.com/klauspost/compress/zstd"

	"tillwire/protocol"
)

// Formats of files that replay reads.
const (
	formatAuto = "auto"
	formatCJ   = "completejourney"
	formatUCI  = "uci"
	formatNCR  = "ncr"
)

// sourced is a document with the store that rang it up.
type sourced struct {
	store protocol.StoreID
	doc   *document
}

// tape is a file of real sales, ready to be played.
type tape struct {
	Format string
	Lines  int // as read, each one counts
	Docs   []sourced
	Raw    []byte // ncr: the file itself; it goes through the agent's own door
	Stores []protocol.StoreID
}

// openFile opens a plain or zstd file, told apart by its first bytes. Its
// decompressed size is bounded.
func openFile(name string) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, err
	}
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("read %s: %w", name, err), f.Close())
	}
	whole := io.MultiReader(bytes.NewReader(head[:n]), f)
	if !bytes.Equal(head[:n], []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return &fileReader{Reader: io.LimitReader(whole, sourceBytesMax), close: f.Close}, nil
	}
	dec, err := zstd.NewReader(whole, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open zstd %s: %w", name, err), f.Close())
	}
	return &fileReader{Reader: io.LimitReader(dec, sourceBytesMax), close: func() error { dec.Close(); return f.Close() }}, nil
}

type fileReader struct {
	io.Reader
	close func() error
}

func (f *fileReader) Close() error { return f.close() }

// readTape reads a whole file. format auto looks at the first line.
func readTape(name, format string) (*tape, error) {
	r, err := openFile(name)
	if err != nil {
		return nil, err
	}
	t, err := readTapeFrom(r, format)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return t, nil
}

func readTapeFrom(r io.Reader, format string) (*tape, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	if format == formatAuto {
		head, err := br.Peek(512)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if format = guess(string(head)); format == "" {
			return nil, fmt.Errorf("format is not known from the first line %.80q; name it with --source", head)
		}
	}
	switch format {
	case formatCJ:
		return readCSV(br, format, cjColumns, cjLine)
	case formatUCI:
		return readCSV(br, format, uciColumns, uciLine)
	case formatNCR:
		raw, err := io.ReadAll(br)
		return &tape{Format: format, Raw: raw}, err
	}
	return nil, fmt.Errorf("source %q is not one of completejourney, uci, ncr", format)
}

func guess(head string) string {
	first, _, _ := strings.Cut(head, "\n")
	first = strings.TrimPrefix(strings.TrimSpace(first), "\ufeff")
	switch {
	case strings.HasPrefix(first, "ts_local,store,basket,"):
		return formatCJ
	case strings.HasPrefix(first, "invoice,stock_code,"):
		return formatUCI
	case strings.Contains(head, "<POSLog"):
		return formatNCR
	}
	return ""
}

// sale line of a file, before it is put into a document.
type tapeLine struct {
	store    protocol.StoreID
	receipt  string
	kind     string
	reason   string
	sku      string
	quantity protocol.Quantity // as the document will say it
	effect   protocol.Quantity // on the shelf
	at       time.Time
}

// column numbers of a CSV file by name; a file may hold more columns, in any order.
type columns map[string]int

// readCSV gathers lines into documents, one per (store, receipt, kind), in
// order of first appearance. Lines are never merged or dropped: two identical
// lines are two articles that went over the counter.
func readCSV(r io.Reader, format string, want []string, parse func(columns, []string) (tapeLine, error)) (*tape, error) {
	c := csv.NewReader(r)
	c.ReuseRecord = true
	c.LazyQuotes = true
	head, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	cols := columns{}
	for i, h := range head {
		cols[strings.TrimPrefix(h, "\ufeff")] = i
	}
	for _, w := range want {
		if _, ok := cols[w]; !ok {
			return nil, fmt.Errorf("read header: column %q is missing; a %s file has %s", w, format, strings.Join(want, ", "))
		}
	}
	t := &tape{Format: format}
	b := builder{open: map[docKey]*document{}}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read line: %w", err)
		}
		l, err := parse(cols, row)
		if err != nil {
			no, _ := c.FieldPos(0)
			return nil, fmt.Errorf("read line %d: %w", no, err)
		}
		t.Lines++
		b.add(t, l)
	}
	t.Stores = storesOf(t.Docs)
	return t, nil
}

func storesOf(docs []sourced) []protocol.StoreID {
	seen := map[protocol.StoreID]bool{}
	var out []protocol.StoreID
	for _, d := range docs {
		if !seen[d.store] {
			seen[d.store] = true
			out = append(out, d.store)
		}
	}
	slices.Sort(out)
	return out
}

type docKey struct {
	store   protocol.StoreID
	receipt string
	kind    string
}

// builder keeps each receipt open while the file may still add to it.
type builder struct {
	open  map[docKey]*document
	parts map[docKey]int
}

func (b *builder) add(t *tape, l tapeLine) {
	key := docKey{l.store, l.receipt, l.kind}
	d := b.open[key]
	if d == nil || len(d.Lines) == linesMax {
		d = b.begin(key, l)
		t.Docs = append(t.Docs, sourced{store: l.store, doc: d})
	}
	dl := docLine{Line: len(d.Lines) + 1, SKU: l.sku, Quantity: l.quantity}
	if l.kind == kindReturn {
		dl.Disposition = "sellable"
	}
	d.Lines = append(d.Lines, dl)
	d.effects = append(d.effects, effect{SKU: protocol.SKU(l.sku), Delta: l.effect})
}

// begin opens a document; a receipt beyond linesMax lines goes on as
// "receipt/2", "receipt/3", ….
func (b *builder) begin(key docKey, l tapeLine) *document {
	if b.parts == nil {
		b.parts = map[docKey]int{}
	}
	b.parts[key]++
	id := key.receipt
	if n := b.parts[key]; n > 1 {
		id = fmt.Sprintf("%s/%d", id, n)
	}
	d := &document{
		kind: l.kind, at: l.at, DocumentID: id, Reason: l.reason,
		OccurredAt: tillTime(l.at), BusinessDate: l.at.Format(time.DateOnly),
	}
	b.open[key] = d
	return d
}
