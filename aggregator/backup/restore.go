package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/store/ledger/bolt"
)

// Find opens a copy: from is a folder, whose newest copy is meant unless at begins
// the id of another, or a manifest within one. It never takes an older copy by
// itself because a newer one is damaged: that would lose what the newer one holds,
// and only a person may decide so.
func Find(from, at string) (*Folder, *Manifest, error) {
	if strings.HasSuffix(from, listExt) {
		f, err := OpenFolder(filepath.Dir(filepath.Dir(from)))
		if err != nil {
			return nil, nil, err
		}
		m, err := readManifest(from)
		return f, m, err
	}
	f, err := OpenFolder(from)
	if err != nil {
		return nil, nil, err
	}
	ids, err := f.Copies()
	if err != nil {
		return nil, nil, err
	}
	for i := len(ids) - 1; i >= 0; i-- {
		if strings.HasPrefix(ids[i], at) {
			m, err := f.Manifest(ids[i])
			if err != nil {
				err = fmt.Errorf("%w; name an older copy with --at to go back further", err)
			}
			return f, m, err
		}
	}
	if at != "" {
		return nil, nil, fmt.Errorf("find backup: %s has no copy whose id begins with %q; it has %d", from, at, len(ids))
	}
	return nil, nil, fmt.Errorf("find backup: %s holds no copies", from)
}

// Rebuild makes a ledger of a copy at path, which must not exist. Every value is
// verified on the way; a damaged copy leaves nothing behind.
func (f *Folder) Rebuild(ctx context.Context, m *Manifest, path string) error {
	l, err := bolt.NewLoader(path)
	if err != nil {
		return fmt.Errorf("rebuild ledger: %w", err)
	}
	add := func(p File, state bool) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return f.read(p, func(r io.Reader) error { _, err := l.Add(r, state); return err })
	}
	for i := range m.Segments {
		if err := add(m.Segments[i].File, false); err != nil {
			return errors.Join(err, l.Abort())
		}
	}
	if err := add(m.State, true); err != nil {
		return errors.Join(err, l.Abort())
	}
	return l.Finish()
}

// Fold tells the digest of a ledger's positions, folded anew from its whole log.
type Fold func(path string) (stateHash string, err error)

// Rehearse restores a copy beside everything, folds it, and removes it again: a
// backup that was never restored is a hope.
func (f *Folder) Rehearse(ctx context.Context, m *Manifest, scratch string, fold Fold) error {
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return fmt.Errorf("rehearse restore: %w", err)
	}
	dir, err := os.MkdirTemp(scratch, "rehearsal-")
	if err != nil {
		return fmt.Errorf("rehearse restore: %w", err)
	}
	path := filepath.Join(dir, "ledger.db")
	err = f.Rebuild(ctx, m, path)
	if err == nil {
		err = compareFold(m, path, fold)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func compareFold(m *Manifest, path string, fold Fold) error {
	hash, err := fold(path)
	if err != nil {
		return fmt.Errorf("fold copy %s: %w", m.ID, err)
	}
	if hash != m.StateHash {
		return fmt.Errorf("fold copy %s: %w: its positions have the digest %s, want %s", m.ID, ErrDamaged, hash, m.StateHash)
	}
	return nil
}

// RestoreOptions say what becomes of which ledger.
type RestoreOptions struct {
	From, At string // see Find
	Ledger   string // file to be replaced
	Now      func() time.Time
	Log      zerolog.Logger
	Fold     Fold
	// Generation tells that of the ledger that is replaced, where it can be read.
	Generation func(path string) uint64
	// Adopt makes the copy the chain's ledger: it sets the generation, and notes what
	// a person must know.
	Adopt func(path string, m *Manifest, generation uint64) error
}

// Restored is what a restore did.
type Restored struct {
	Manifest   *Manifest
	Generation uint64
	Aside      string // where the old ledger is; "" where there was none
}

// Restore replaces a ledger by a copy. The copy is verified, rebuilt and folded
// beside it first; the old ledger is then moved aside, never deleted.
//
// Killed before the last rename: the old ledger is in its place, or aside with none
// in its place; run it again. After it: done.
func Restore(ctx context.Context, o *RestoreOptions) (*Restored, error) {
	f, m, err := Find(o.From, o.At)
	if err != nil {
		return nil, err
	}
	if err := bolt.CheckUnused(o.Ledger); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(o.Ledger), 0o700); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	_, highest, err := f.newest()
	if err != nil {
		return nil, err
	}
	r := &Restored{Manifest: m, Generation: max(m.Generation, highest, o.Generation(o.Ledger)) + 1}
	fresh := o.Ledger + ".restoring"
	if err := ignoreGone(os.Remove(fresh)); err != nil { // of a restore that was cut short
		return nil, fmt.Errorf("restore: %w", err)
	}
	err = f.Verify(ctx, m)
	if err == nil {
		err = f.Rebuild(ctx, m, fresh)
	}
	if err == nil {
		err = compareFold(m, fresh, o.Fold)
	}
	if err == nil {
		err = o.Adopt(fresh, m, r.Generation)
	}
	if err == nil {
		err = bolt.CheckUnused(o.Ledger) // it took a while
	}
	if err == nil {
		r.Aside, err = setAside(o.Ledger, o.Now())
	}
	if err == nil {
		err = errors.Join(os.Rename(fresh, o.Ledger), syncDir(filepath.Dir(o.Ledger)))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("restore: %w", err), ignoreGone(os.Remove(fresh)))
	}
	return r, nil
}

// setAside renames the old ledger; "" where there is none.
func setAside(path string, now time.Time) (string, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	aside := path + ".before-restore-" + now.UTC().Format("20060102T150405.000Z")
	if _, err := os.Stat(aside); err == nil {
		return "", fmt.Errorf("move the old ledger aside: %s exists", aside)
	}
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("move the old ledger aside: %w", err)
	}
	return aside, nil
}
