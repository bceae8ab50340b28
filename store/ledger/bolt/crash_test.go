package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

var errInjected = errors.New("injected")

func mustOpen(t testing.TB, opts Options) *Ledger {
	t.Helper()
	l, err := Open(opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// copyFile takes the file as a crash at this moment would leave it.
func copyFile(t testing.TB, from string) string {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// checkWhole reads everything that a ledger should hold of a benchSource that
// was committed up to its head.
func checkWhole(t testing.TB, l *Ledger, want []ledger.Entry) {
	t.Helper()
	if got := l.Head(); got != ledger.Position(len(want)) {
		t.Fatalf("head is %d, want %d", got, len(want))
	}
	n := 0
	if err := l.Scan(1, func(e *ledger.Entry) error {
		if e.EventID != want[n].EventID || !bytes.Equal(e.Record, want[n].Record) || e.Seq != want[n].Seq {
			return fmt.Errorf("entry %d differs", e.Position)
		}
		n++
		return nil
	}); err != nil || n != len(want) {
		t.Fatalf("scan: %v after %d of %d", err, n, len(want))
	}
	for i := range want {
		p, content, ok, err := l.Find(want[i].EventID)
		if err != nil || !ok || p != want[i].Position || content != want[i].Content {
			t.Fatalf("find entry %d: got %d %x %t %v", i+1, p, content, ok, err)
		}
	}
	seqs := uint64(0)
	marks, err := l.Marks()
	if err != nil {
		t.Fatal(err)
	}
	for i := range marks {
		seqs += marks[i].Seq
	}
	if seqs != uint64(len(want)) {
		t.Fatalf("marks add up to %d, log has %d", seqs, len(want))
	}
}

// steps of a commit, in order; those after "sync" find the batch on disk.
var commitSteps = []string{
	"names", "entries", "marks", "exceptions", "facts", "checkpoint", "sync", "committed",
	"seal", "seal sync", "sealed", "merge", "merge sync", "merged", "bury",
}

// TestFailpoints breaks each step in turn, finds the ledger failed, and reopens
// both what the process left and what a crash at that moment would have.
func TestFailpoints(t *testing.T) {
	for _, step := range commitSteps {
		t.Run(step, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "l.db")
			hit, armed := false, false
			opts := Options{Path: path, IDsHot: 64}
			failing := opts
			var crash string
			failing.fail = func(at string) error {
				if armed && at == step {
					hit = true
					crash = copyFile(t, path)
					return errInjected
				}
				return nil
			}
			l := mustOpen(t, failing)
			s := newBenchSource()
			if err := l.Commit(context.Background(), &ledger.Batch{Journals: s.journals()}); err != nil {
				t.Fatal(err)
			}
			var all []ledger.Entry
			for i := 0; !hit && i < 200; i++ {
				armed = i >= 10
				b := s.batch(50, 5)
				err := l.Commit(context.Background(), b)
				if err == nil {
					all = append(all, b.Entries...)
					continue
				}
				if !errors.Is(err, ledger.ErrFailed) || !errors.Is(err, errInjected) {
					t.Fatalf("commit: got %v, want ErrFailed around the cause", err)
				}
				checkFailed(t, l, s, all)
				if step == "committed" { // the batch is on disk, the answer was lost
					all = append(all, b.Entries...)
				}
			}
			if !hit {
				t.Fatalf("step %q was never reached", step)
			}
			_ = l.Close()
			for name, file := range map[string]string{"reopened": path, "crashed": crash} {
				opts.Path = file
				l := mustOpen(t, opts)
				checkWhole(t, l, all)
				goOn(t, l, name)
			}
		})
	}
}

// checkFailed: nothing more is written, what could be unsure is not shown, and
// the log up to the head still is.
func checkFailed(t *testing.T, l *Ledger, s *benchSource, all []ledger.Entry) {
	t.Helper()
	if err := l.Commit(context.Background(), &ledger.Batch{}); !errors.Is(err, ledger.ErrFailed) {
		t.Fatalf("second commit: got %v, want ErrFailed", err)
	}
	if _, err := l.Marks(); !errors.Is(err, ledger.ErrFailed) {
		t.Fatalf("marks: got %v, want ErrFailed", err)
	}
	if _, err := l.Fact("x"); !errors.Is(err, ledger.ErrFailed) {
		t.Fatalf("fact: got %v, want ErrFailed", err)
	}
	if l.Head() != ledger.Position(len(all)) {
		t.Fatalf("head is %d, want %d", l.Head(), len(all))
	}
	if _, err := l.Read(l.Head()); err != nil {
		t.Fatalf("read: %v", err)
	}
	if _, err := l.Read(l.Head() + 1); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("read behind head: got %v, want ErrNotFound", err)
	}
}

// goOn commits after a recovery, so that leftovers of a run would be met.
func goOn(t *testing.T, l *Ledger, key string) {
	t.Helper()
	for i := range 30 {
		e := ledger.Entry{Position: l.Head() + 1, Origin: 1, EventID: protocol.EventID{0xff, byte(i)}}
		if err := l.Commit(context.Background(), &ledger.Batch{Entries: []ledger.Entry{e}}); err != nil {
			t.Fatalf("%s: commit after recovery: %v", key, err)
		}
	}
	if _, _, ok, err := l.Find(protocol.EventID{0xff, 3}); !ok || err != nil {
		t.Fatalf("%s: find: %t %v", key, ok, err)
	}
}

const killCycles = 10

const envKill = "TILLWIRE_LEDGER_KILL"

// TestKill kills a process that commits, seals and merges without rest, and
// finds every batch that it had reported.
func TestKill(t *testing.T) {
	if path := os.Getenv(envKill); path != "" {
		commitForEver(t, path)
		return
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "l.db")
	for cycle := range killCycles {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), envKill+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(40+cycle*23)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		said, _ := io.ReadAll(out)
		_ = cmd.Wait()
		timer.Stop()
		lines := bytes.Fields(said)
		reported := 0
		if len(lines) > 0 {
			// The last line may be torn by the kill: only whole ones count.
			if said[len(said)-1] != '\n' {
				lines = lines[:len(lines)-1]
			}
			for _, f := range lines {
				if n, err := strconv.Atoi(string(f)); err == nil {
					reported = n
				}
			}
		}
		l := mustOpen(t, Options{Path: path, IDsHot: 64})
		if int(l.Head()) < reported || l.Head()%7 != 0 {
			t.Fatalf("cycle %d: head is %d, %d was reported, batches have 7", cycle, l.Head(), reported)
		}
		checkNumbered(t, l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l := mustOpen(t, Options{Path: path})
	t.Logf("head %d after %d kills, %d runs", l.Head(), killCycles, len(l.runs))
	if l.Head() == 0 {
		t.Fatal("nothing was ever committed: the test tests nothing")
	}
}

func numbered(p ledger.Position) ledger.Entry {
	e := ledger.Entry{Position: p, Origin: 1, Seq: uint64(p)}
	k := key64(uint64(p) * 0x9e3779b97f4a7c15)
	copy(e.EventID[:], k[:])
	return e
}

func commitForEver(t *testing.T, path string) {
	l, err := Open(Options{Path: path, IDsHot: 64})
	if err != nil {
		t.Fatal(err)
	}
	for {
		b := &ledger.Batch{}
		for i := range 7 {
			b.Entries = append(b.Entries, numbered(l.Head()+1+ledger.Position(i)))
		}
		m := ledger.Mark{Origin: protocol.Origin{Store: "S1", Agent: "server"}}
		m.WasSeq, m.Seq = uint64(l.Head()), uint64(l.Head())+7
		b.Marks = []ledger.Mark{m}
		if err := l.Commit(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		fmt.Println(l.Head())
	}
}

func checkNumbered(t *testing.T, l *Ledger) {
	t.Helper()
	n := ledger.Position(0)
	if err := l.Scan(1, func(e *ledger.Entry) error {
		n++
		if want := numbered(n); e.EventID != want.EventID || e.Seq != want.Seq {
			return fmt.Errorf("entry %d differs", n)
		}
		return nil
	}); err != nil || n != l.Head() {
		t.Fatalf("scan: %v at %d, head %d", err, n, l.Head())
	}
	for p := ledger.Position(1); p <= n; p++ {
		if got, _, ok, err := l.Find(numbered(p).EventID); got != p || !ok || err != nil {
			t.Fatalf("find entry %d: got %d %t %v", p, got, ok, err)
		}
	}
	if marks, err := l.Marks(); err != nil || n > 0 && (len(marks) != 1 || marks[0].Seq != uint64(n)) {
		t.Fatalf("marks: %v %v, want seq %d", marks, err, n)
	}
}
