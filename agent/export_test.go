package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tillwire/protocol"
)

// A file of any content is read to its end or refused with the line; what is read
// holds the chain.
func FuzzReadExport(f *testing.F) {
	sound := func() string {
		var chain protocol.Chain
		rec := append([]byte{1}, "event"...)
		next := chain.Next(rec).String()
		zero := chain.String()
		return `{"tillwire_export":1,"store":"S1","tail_seq":1,"chain":"` + zero + `"}` + "\n" +
			`{"seq":1,"recorded_us":1,"chain":"` + next + `","event":"ZXZlbnQ="}` + "\n" +
			`{"end":true,"records":1,"head_seq":1,"chain":"` + next + `"}` + "\n"
	}()
	f.Add([]byte(sound))
	f.Add([]byte(strings.Replace(sound, "ZXZlbnQ=", "ZXZlbnR=", 1)))
	f.Add([]byte(strings.Replace(sound, `"records":1`, `"records":2`, 1)))
	f.Add([]byte("{}\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := readExport(bytes.NewReader(b))
		if err != nil {
			return
		}
		chain := x.chain
		for n := uint64(0); ; n++ {
			line, err := x.record()
			if errors.Is(err, io.EOF) {
				if !x.ended || x.records != n {
					t.Fatalf("an end without the last line: %+v", x)
				}
				return
			}
			if err != nil {
				return
			}
			if line.Seq != x.head.Tail+n || line.Chain == chain || len(line.Event) == 0 {
				t.Fatalf("record %d: %+v", n, line)
			}
			chain = line.Chain
		}
	})
}

func TestExportsThatAreRefused(t *testing.T) {
	c, _ := journaled(t)
	var out bytes.Buffer
	if _, err := Export(context.Background(), c, 1, true, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(out.String(), "\n")
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "is empty"},
		{"another version", strings.Replace(out.String(), `"tillwire_export":1`, `"tillwire_export":2`, 1), "has version 2"},
		{"no tail", strings.Replace(out.String(), `"tail_seq":1`, `"tail_seq":0`, 1), "tail_seq is 0"},
		{"a line missing", strings.Join(append(append([]string{}, lines[:7]...), lines[8:]...), ""), "line 8 holds seq 8, want 7"},
		{"two lines swapped", strings.Join(append(append(append([]string{}, lines[:7]...), lines[8], lines[7]), lines[9:]...), ""), "line 8 holds seq 8, want 7"},
		{"cut short", strings.Join(lines[:20], ""), "without its last line"},
		{"more behind the end", out.String() + lines[3], "behind the last line"},
		{"another end", strings.Replace(out.String(), `"records":40`, `"records":41`, 1), "says 41 records"},
		{"no event", strings.Replace(out.String(), `"event":"`, `"event":"","x":"`, 1), "has 0 bytes"},
	} {
		path := filepath.Join(t.TempDir(), "j.jsonl")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := VerifyExport(context.Background(), path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := VerifyExport(context.Background(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there")
	}
}
