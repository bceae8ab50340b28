package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/store/journal"
)

const (
	proofWait     = time.Minute // bounds the check of a suspect journal in a child process
	proofWordsMax = 600         // bytes of what that process says
)

func openOffline(c Config) (*journal.Journal, error) {
	path := filepath.Join(c.DataDir, JournalFile)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("find journal: %w; name its folder with --data-dir", err)
	}
	j, err := journal.Open(journal.Options{Path: path, Log: zerolog.Nop(), BallastBytes: -1, Retention: -1, VerifyAll: true})
	if errors.Is(err, journal.ErrLocked) {
		return nil, fmt.Errorf("%w: the agent is running on it; stop it first", err)
	}
	if err != nil {
		return nil, err
	}
	if err := keepOwner(c.DataDir); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// keepOwner gives what root has just made in the folder to the folder's owner:
// a journal salvaged by an administrator must open for the service's user.
func keepOwner(dir string) error {
	if os.Geteuid() != 0 { // never so on Windows, where the folder's list is inherited
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read data folder: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), JournalFile) {
			continue
		}
		if err := giveToOwner(dir, filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// giveToOwner gives files to the owner of a folder, where root made them.
func giveToOwner(dir string, paths ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := owner(dir)
	if err != nil {
		return fmt.Errorf("find the folder's owner: %w", err)
	}
	for _, path := range paths {
		if err := os.Lchown(path, uid, gid); err != nil {
			return fmt.Errorf("give %s to the folder's owner: %w", filepath.Base(path), err)
		}
	}
	return nil
}

// Repair sets a stopped agent's damaged journal aside and salvages it, as the
// agent's start does; nothing is deleted. It says what was kept and lost; "" means
// that nothing was damaged.
func Repair(c Config) (string, error) {
	j, err := openOffline(c)
	if err != nil {
		return "", err
	}
	what, salvaged := strings.CutPrefix(j.State().BootReason, "salvaged")
	if err := j.Close(); err != nil {
		return "", err
	}
	if !salvaged {
		return "", nil
	}
	return strings.TrimLeft(what, ": "), nil
}

// ProveInChild checks suspect journals in a process of its own, by the program
// and arguments given; the path is appended. A process that dies, or says no,
// means damage.
func ProveInChild(program string, args ...string) func(path string) error {
	return func(path string) error {
		ctx, cancel := context.WithTimeout(context.Background(), proofWait)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, append(slices.Clone(args), path)...) //nolint:gosec // this very program
		out, err := cmd.CombinedOutput()
		var ended *exec.ExitError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil || !errors.As(err, &ended):
			return fmt.Errorf("check journal in a child process: %w", errors.Join(err, ctx.Err()))
		}
		words := strings.TrimSpace(string(out[:min(len(out), proofWordsMax)]))
		return &journal.CorruptError{Path: path, What: "file, checked in a child process", Got: cmp.Or(words, err.Error()), Want: "a sound one"}
	}
}

// CheckFile is what that process does.
func CheckFile(path string) error { return journal.CheckFile(path) }
