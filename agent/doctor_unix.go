//go:build unix

package agent

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// isRefused: the system's own word is known to errors.Is.
func isRefused(error) bool { return false }

// permissions: the journal is the service's alone, the configuration root's.
func (r *DoctorReport) permissions(c *Config, h DoctorHints) {
	if info, err := os.Stat(h.ConfigPath); err == nil && info.Mode().Perm()&0o077 != 0 {
		r.Add("configuration", CheckFailed, "chmod 600 "+h.ConfigPath, "%s is %04o: others can read the agent's secret", h.ConfigPath, info.Mode().Perm())
	} else if err == nil {
		r.Add("configuration", CheckOK, "", "%s is its owner's alone", h.ConfigPath)
	}
	info, err := os.Stat(c.DataDir)
	if errors.Is(err, os.ErrNotExist) {
		r.Add("permissions", CheckOK, "", "%s is made at the first start", c.DataDir)
		return
	}
	uid, _, ownerErr := owner(c.DataDir)
	if err = errors.Join(err, ownerErr); err != nil {
		r.Add("permissions", CheckFailed, "call this as root", "%v", err)
		return
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	switch {
	case info.Mode().Perm()&0o077 != 0:
		r.Add("permissions", CheckFailed, "chmod 700 "+c.DataDir, "%s is %04o: others can read the journal", c.DataDir, info.Mode().Perm())
	case h.User != "" && name != h.User:
		r.Add("permissions", CheckWarning, "chown -R "+h.User+" "+c.DataDir+", unless another user runs the agent on purpose", "%s belongs to %s", c.DataDir, name)
	default:
		r.Add("permissions", CheckOK, "", "%s is %s's alone", c.DataDir, name)
	}
}

// scannerNames are the programs of virus scanners that watch files as they are
// written; comm is cut at 15 characters.
var scannerNames = []string{"clamonacc", "wdavdaemon", "falcon-sensor", "falcond", "sav-protect", "savscand", "ds_agent", "esets_daemon", "oaeventd", "sentinelone-age", "cbagentd", "xagt", "mfetpd", "isectpd", "kesl"}

func (r *DoctorReport) scanners(c *Config) {
	found := map[string]bool{}
	names, _ := filepath.Glob("/proc/[0-9]*/comm") // none but on Linux
	for _, name := range names {
		b, err := os.ReadFile(name)
		if comm := strings.TrimSpace(string(b)); err == nil && slices.Contains(scannerNames, comm) {
			found[comm] = true
		}
	}
	if len(found) == 0 {
		r.Add("virus scanner", CheckOK, "", "none seen that watches writes")
		return
	}
	var all []string
	for name := range found {
		all = append(all, name)
	}
	slices.Sort(all)
	r.Add("virus scanner", CheckWarning, "exclude "+c.DataDir+" from its scans: it slows each sale, and may lock or quarantine the journal", "%s runs here", strings.Join(all, ", "))
}
