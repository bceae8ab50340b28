package update

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"tillwire/protocol/release"
)

// folder is data_dir/update.
type folder string

func in(dataDir string) folder { return folder(filepath.Join(dataDir, "update")) }

func (f folder) path(names ...string) string {
	return filepath.Join(append([]string{string(f)}, names...)...)
}

func (f folder) program(slot string) string {
	name := release.Product
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return f.path(slot, name)
}

// load reads the state; there is none before the first update. One that cannot be
// read is an error: the installed program runs then, and nothing is fetched until
// a person looked, for with the state went what was seen and refused.
func (f folder) load(keys release.Keys) (*state, error) {
	s := &state{Trust: release.Trust{Keys: keys}}
	file, err := os.Open(f.path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is known of updates: %w", err)
	}
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(io.LimitReader(file, stateBytesMax))
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read what is known of updates: %w; delete %s to begin anew", err, file.Name())
	}
	if s.Trust.Keys.Version < keys.Version { // a person gave newer keys than ever came with an offer
		s.Trust = release.Trust{Keys: keys}
	}
	return s, nil
}

// save replaces the state. Killed before the rename: the state before. After it:
// this one. There is no third.
func (f folder) save(s *state) error {
	b, err := json.MarshalIndent(s, "", " ")
	if err == nil {
		err = f.write("state.json", b)
	}
	if err != nil {
		return fmt.Errorf("keep what is known of updates: %w", err)
	}
	return nil
}

func (f folder) write(name string, b []byte) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return err
	}
	tmp, err := os.OpenFile(f.path(name+".tmp"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), f.path(name)); err != nil {
		return err
	}
	return syncFolder(string(f))
}

// verify reads a slot's program whole and compares it with what was fetched: a
// file that a dying disk changed is not started.
func (f folder) verify(name string, want slot) error {
	file, err := os.Open(f.program(name))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(file, release.ArtifactBytesMax+1)); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("%s has the digest %s, must have %s", file.Name(), got, want.SHA256)
	}
	return nil
}

// syncFolder makes a rename last. Windows writes folders by itself.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
