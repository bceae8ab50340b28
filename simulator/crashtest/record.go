package crashtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/protocol"
	"tillwire/store/journal"
)

// The recorded process: Write fills a real journal (real bbolt, real system
// calls) and says on its standard output what it was told is on disk. strace
// records writes, syncs, renames and those words in the order in which the kernel
// saw them.

func recordedDocument(seq uint64) string { return "D" + strconv.FormatUint(seq, 10) }

func recordedEvent(seq uint64) *protocol.Event {
	doc := recordedDocument(seq)
	return &protocol.Event{
		ID: protocol.MakeEventID(store, protocol.KindSale, doc), Kind: protocol.KindSale, Store: store, DocumentID: doc,
		Register: "R" + strconv.FormatUint(seq%5, 10), EventTime: protocol.Stamp{US: 1_795_000_000_000_000},
		Lines: []protocol.Line{{Line: 1, SKU: "04006381333931", Quantity: protocol.Units(1), UOM: "EA"}},
	}
}

func recordedOptions(dir string) journal.Options {
	return journal.Options{
		Path: filepath.Join(dir, agent.JournalFile), Log: zerolog.Nop(), BallastBytes: -1, SegmentEvents: 90, Retention: time.Nanosecond,
		DiskFree: func() (uint64, uint64, error) { return 80, 100, nil },
	}
}

// Write appends groups of events to a new journal in dir, moves its marks and
// trims it now and then, and prints "acked SEQ" after each append that succeeded
// and "safe SEQ" before anything up to SEQ may be trimmed.
func Write(dir, groups string, out io.Writer) error {
	n, err := strconv.Atoi(groups)
	if err != nil {
		return fmt.Errorf("number of groups: %w", err)
	}
	j, err := journal.Open(recordedOptions(dir))
	if err != nil {
		return err
	}
	seq := uint64(0)
	for g := range n {
		size := 1 + g%5
		if g%17 == 16 {
			size = 60
		}
		var events []*protocol.Event
		for range size {
			seq++
			events = append(events, recordedEvent(seq))
		}
		if _, errs := j.AppendAll(context.Background(), events); errors.Join(errs...) != nil {
			return errors.Join(errs...)
		}
		if _, err := fmt.Fprintf(out, "acked %d\n", seq); err != nil {
			return err
		}
		if g%13 == 12 {
			safe := seq - min(seq, 40)
			if _, err := fmt.Fprintf(out, "safe %d\n", safe); err != nil {
				return err
			}
			if err := j.SetMerged(1, safe, safe, 1); err != nil {
				return err
			}
			if _, err := j.Trim(time.Now().Add(time.Hour)); err != nil {
				return err
			}
		}
	}
	return j.Close()
}

// operation is one recorded system call.
type operation struct {
	kind  string // write, truncate, sync, rename, syncdir
	name  string // of the file; of rename: the old one
	to    string // of rename
	off   int64  // of write; of truncate: the size
	data  []byte
	acked uint64 // when it was called
	safe  uint64
}

// record runs the writer under strace.
func record(ctx context.Context, r *Rig, dir string, groups int) ([]operation, error) {
	trace := filepath.Join(r.Dir, "trace")
	args := []string{"-f", "-qq", "-xx", "-y", "-s", "4000000", "-e", "signal=none", "-e", "trace=pwrite64,fdatasync,fsync,ftruncate,rename,renameat,renameat2,write", "-o", trace}
	cmd := exec.CommandContext(ctx, "strace", append(append(args, r.Writer...), dir, strconv.Itoa(groups))...) //nolint:gosec // our own program
	words, err := os.Create(filepath.Join(r.Dir, "words"))                                                     //nolint:gosec // in our scratch folder
	if err != nil {
		return nil, err
	}
	errWords := &tail{}
	cmd.Stdout, cmd.Stderr = words, errWords
	err = cmd.Run()
	_ = words.Close()
	if err != nil {
		return nil, fmt.Errorf("record: %w: %s", err, errWords)
	}
	f, err := os.Open(trace)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return parseTrace(f, dir)
}

// parseTrace reads strace's lines: `PID call(FD<PATH>, …) = RESULT`, where a call
// may be split into `… <unfinished ...>` and `<... call resumed>…`. Strings are in
// hexadecimal. A call counts where it ended.
func parseTrace(r io.Reader, dir string) ([]operation, error) {
	var ops []operation
	open := map[string]string{}
	var acked, safe uint64
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, 1<<20), 64<<20)
	for scan.Scan() {
		pid, line, _ := strings.Cut(scan.Text(), " ")
		line = strings.TrimLeft(line, " ")
		if begun, ok := strings.CutSuffix(line, " <unfinished ...>"); ok {
			open[pid] = begun
			continue
		}
		if strings.HasPrefix(line, "<... ") {
			_, rest, _ := strings.Cut(line, " resumed>")
			line = open[pid] + rest
			delete(open, pid)
		}
		call, rest, ok := strings.Cut(line, "(")
		at := strings.LastIndex(rest, "= ") // strace pads the space in front of it
		if !ok || at < 0 || strings.HasPrefix(rest[at:], "= -1") || strings.HasPrefix(rest[at:], "= ?") {
			continue // exits, and calls that failed
		}
		at = strings.LastIndex(rest[:at], ")")
		if at < 0 {
			continue
		}
		op, words, err := parseCall(call, strings.Split(rest[:at], ", "), dir)
		if err != nil {
			return nil, fmt.Errorf("trace line %.80s: %w", line, err)
		}
		for _, w := range strings.Split(words, "\n") {
			if n, ok := strings.CutPrefix(w, "acked "); ok {
				acked, err = strconv.ParseUint(n, 10, 64)
			} else if n, ok := strings.CutPrefix(w, "safe "); ok {
				safe, err = strconv.ParseUint(n, 10, 64)
			}
			if err != nil {
				return nil, err
			}
		}
		if op.kind != "" {
			op.acked, op.safe = acked, safe
			ops = append(ops, op)
		}
	}
	ops = append(ops, operation{kind: "sync", acked: acked, safe: safe})
	return ops, scan.Err()
}

// parseCall reads one call; words are what the writer said.
func parseCall(call string, args []string, dir string) (op operation, words string, err error) {
	file := func(path string) string {
		if filepath.Dir(path) == dir && (filepath.Base(path) == agent.JournalFile || filepath.Base(path) == agent.JournalFile+".new") {
			return filepath.Base(path)
		}
		return ""
	}
	fdPath := func() string {
		_, p, _ := strings.Cut(args[0], "<")
		return string(unhex(strings.TrimSuffix(p, ">")))
	}
	quoted := func(s string) []byte { return unhex(strings.Trim(s, `"`)) }
	switch call {
	case "write":
		if strings.HasPrefix(args[0], "1<") && len(args) > 1 {
			return op, string(quoted(args[1])), nil
		}
	case "pwrite64":
		if name := file(fdPath()); name != "" && len(args) == 4 {
			op = operation{kind: "write", name: name, data: quoted(args[1])}
			op.off, err = strconv.ParseInt(args[3], 10, 64)
			if want, _ := strconv.Atoi(args[2]); err == nil && want != len(op.data) {
				err = fmt.Errorf("%d of %d bytes recorded", len(op.data), want)
			}
		}
	case "ftruncate":
		if name := file(fdPath()); name != "" {
			op = operation{kind: "truncate", name: name}
			op.off, err = strconv.ParseInt(args[1], 10, 64)
		}
	case "fdatasync", "fsync":
		if path := fdPath(); path == dir {
			op.kind = "syncdir"
		} else if name := file(path); name != "" {
			op = operation{kind: "sync", name: name}
		}
	default: // the renames: paths are the quoted arguments
		var paths []string
		for _, a := range args {
			if strings.HasPrefix(a, `"`) {
				paths = append(paths, string(quoted(a)))
			}
		}
		if len(paths) == 2 && file(paths[0]) != "" {
			op = operation{kind: "rename", name: file(paths[0]), to: file(paths[1])}
		}
	}
	return op, "", err
}

// unhex reads strace's \x41\x42; other characters stand for themselves.
func unhex(s string) []byte {
	b := make([]byte, 0, len(s)/4)
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if v, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b = append(b, byte(v))
				i += 3
				continue
			}
		}
		b = append(b, s[i])
	}
	return b
}
