//go:build unix

package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// An administrator's check must not lock the service's user out of its journal.
func TestSalvagedJournalBelongsToTheFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can give files away")
	}
	const nobody = 65534
	c, _ := journaled(t)
	if err := os.Chown(c.DataDir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	damage(t, c, "R03-17")
	if what, err := Repair(c); err != nil || what == "" {
		t.Fatalf("%q %v", what, err)
	}
	files, err := filepath.Glob(filepath.Join(c.DataDir, JournalFile+"*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		if uid, gid, err := owner(f); err != nil || uid != nobody || gid != nobody {
			t.Errorf("%s belongs to %d:%d (%v)", f, uid, gid, err)
		}
	}
}
