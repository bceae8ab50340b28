package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// Results of a check's item.
const (
	CheckOK      = "ok"
	CheckWarning = "warning" // a person should look; the agent works
	CheckFailed  = "failed"  // a person must act
)

const (
	diskWarnPercent = 70 // of the volume in use
	diskFailPercent = 95 // the agent takes no sales from here on
)

// CheckItem is one thing looked at.
type CheckItem struct {
	What   string `json:"what"`
	Result string `json:"result"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"` // where the result is not ok
}

// CheckReport is what a check found.
type CheckReport struct {
	DataDir string      `json:"data_dir"`
	Running bool        `json:"running"` // an agent works on the journal
	Items   []CheckItem `json:"items"`
	Records uint64      `json:"records"` // verified
	Tail    uint64      `json:"tail_seq"`
	Head    uint64      `json:"head_seq"`
	Chain   string      `json:"chain"` // over all records up to the head
	Damaged bool        `json:"damaged"`
}

// Failed tells whether a person must act.
func (r *CheckReport) Failed() bool {
	for _, i := range r.Items {
		if i.Result == CheckFailed {
			return true
		}
	}
	return false
}

func (r *CheckReport) add(what, result, remedy, detail string, args ...any) {
	r.Items = append(r.Items, newItem(what, result, remedy, detail, args...))
}

// Check looks at a data folder: the volume, every page, checksum and chain of the
// journal, its index, and what stands beside it. It changes nothing and takes no
// lock, so that it may run beside a working agent. An error means that there is
// no journal to look at, or that it may not be read.
func Check(ctx context.Context, c Config) (*CheckReport, error) {
	path := filepath.Join(c.DataDir, JournalFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("find journal: %w; call this as root or as the agent's user", err)
	} else if err != nil {
		return nil, fmt.Errorf("find journal: %w; name its folder with --data-dir", err)
	}
	r := &CheckReport{DataDir: c.DataDir}
	r.volume(c.DataDir)
	found, err := journal.Inspect(ctx, path, 0, nil)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; call this as root or as the agent's user", err)
	}
	if err != nil {
		return nil, err
	}
	r.Running, r.Damaged = found.InUse, found.Damage != nil
	r.Records, r.Tail, r.Head, r.Chain = found.Records, found.Tail, found.Head, found.ChainHead.String()
	r.journal(found)
	r.beside(path)
	return r, nil
}

func (r *CheckReport) volume(dir string) {
	free, total, err := journal.DiskFree(dir)
	if err != nil || total == 0 {
		r.add("disk", CheckWarning, "look whether the disk is still there", "its free space is unknown: %v", err)
		return
	}
	r.Items = append(r.Items, volumeItem(free, total))
}

func volumeItem(free, total uint64) CheckItem {
	used := int((total - min(free, total)) * 100 / total)
	result := CheckOK
	switch {
	case used >= diskFailPercent:
		result = CheckFailed
	case used >= diskWarnPercent:
		result = CheckWarning
	}
	return newItem("disk", result, fmt.Sprintf("make room on the disk: at %d %% the agent stops taking sales", diskFailPercent),
		"%d %% used, %d MiB free", used, free>>20)
}

func (r *CheckReport) journal(f *journal.Inspection) {
	switch {
	case f.Damage != nil && f.InUse:
		r.add("journal", CheckFailed, "restart the agent: it sets the damaged file aside, keeps every readable event, and tells the aggregator what is missing; then replace the disk",
			"%s; %d events can be read", f.Damage, f.Readable)
	case f.Damage != nil:
		r.add("journal", CheckFailed, "start the agent, or call `tillwire-agent check --repair`: the damaged file is set aside, every readable event is kept, and the aggregator is told what is missing; then replace the disk",
			"%s; %d events can be read", f.Damage, f.Readable)
	default:
		r.add("journal", CheckOK, "", "%d events verified, seq %d to %d; %d MiB; %d ids in the index", f.Records, f.Tail, f.Head, f.FileBytes>>20, f.IndexedIDs)
		r.add("chain", CheckOK, "", "%s over all events up to seq %d", f.ChainHead, f.Head)
	}
	if f.Lost > 0 {
		r.add("lost events", CheckWarning, "compare the shop's stock by a recount; the aggregator lists them among its exceptions", "%d events were lost to a damage before this check", f.Lost)
	}
	switch waiting := f.Head - min(f.Merged, f.Head); {
	case f.Damage != nil:
	case f.Epoch == 0:
		r.add("aggregator", CheckWarning, "enrol this agent with `tillwire-agent enroll`, or look at `tillwire-agent status`", "it has never met this journal; %d events wait", waiting)
	default:
		r.add("aggregator", CheckOK, "", "epoch %d, %d merged, %d in its backups, %d waiting", f.Epoch, f.Merged, f.Safe, waiting)
	}
}

// beside looks at the files that stand next to the journal.
func (r *CheckReport) beside(path string) {
	names, _ := filepath.Glob(path + "*") // the pattern is sound
	aside, bytes := 0, int64(0)
	for _, name := range names {
		info, err := os.Lstat(name)
		if err != nil || name == path {
			continue
		}
		switch kind := strings.TrimPrefix(name, path); {
		case strings.HasPrefix(kind, ".corrupt-"):
			aside++
			bytes += info.Size()
		case kind == ".opening" && !r.Running:
			r.add("last start", CheckWarning, "start the agent: it checks the journal in a process of its own first", "the agent ended while it opened the journal")
		}
	}
	if aside > 0 {
		r.add("set aside", CheckWarning, "have the disk looked at; keep them for support, and delete them by hand once they are understood",
			"%d damaged journals, %d MiB, named %s.corrupt-…", aside, bytes>>20, filepath.Base(path))
	}
}

// view is a record for people: the document, or why there is none.
func view(rec []byte) (document map[string]any, problem string) {
	var ev protocol.Event
	if _, err := protocol.DecodeRecord(rec, &ev); err != nil {
		return nil, err.Error()
	}
	return protocol.ViewDocument(&ev), ""
}
