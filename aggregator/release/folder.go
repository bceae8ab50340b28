package release

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
	"time"

	"tillwire/protocol/release"
)

const offerFile = "offer.json"

// Folder holds what is published: the offer, and each program under its digest.
type Folder string

func (f Folder) path(name string) string { return filepath.Join(string(f), name) }

// ErrNone is told where nothing was ever published.
var ErrNone = errors.New("nothing is released")

// Offer returns what shops are offered.
func (f Folder) Offer() ([]byte, error) {
	b, err := os.ReadFile(f.path(offerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	return b, err
}

// Current reads the published release's manifest. It was verified when it was
// published, and every shop verifies it again.
func (f Folder) Current() (*release.Manifest, error) {
	b, err := f.Offer()
	if err != nil {
		return nil, err
	}
	var o release.Offer
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path(offerFile), err)
	}
	var m release.Manifest
	if err := json.Unmarshal(o.Release.Signed, &m); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path(offerFile), err)
	}
	return &m, nil
}

// Program opens one by its digest.
func (f Folder) Program(sha string) (*os.File, error) {
	if b, err := hex.DecodeString(sha); err != nil || len(b) != sha256.Size {
		return nil, fs.ErrNotExist
	}
	return os.Open(f.path(sha))
}

// Publish takes an offer that the keys signed, and the programs that it names, and
// makes them what shops are offered. Programs come first: no shop is told of one
// that is not there. Where one is missing or another, nothing is published.
func (f Folder) Publish(offer []byte, keys release.Keys, programs []string, now time.Time) (*release.Manifest, error) {
	trust := release.Trust{Keys: keys}
	if was, err := f.Offer(); err == nil { // what is published is what was last seen
		if t, _, err := trust.Follow(was, time.Time{}); err == nil {
			trust = t
		}
	}
	_, m, err := trust.Follow(offer, now)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of releases: %w", err)
	}
	given := map[string]string{}
	for _, p := range programs {
		sum, err := digest(p)
		if err != nil {
			return nil, err
		}
		given[sum] = p
	}
	for _, a := range m.Artifacts {
		if _, err := os.Stat(f.path(a.SHA256)); err == nil {
			continue
		}
		from, ok := given[a.SHA256]
		if !ok {
			return nil, fmt.Errorf("no file was given with the digest of the program for %s/%s, %s", a.OS, a.Arch, a.SHA256)
		}
		if err := f.put(a.SHA256, from); err != nil {
			return nil, err
		}
	}
	if err := f.write(offerFile, func(w io.Writer) error { _, err := w.Write(offer); return err }); err != nil {
		return nil, err
	}
	return m, f.forget(m)
}

// forget deletes programs of earlier releases.
func (f Folder) forget(m *release.Manifest) error {
	files, err := os.ReadDir(string(f))
	if err != nil {
		return fmt.Errorf("list releases: %w", err)
	}
	keep := map[string]bool{offerFile: true}
	for _, a := range m.Artifacts {
		keep[a.SHA256] = true
	}
	for _, file := range files {
		if !keep[file.Name()] {
			if err := os.Remove(f.path(file.Name())); err != nil {
				return fmt.Errorf("delete an earlier program: %w", err)
			}
		}
	}
	return nil
}

func digest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read a program: %w", err)
	}
	defer func() { _ = file.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("read a program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Describe makes the manifest's line for a program on disk.
func Describe(path, goos, arch string) (release.Artifact, error) {
	sum, err := digest(path)
	if err != nil {
		return release.Artifact{}, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return release.Artifact{}, fmt.Errorf("read a program: %w", err)
	}
	return release.Artifact{OS: goos, Arch: arch, Size: st.Size(), SHA256: sum}, nil
}

func (f Folder) put(name, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("read a program: %w", err)
	}
	defer func() { _ = in.Close() }()
	return f.write(name, func(w io.Writer) error { _, err := io.Copy(w, in); return err })
}

// write replaces a file, whole or not at all.
func (f Folder) write(name string, fill func(io.Writer) error) error {
	tmp, err := os.OpenFile(f.path(name+".tmp"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := errors.Join(fill(tmp), tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := os.Rename(tmp.Name(), f.path(name)); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}
