package main

import (
	"archive/tar"
	"archive/zip"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is one file of an archive.
type entry struct {
	name string // with slashes, below the archive's own folder
	from string
	mode os.FileMode
}

// archives make one file a target with everything that runs there.
func (d *dist) archives(_ context.Context) error {
	for _, t := range d.targets {
		entries, err := d.contents(t)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("tillwire-%s-%s-%s", d.numbers, t.os, t.arch)
		level := gzip.BestCompression
		if d.draft {
			level = gzip.BestSpeed
		}
		pack, ending := tarWriter(level), ".tar.gz"
		if t.os == "windows" {
			pack, ending = writeZip, ".zip"
		}
		err = written(filepath.Join(d.out, name+ending), func(w io.Writer) error { return pack(w, name, entries, d.at) })
		if err != nil {
			return err
		}
	}
	return nil
}

// contents are the same everywhere, but for what a platform has no use for.
func (d *dist) contents(t target) ([]entry, error) {
	var all []entry
	for _, p := range programs {
		all = append(all, entry{t.program(p), filepath.Join(d.dir(t), t.program(p)), 0o755})
	}
	for _, f := range []string{"README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md"} {
		all = append(all, entry{f, filepath.Join(d.root, f), 0o644})
	}
	trees := map[string]string{"completions": filepath.Join(d.stage, "completions"), "man": filepath.Join(d.stage, "man")}
	switch t.os {
	case "windows":
		trees["windows"] = filepath.Join(d.root, "installers", "windows")
	case "linux":
		trees["systemd"] = filepath.Join(d.stage, "units")
	}
	for to, from := range trees {
		err := filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) == ".wxs" {
				return err
			}
			rel, err := filepath.Rel(from, path)
			all = append(all, entry{to + "/" + filepath.ToSlash(rel), path, 0o644})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return all, nil
}

func tarWriter(level int) func(io.Writer, string, []entry, time.Time) error {
	return func(w io.Writer, top string, entries []entry, at time.Time) error {
		gz, err := gzip.NewWriterLevel(w, level)
		if err != nil {
			return err
		}
		return errors.Join(writeTar(gz, top, entries, at), gz.Close())
	}
}

func writeTar(gz io.Writer, top string, entries []entry, at time.Time) error {
	t := tar.NewWriter(gz)
	for _, e := range entries {
		b, err := os.ReadFile(e.from)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: top + "/" + e.name, Mode: int64(e.mode), Size: int64(len(b)), ModTime: at, Format: tar.FormatPAX, Uname: "root", Gname: "root"}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(b); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeZip(w io.Writer, top string, entries []entry, at time.Time) error {
	z := zip.NewWriter(w)
	for _, e := range entries {
		b, err := os.ReadFile(e.from)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: top + "/" + e.name, Method: zip.Deflate, Modified: at}
		h.SetMode(e.mode)
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return z.Close()
}

// written gives path its name when all of it is there.
func written(path string, fill func(io.Writer) error) error {
	f, err := os.Create(path + ".partial")
	if err != nil {
		return err
	}
	if err := errors.Join(fill(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

// sums are what `sha256sum -c SHA256SUMS` reads.
func (d *dist) sums(ctx context.Context) error {
	entries, err := os.ReadDir(d.out)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(d.out, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(content), e.Name())
	}
	path := filepath.Join(d.out, "SHA256SUMS")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil { //nolint:gosec // a release is for everybody
		return err
	}
	return d.signed(ctx, "sums", path)
}
