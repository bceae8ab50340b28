package journal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary serves as its own child: TILLWIRE_JOURNAL_CHILD names a path.
func TestMain(m *testing.M) {
	if path := os.Getenv("TILLWIRE_JOURNAL_CHILD"); path != "" {
		child(path, os.Getenv("TILLWIRE_JOURNAL_FROM"))
		return
	}
	if path := os.Getenv("TILLWIRE_JOURNAL_PROVE"); path != "" {
		if err := CheckFile(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// prove checks a file in a child process, as the agent does.
func prove(path string) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TILLWIRE_JOURNAL_PROVE="+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return &CorruptError{Path: path, What: "file, in a process of its own", Got: fmt.Sprintf("%.300s", out), Want: "a sound one"}
	}
	return nil
}

// child appends with 4 writers for ever and prints each document that it was
// told is on disk.
func child(path, from string) {
	// Its clock is set back again and again: by 0.1 s more each time that it is read.
	var looks atomic.Int64
	now := func() time.Time { return time.Now().Add(-time.Duration(looks.Add(1)) * 100 * time.Millisecond) }
	j, err := Open(Options{Path: path, BallastBytes: -1, SegmentEvents: 500, Now: now})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("open", j.State().BootReason)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				doc := fmt.Sprintf("K%s-%d-%d", from, w, i)
				r, err := j.Append(context.Background(), sale(doc))
				if err != nil {
					return
				}
				mu.Lock()
				fmt.Println("acked", r.Seq, doc)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
}

// startChild runs a child until it has acked n documents, then kills it, and
// returns what it acked. It returns early where the child dies by itself.
func startChild(t *testing.T, path string, round, n int, acked map[string]uint64) (opened string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Stderr = childLog(t)
	cmd.Env = append(os.Environ(), "TILLWIRE_JOURNAL_CHILD="+path, fmt.Sprint("TILLWIRE_JOURNAL_FROM=", round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f := strings.SplitN(lines.Text(), " ", 3)
		switch {
		case f[0] == "open" && len(f) > 1:
			opened = strings.Join(f[1:], " ")
		case f[0] == "acked" && len(f) == 3:
			seq, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			acked[f[2]] = seq
			if n--; n == 0 {
				_ = cmd.Process.Kill()
			}
		default:
			t.Fatalf("child says %q", lines.Text())
		}
	}
	_ = cmd.Wait() // killed, or dead by itself
	return opened
}

// What was acked before a SIGKILL is there after it, under the same number.
func TestKilledAgentLosesNothing(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	acked := map[string]uint64{}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		startChild(t, o.Path, round, 40+round*13, acked)
	}
	o.VerifyAll = true
	j := open(t, o)
	docs := documents(t, j)
	for doc, seq := range acked {
		if docs[seq] != doc {
			t.Fatalf("%s was acked at seq %d, where %q stands", doc, seq, docs[seq])
		}
	}
	s, head := setBackOf(t, j), j.State().Head
	if len(s.spans) < 2 || len(s.seqs) == 0 || s.seqs[len(s.seqs)-1] != head {
		t.Errorf("head is %d; of the clock that was set back there is %+v", head, s)
	}
	t.Logf("%d kills, %d acked, head %d", rounds, len(acked), j.State().Head)
}

// bbolt walks a file's pages at open, in a goroutine of its own whose panic
// kills the process: a damaged tree must be seen before. A child opens it, so
// that a death would be noticed.
func TestDamagedTreeIsSurvived(t *testing.T) {
	tests := []struct {
		name string
		harm func(b []byte, pageSize int, branch []byte)
	}{
		{"two references", func(_ []byte, _ int, branch []byte) {
			copy(branch[pageHead+16+8:pageHead+32], branch[pageHead+8:pageHead+16])
		}},
		{"page under a wrong id", func(b []byte, pageSize int, branch []byte) {
			child := int(binary.LittleEndian.Uint64(branch[pageHead+8:]))
			binary.LittleEndian.PutUint64(b[child*pageSize:], 1<<40)
		}},
		{"page beyond the end", func(_ []byte, _ int, branch []byte) {
			binary.LittleEndian.PutUint64(branch[pageHead+8:], 1<<40)
		}},
		{"a branch that is its own child", func(_ []byte, _ int, branch []byte) {
			copy(branch[pageHead+8:pageHead+16], branch[:8])
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(t)
			o.SegmentEvents = 500
			const n = 2000
			filled(t, o, n)
			harmLiveBranch(t, o.Path, tt.harm)
			acked := map[string]uint64{}
			first := startChild(t, o.Path, 0, 5, acked)
			if !strings.HasPrefix(first, "salvaged") {
				t.Fatalf("child opened: %q", first)
			}
			docs, lost := documents(t, open(t, o)), 0
			for seq := uint64(1); seq <= n; seq++ {
				if docs[seq] == "" {
					lost++
				} else if docs[seq] != fmt.Sprint("D", seq) {
					t.Fatalf("seq %d holds %q", seq, docs[seq])
				}
			}
			if lost > 0 {
				t.Errorf("%d records lost, though only the tree was damaged", lost)
			}
		})
	}
}

// harmLiveBranch damages a branch page that is in use. Stale ones are no test:
// the inspector tells them apart.
func harmLiveBranch(t *testing.T, path string, harm func([]byte, int, []byte)) {
	t.Helper()
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := newestMeta(func(off int64, n int) ([]byte, error) { return sound[off : off+int64(n)], nil })
	if err != nil {
		t.Fatal(err)
	}
	for p := uint64(2); p < meta.pages; p++ {
		b := append([]byte(nil), sound...)
		page := b[p*uint64(meta.pageSize):][:meta.pageSize]
		if flags, count, _ := pageKind(page); flags != pageBranch || count < 3 || binary.LittleEndian.Uint64(page) != p {
			continue
		}
		harm(b, meta.pageSize, page)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := inspectFile(path); isCorrupt(err) {
			return
		}
	}
	t.Fatal("no live branch page found")
}

// childLog shows the last words of a child when a test fails.
func childLog(t *testing.T) *bytes.Buffer {
	var b bytes.Buffer
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("child: %.2000s", b.String())
		}
	})
	return &b
}
