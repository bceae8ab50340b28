package aggregator

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
)

// Bounds of support bundles, beside those of the wire.
const (
	bundlesDir      = "bundles" // in the data folder
	bundlesOpenMax  = 8         // that are coming in at once; the oldest gives way
	bundlesKeptMax  = 50        // files; the oldest are removed
	bundleAskMax    = 5 * time.Second
	bundleOriginMax = 2 // of those coming in, per agent
)

// bundles gathers the parts of support bundles. What is lost is sent again: the
// command is told again until its result is merged.
type bundles struct {
	dir string

	mu   sync.Mutex // guards all below
	open []*coming  // oldest first
}

type coming struct {
	origin  protocol.Origin
	command string
	sum     string
	parts   [][]byte
	left    int
}

var errBundle = errors.New("part of a bundle is not acceptable")

// add takes a part; it is true when the bundle is whole and on disk.
func (b *bundles) add(o protocol.Origin, p *protocol.BundlePart) (bool, error) {
	most := (protocol.BundleBytesMax-1)/protocol.BundlePartBytesMax + 1
	if protocol.CheckName(p.CommandID) != nil || p.Parts < 1 || p.Parts > most || p.Part < 0 || p.Part >= p.Parts ||
		len(p.Data) == 0 || len(p.Data) > protocol.BundlePartBytesMax || len(p.SHA256) != 2*sha256.Size {
		return false, fmt.Errorf("%w: part %d of %d, %d bytes", errBundle, p.Part, p.Parts, len(p.Data))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.find(o, p)
	if c.parts[p.Part] == nil {
		c.parts[p.Part] = p.Data
		c.left--
	}
	if c.left > 0 {
		return false, nil
	}
	b.open = slices.DeleteFunc(b.open, func(x *coming) bool { return x == c })
	whole := bytes.Join(c.parts, nil)
	if sum := sha256.Sum256(whole); hex.EncodeToString(sum[:]) != c.sum {
		return false, fmt.Errorf("%w: sha256 is %x, said was %s", errBundle, sum, c.sum)
	}
	return true, b.write(o, p.CommandID, whole)
}

// find is what the part belongs to. A bundle with another sum is a new attempt.
func (b *bundles) find(o protocol.Origin, p *protocol.BundlePart) *coming {
	mine := 0
	for _, c := range b.open {
		if c.origin == o && c.command == p.CommandID && c.sum == p.SHA256 && len(c.parts) == p.Parts {
			return c
		}
		if c.origin == o {
			mine++
		}
	}
	drop := func(of func(*coming) bool) {
		if i := slices.IndexFunc(b.open, of); i >= 0 {
			b.open = slices.Delete(b.open, i, i+1)
		}
	}
	if mine >= bundleOriginMax {
		drop(func(c *coming) bool { return c.origin == o })
	}
	if len(b.open) >= bundlesOpenMax {
		drop(func(*coming) bool { return true })
	}
	c := &coming{origin: o, command: p.CommandID, sum: p.SHA256, parts: make([][]byte, p.Parts), left: p.Parts}
	b.open = append(b.open, c)
	return c
}

func (b *bundles) path(o protocol.Origin, command string) string {
	return filepath.Join(b.dir, string(o.Store)+"_"+string(o.Agent)+"_"+command+".tar.gz")
}

func (b *bundles) write(o protocol.Origin, command string, whole []byte) error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("make folder of bundles: %w", err)
	}
	path := b.path(o, command)
	if err := os.WriteFile(path+".new", whole, 0o600); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return b.sweep()
}

// sweep removes the oldest beyond the limit.
func (b *bundles) sweep() error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return fmt.Errorf("list bundles: %w", err)
	}
	infos := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(info.Name(), ".tar.gz") {
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(x, y fs.FileInfo) int {
		return cmp.Or(x.ModTime().Compare(y.ModTime()), cmp.Compare(x.Name(), y.Name()))
	})
	for _, info := range infos[:max(len(infos)-bundlesKeptMax, 0)] {
		if err := os.Remove(filepath.Join(b.dir, info.Name())); err != nil {
			return fmt.Errorf("remove old bundle: %w", err)
		}
	}
	return nil
}

// read gives a bundle back; fs.ErrNotExist where there is none.
func (b *bundles) read(o protocol.Origin, command string) ([]byte, error) {
	if errors.Join(protocol.CheckName(string(o.Store)), protocol.CheckName(string(o.Agent)), protocol.CheckName(command)) != nil {
		return nil, fs.ErrNotExist
	}
	return os.ReadFile(b.path(o, command))
}

// takeBundle takes a part that an agent sent, where a command asked for it. It runs
// on the broker's goroutine of that agent alone; what it waits for is one question
// to the writer.
func (a *Aggregator) takeBundle(o protocol.Origin, payload []byte) error {
	var p protocol.BundlePart
	err := protocol.DecodeControl(payload, &p)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), bundleAskMax)
		defer cancel()
		ok, asked := a.ingest.Wanted(ctx, o, p.CommandID, protocol.CommandBundle)
		switch {
		case asked != nil:
			return asked // no PUBACK: it comes again
		case !ok:
			err = fmt.Errorf("%w: nobody asked for bundle %.64q", errBundle, p.CommandID)
		default:
			var whole bool
			if whole, err = a.bundles.add(o, &p); whole && err == nil {
				a.deps.Log.Info().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Str("command", p.CommandID).Msg("support bundle received")
			}
		}
	}
	if err != nil {
		a.refused(o, protocol.NackMalformed, "bundle: "+err.Error())
	}
	return nil
}
