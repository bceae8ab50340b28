package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The test binary serves as the recorded process.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "writer" {
		if err := Write(os.Args[2], os.Args[3], os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// programs builds the three, without the race detector: campaigns break real
// programs, at the speed that they really have.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./agent/cmd/tillwire-agent", "./aggregator/cmd/tillwire-aggregator", "./simulator/cmd/tillwire-simulator")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return dir
}

// Each campaign at the size of a test run. TILLWIRE_CRASH_CYCLES makes all of them
// longer or shorter, TILLWIRE_SEED draws others, TILLWIRE_RESULTS keeps the rows.
func TestCampaigns(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	if runtime.GOOS != "linux" {
		t.Skip("skipped: kills and mounts as Linux does")
	}
	bin := programs(t)
	for _, c := range Campaigns() {
		t.Run(c.Name, func(t *testing.T) {
			args := []string{"crash", "--for", "10m", "--dir", t.TempDir(), "--results", os.Getenv(resultsEnv)}
			if n := os.Getenv("TILLWIRE_CRASH_CYCLES"); n != "" {
				args = append(args, "--cycles", n)
			}
			if seed := os.Getenv("TILLWIRE_SEED"); seed != "" {
				args = append(args, "--seed", seed)
			}
			if tool, err := filepath.Abs(filepath.Join("..", "..", ".bin", "lazyfs")); err == nil && os.Getenv("TILLWIRE_LAZYFS") == "" {
				t.Setenv("TILLWIRE_LAZYFS", tool) // `make lazyfs` puts it there
			}
			cmd := exec.Command(filepath.Join(bin, "tillwire-simulator"), append(args, c.Name)...)
			var words bytes.Buffer
			cmd.Stderr = &words
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, &words)
			}
			var res Result
			if err := json.Unmarshal(out, &res); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if res.Skipped && os.Getenv("CI") == "true" && strings.Contains(res.Note, "apt-get install") {
				t.Fatal(res.Note)
			}
			if res.Skipped {
				t.Skip(res.Note)
			}
			t.Logf("%s", bytes.TrimSpace(out))
			if res.Lost+res.Duplicated > 0 || res.Acked == 0 || res.Cycles == 0 || res.Campaign != c.Name {
				t.Errorf("%s", out)
			}
			if limit := 2000.0; strings.HasPrefix(c.Name, "sigkill") && res.RecoveryMS.P99 > limit {
				t.Errorf("ready after %v ms, at most %v", res.RecoveryMS.P99, limit)
			}
		})
	}
}

// A database that answers before its data is synced must be found out, or the
// enumeration proves nothing: every other sync is taken out of the recording.
func TestStatesNoticeAMissingSync(t *testing.T) {
	if err := needTrace(context.Background()); err != nil {
		if os.Getenv("CI") == "true" && strings.Contains(err.Error(), "apt-get install") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	r := &Rig{Dir: t.TempDir(), Writer: []string{os.Args[0], "writer"}}
	dir, err := r.sub("recorded")
	if err != nil {
		t.Fatal(err)
	}
	ops, err := record(context.Background(), r, dir, 25)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		drop func(n int, op operation) bool
		bad  bool
	}{
		{"as it was", func(int, operation) bool { return false }, false},
		{"every other sync missing", func(n int, _ operation) bool { return n%2 == 0 }, true},
		{"no sync at all", func(int, operation) bool { return true }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var kept []operation
			n := 0
			for i, op := range ops {
				if op.kind == "sync" && i < len(ops)-1 {
					if n++; tt.drop(n, op) {
						continue
					}
				}
				kept = append(kept, op)
			}
			res := &Result{}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			todo := make(chan state)
			var wg sync.WaitGroup
			var found error
			wg.Add(1)
			go func() {
				defer wg.Done()
				if found = judgeStates(ctx, todo, res); found != nil {
					cancel()
				}
			}()
			e := enumerator{ctx: ctx, out: todo, rng: rand.New(rand.NewPCG(1, 1)), left: 1500, hash: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
			e.run(kept)
			close(todo)
			wg.Wait()
			if (found != nil) != tt.bad {
				t.Errorf("%d states: %v", len(e.seen), found)
			}
			t.Logf("%d states: %v", len(e.seen), found)
		})
	}
}

func TestJudgeCountsLostAndTwice(t *testing.T) {
	dir := t.TempDir()
	if err := fill(context.Background(), dir, 1000); err != nil {
		t.Fatal(err)
	}
	c, l, res := newCrew(""), newLedger(dir), &Result{Campaign: "planted"}
	c.acked[recordedDocument(7)], c.acked[recordedDocument(8)], c.acked["never"] = 7, 9, 1001
	l.docs[recordedDocument(500)] = 3 // as if it had been seen before
	if err := l.judge(context.Background(), c, res); err != nil {
		t.Fatal(err)
	}
	if res.Lost != 2 || res.Duplicated != 1 || res.Acked != 3 || res.Err() == nil {
		t.Errorf("%+v", res)
	}
	l.at, l.chain = 1000, [16]byte{1}
	if err := fill(context.Background(), dir, 1000); err != nil { // duplicates: nothing new
		t.Fatal(err)
	}
	if err := l.look(context.Background()); err != nil {
		t.Errorf("nothing new: %v", err)
	}
	l.at = 999
	if err := l.look(context.Background()); err == nil || !strings.Contains(err.Error(), "follows chain") {
		t.Errorf("another chain: %v", err)
	}
}

func TestParseTrace(t *testing.T) {
	hex := func(s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			b.WriteString(`\x` + strconv.FormatUint(uint64(c)+0x100, 16)[1:])
		}
		return b.String()
	}
	file := "3<" + hex("/d/journal.db") + ">"
	trace := strings.Join([]string{
		`10 pwrite64(` + file + `, "` + hex("ab\"\n") + `", 4, 512 <unfinished ...>`,
		`11 write(1<` + hex("pipe:[1]") + `>, "` + hex("acked 4\n") + `", 8) = 8`,
		`10 <... pwrite64 resumed>)                = 4`,
		`10 fdatasync(` + file + `) = -1 EIO (Input/output error)`,
		`10 fdatasync(` + file + `) = 0`,
		`10 pwrite64(4<` + hex("/d/other") + `>, "` + hex("x") + `", 1, 0) = 1`,
		`10 ftruncate(` + file + `, 4096) = 0`,
		`10 renameat(AT_FDCWD</x>, "` + hex("/d/journal.db.new") + `", AT_FDCWD</x>, "` + hex("/d/journal.db") + `") = 0`,
		`10 fsync(7<` + hex("/d") + `>) = 0`,
		`10 +++ exited with 0 +++`,
	}, "\n")
	got, err := parseTrace(strings.NewReader(trace), "/d")
	if err != nil {
		t.Fatal(err)
	}
	want := []operation{
		{kind: "write", name: "journal.db", off: 512, data: []byte("ab\"\n"), acked: 4},
		{kind: "sync", name: "journal.db", acked: 4},
		{kind: "truncate", name: "journal.db", off: 4096, acked: 4},
		{kind: "rename", name: "journal.db.new", to: "journal.db", acked: 4},
		{kind: "syncdir", acked: 4},
		{kind: "sync", acked: 4},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(operation{})); diff != "" {
		t.Error(diff)
	}
	if _, err := parseTrace(strings.NewReader(`10 pwrite64(`+file+`, "`+hex("ab")+`", 4, 0) = 4`), "/d"); err == nil {
		t.Error("a shortened recording passes")
	}
}

func TestCommandLine(t *testing.T) {
	var out, words bytes.Buffer
	err := Command(context.Background(), []string{"earthquake"}, &out, &words)
	if err == nil || !strings.Contains(err.Error(), `"earthquake" is not a campaign`) {
		t.Errorf("%v", err)
	}
	if err := Command(context.Background(), []string{"--help"}, &out, &words); err == nil || !strings.Contains(words.String(), "power-cut") {
		t.Errorf("%v: %s", err, &words)
	}
	res := &Result{Campaign: "x", Cycles: 2, Acked: 5}
	res.samples = []float64{5, 1, 3}
	res.close(time.Now())
	dir := t.TempDir()
	if err := errors.Join(res.Store(dir), res.Store("")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "x.json"))
	if err != nil || !strings.Contains(string(b), `"recovery_ms":{"p50":3,"p99":5,"max":5}`) {
		t.Errorf("%s %v", b, err)
	}
}
