package backup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tillwire/store/ledger"
)

// keeper makes one whose covered marks are committed as the door would.
func (r *rig) keeper(o Options, covered *[]uint64) *Keeper {
	r.t.Helper()
	o.To, o.Covered = r.folder, func(ctx context.Context, marks []ledger.Mark, facts ...ledger.Fact) error {
		*covered = append(*covered, marks[0].Seq)
		return r.ledger.Commit(ctx, &ledger.Batch{Facts: facts})
	}
	if o.Keep == 0 {
		o.Keep = 3
	}
	if o.Every == 0 {
		o.Every = time.Hour
	}
	k, err := NewKeeper(r.source(), o)
	r.must(err)
	return k
}

// TestOnlyWhatWasCarriedAwayCounts: the command's exit 0 is what makes safe move.
func TestOnlyWhatWasCarriedAwayCounts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the test's command is a shell")
	}
	r := newRig(t, 10)
	ctx := context.Background()
	var covered []uint64
	gate := filepath.Join(t.TempDir(), "gate")
	k := r.keeper(Options{After: []string{"sh", "-c", `test -f ` + gate + ` && test -f "$TILLWIRE_BACKUP_DIR/copies/$TILLWIRE_BACKUP_COPY.json" && test "$1" = "$TILLWIRE_BACKUP_COPY" || { echo no way out >&2; exit 3; }`, "sh", "{copy}"}, AfterTimeout: 10 * time.Second}, &covered)
	_, err := k.Make(ctx, "", false)
	if err == nil || !strings.Contains(err.Error(), "no way out") || len(covered) != 0 {
		t.Fatalf("covered %v: %v", covered, err)
	}
	if s := k.Status(); s.Failures != 1 || s.Last != nil || !strings.Contains(s.LastError, "exit status 3") || s.CoveredBy != "backup" {
		t.Errorf("status %+v", s)
	}
	r.must(os.WriteFile(gate, nil, 0o600))
	m, err := k.Make(ctx, "", false)
	r.must(err)
	if s := k.Status(); len(covered) != 1 || covered[0] != 10 || s.Last == nil || s.Last.ID != m.ID || !s.Last.CarriedAway || s.LastError != "" {
		t.Errorf("covered %v, status %+v", covered, s)
	}
	slow := r.keeper(Options{After: []string{"sleep", "30"}, AfterTimeout: 50 * time.Millisecond}, &covered)
	if slow.Status().Last == nil {
		t.Error("the last copy is forgotten with the process")
	}
	if _, err := slow.Make(ctx, "", false); err == nil || !strings.Contains(err.Error(), "longer than") || len(covered) != 1 {
		t.Errorf("a command that hangs: %v", err)
	}
	if _, err := slow.Make(ctx, t.TempDir(), false); err != nil || len(covered) != 1 {
		t.Errorf("a copy to elsewhere moves nothing: %v %v", err, covered)
	}
}

// TestACopyThatCannotBeRestoredIsNone: a failed trial unlists it, and leaves the
// older ones alone.
func TestACopyThatCannotBeRestoredIsNone(t *testing.T) {
	r := newRig(t, 10)
	ctx := context.Background()
	var covered []uint64
	var trials int
	fail := false
	k := r.keeper(Options{Keep: 1, Rehearse: time.Minute, Trial: func(_ context.Context, manifest string) error {
		trials++
		if _, _, err := Find(manifest, ""); err != nil || fail {
			return errors.Join(err, errors.New("it does not fold"))
		}
		return nil
	}}, &covered)
	one, err := k.Make(ctx, "", false)
	r.must(err)
	if _, err := k.Make(ctx, "", false); err != nil || trials != 1 {
		t.Fatalf("%d trials, want 1 a minute: %v", trials, err)
	}
	f, m, err := Find(r.folder, "")
	r.must(err)
	if m.ID == one.ID {
		t.Fatal("keep 1 kept the older")
	}
	fail = true
	r.now = r.now.Add(time.Hour)
	if _, err := k.Make(ctx, "", false); err == nil || len(covered) != 2 {
		t.Fatalf("covered %v: %v", covered, err)
	}
	ids, err := f.Copies()
	r.must(err)
	if len(ids) != 1 || ids[0] != m.ID {
		t.Errorf("copies %v, want %s alone", ids, m.ID)
	}
	r.must(f.Verify(ctx, m))
}

// TestKeeperGoesByTheClock runs a day and a half of it in a moment: copies each
// hour, a mount that goes away for a while, and word of it.
func TestKeeperGoesByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 10)
		s := r.source()
		s.Now = time.Now
		var mu sync.Mutex // guards covered, overdue, failed
		var covered, overdue, failed int
		told := func() (int, int, int) { mu.Lock(); defer mu.Unlock(); return covered, overdue, failed }
		k, err := NewKeeper(s, Options{
			To: r.folder, Every: time.Hour, Keep: 5,
			Covered: func(ctx context.Context, marks []ledger.Mark, facts ...ledger.Fact) error {
				mu.Lock()
				defer mu.Unlock()
				if marks[0].Seq == 10 {
					covered++
				}
				return r.ledger.Commit(ctx, &ledger.Batch{Facts: facts})
			},
			Changed: func(s Status) {
				mu.Lock()
				defer mu.Unlock()
				if s.Overdue {
					overdue++
				}
				if s.LastError != "" {
					failed++
				}
			},
		})
		r.must(err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- k.Run(ctx) }()
		time.Sleep(10*time.Hour + time.Minute)
		synctest.Wait()
		if n, late, bad := told(); n != 11 || bad != 0 || late != 0 {
			t.Fatalf("%d copies in ten hours, failed %d, overdue %d", n, bad, late)
		}
		away := r.folder + ".away"
		r.must(os.Rename(r.folder, away))
		r.must(os.Mkdir(r.folder, 0o700))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		n, late, bad := told()
		if st := k.Status(); n != 11 || !st.Overdue || bad < 10 || st.Failures > 40 || !strings.Contains(st.LastError, "is it mounted?") || late == 0 {
			t.Fatalf("covered %d, %d times overdue, status %+v", n, late, st)
		}
		if list, _ := os.ReadDir(r.folder); len(list) != 0 {
			t.Errorf("the bare mount point was written to: %v", list)
		}
		r.must(os.Remove(r.folder))
		r.must(os.Rename(away, r.folder))
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if n, _, _ = told(); n != 12 || k.Status().Overdue || k.Status().LastError != "" {
			t.Errorf("covered %d, status %+v", n, k.Status())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.must(r.ledger.Close())
	})
}

func TestWithoutAFolderNothingIsScheduled(t *testing.T) {
	r := newRig(t, 1)
	k, err := NewKeeper(r.source(), Options{})
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.must(k.Run(ctx))
	if _, err := k.Make(context.Background(), "", false); err == nil {
		t.Error("a copy to nowhere")
	}
	if s := k.Status(); s.CoveredBy != "none" || s.Overdue || s.Generation != 1 {
		t.Errorf("%+v", s)
	}
}
