package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Files in the data folder.
const (
	UsersFile    = "accounts.json"
	SessionsFile = "sessions.json"
	lockFile     = "accounts.lock"
)

// change reads the accounts, changes them and replaces the file, while no other
// program does. At a crash the old file or the new one stands, never half of one.
func (b *Book) change(do func(f *userFile, now time.Time) error) error {
	unlock, err := b.lock()
	if err != nil {
		return err
	}
	defer unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	var f userFile
	if err := readJSON(b.path(UsersFile), &f); err != nil {
		return err
	}
	if err := do(&f, b.now().UTC()); err != nil {
		return err
	}
	if err := writeJSON(b.path(UsersFile), &f); err != nil {
		return err
	}
	b.looked = time.Time{}
	b.refresh()
	if b.told != nil {
		b.tell() // what another program changed at this very moment is told by nobody
	}
	return nil
}

// lock keeps other programs out. One that died leaves its file, which counts for
// half a minute.
func (b *Book) lock() (unlock func(), err error) {
	path := b.path(lockFile)
	for end := time.Now().Add(lockWait); ; {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			return func() { _ = f.Close(); _ = os.Remove(path) }, nil
		}
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > lockStale {
			_ = os.Remove(path)
			continue
		}
		if !errors.Is(err, os.ErrExist) && !errors.Is(err, os.ErrPermission) { // Windows says so while the file is being deleted
			return nil, fmt.Errorf("lock accounts: %w", err)
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("lock accounts: %s is held by another program; try again, or delete it if none runs", path)
		}
		wait := time.NewTimer(20 * time.Millisecond)
		<-wait.C
	}
}

// refresh looks whether another program has changed the accounts, once a second.
// What cannot be read leaves what is known: nobody is let in by a broken file, and
// nobody is locked out by a disk that is slow to answer.
func (b *Book) refresh() {
	now := b.now()
	if since := now.Sub(b.looked); !b.looked.IsZero() && since >= 0 && since < lookEvery {
		return
	}
	b.looked = now
	info, err := os.Stat(b.path(UsersFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
		b.users, b.seen, b.size = userFile{}, time.Time{}, 0
		return
	case err != nil || info.ModTime().Equal(b.seen) && info.Size() == b.size:
		return
	}
	var f userFile
	if readJSON(b.path(UsersFile), &f) == nil {
		b.users, b.seen, b.size = f, info.ModTime(), info.Size()
	}
}

func (b *Book) path(name string) string { return filepath.Join(b.dir, name) }

// readJSON leaves v as it is where there is no file.
func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, fileBytesMax))
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w; restore it from a backup, or delete it and add the accounts anew", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
