package backup

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Folder is where copies lie.
type Folder struct {
	dir    string
	marker marker // zero: the folder is not begun
}

// OpenFolder reads a folder; it must exist.
func OpenFolder(dir string) (*Folder, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open backup folder: %s does not exist; is it mounted?", dir)
	case err != nil:
		return nil, fmt.Errorf("open backup folder: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("open backup folder: %s is a file", dir)
	}
	f := &Folder{dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		f.marker, err = decodeMarker(b)
	}
	if err != nil {
		return nil, fmt.Errorf("open backup folder: %w", err)
	}
	return f, nil
}

// begin makes the folder this ledger's own, or finds that it is another's.
// known is the folder that this ledger's copies were last written to, "" for none:
// where it is gone, a mount is missing, and nothing is written to the bare mount
// point.
func (f *Folder) begin(ledger, known string, anew bool) error {
	switch m := f.marker; {
	case m.Ledger != "" && m.Ledger != ledger:
		return fmt.Errorf("begin backup: %s holds the copies of another ledger (%s, this one is %s); name a folder of its own", f.dir, m.Ledger, ledger)
	case m.Folder != "" && (known == "" || known == m.Folder || anew):
		return f.makeDirs()
	case known != "" && !anew:
		return fmt.Errorf("begin backup: %s is not the folder that this ledger's copies were written to; is it mounted? To begin anew there, run `tillwire-aggregator backup --begin`", f.dir)
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	f.marker = marker{ledger, hex.EncodeToString(id)}
	b, err := json.Marshal(f.marker)
	if err != nil {
		return fmt.Errorf("begin backup: %w", err)
	}
	if err := f.makeDirs(); err != nil {
		return err
	}
	return f.publish(markerName, append(b, '\n'))
}

func (f *Folder) makeDirs() error {
	for _, d := range []string{logDir, copiesDir, tmpDir} {
		if err := os.MkdirAll(filepath.Join(f.dir, d), 0o700); err != nil {
			return fmt.Errorf("begin backup: %w", err)
		}
	}
	return nil
}

func (f *Folder) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// publish makes a small file appear whole.
func (f *Folder) publish(name string, b []byte) error {
	file, err := f.create()
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	return f.place(file, name, err)
}

// create opens a file under a name that nobody looks at.
func (f *Folder) create() (*os.File, error) {
	file, err := os.CreateTemp(f.path(tmpDir), "part-")
	if err != nil {
		return nil, fmt.Errorf("write backup: %w", err)
	}
	return file, nil
}

// place closes a file and moves it to its name; with an error it is removed.
func (f *Folder) place(file *os.File, name string, err error) error {
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), f.path(name))
	}
	if err == nil {
		err = syncDir(filepath.Dir(f.path(name)))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write backup %s: %w", name, err), ignoreGone(os.Remove(file.Name())))
	}
	return nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncDir makes a rename durable. Windows has no such call and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Copies lists the ids of the copies, oldest first.
func (f *Folder) Copies() ([]string, error) {
	list, err := os.ReadDir(f.path(copiesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	var ids []string
	for _, e := range list {
		if id, ok := strings.CutSuffix(e.Name(), listExt); ok && len(ids) < copiesMax {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Manifest reads that of a copy.
func (f *Folder) Manifest(id string) (*Manifest, error) {
	return readManifest(f.path(copiesDir + "/" + id + listExt))
}

func readManifest(path string) (*Manifest, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > manifestBytesMax {
		err = fmt.Errorf("%w: it has %d bytes, at most %d", ErrDamaged, info.Size(), manifestBytesMax)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return decodeManifest(b)
}

// newest is the newest copy whose manifest can be read; nil where there is none.
// The generation is the highest of all.
func (f *Folder) newest() (m *Manifest, generation uint64, err error) {
	ids, err := f.Copies()
	if err != nil {
		return nil, 0, err
	}
	for _, id := range slices.Backward(ids) {
		generation = max(generation, generationOf(id))
		if m != nil {
			continue
		}
		if x, err := f.Manifest(id); err == nil { // one that cannot be read is kept, for a person to look at
			m = x
		}
	}
	return m, generation, nil
}

// prune removes the oldest copies beyond keep, and files that no copy names. The
// manifest goes first: what is listed is whole.
func (f *Folder) prune(keep int, now time.Time) error {
	ids, err := f.Copies()
	if err != nil {
		return err
	}
	for len(ids) > max(keep, 1) {
		if err := os.Remove(f.path(copiesDir + "/" + ids[0] + listExt)); err != nil {
			return fmt.Errorf("prune backups: %w", err)
		}
		ids = ids[1:]
	}
	named := map[string]bool{}
	for _, id := range ids {
		named[copiesDir+"/"+id+listExt] = true
		m, err := f.Manifest(id)
		if err != nil {
			return fmt.Errorf("prune backups: nothing is removed while a manifest cannot be read: %w", err)
		}
		for _, name := range m.files() {
			named[name] = true
		}
	}
	for _, dir := range []string{copiesDir, logDir, tmpDir} {
		if err := f.pruneDir(dir, named, now); err != nil {
			return err
		}
	}
	return nil
}

func (f *Folder) pruneDir(dir string, named map[string]bool, now time.Time) error {
	list, err := os.ReadDir(f.path(dir))
	if err != nil {
		return fmt.Errorf("prune backups: %w", err)
	}
	for _, e := range list {
		name := dir + "/" + e.Name()
		info, err := e.Info()
		if named[name] || err != nil || now.Sub(info.ModTime()) < orphanAge && dir == tmpDir {
			continue
		}
		if err := ignoreGone(os.Remove(f.path(name))); err != nil {
			return fmt.Errorf("prune backups: %w", err)
		}
	}
	return nil
}
