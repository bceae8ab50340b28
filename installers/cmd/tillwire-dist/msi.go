package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// sequence keeps the service in upgrades, which change it in place: one that is
// deleted while somebody looks at it would be gone only after a restart. It puts actions
// where wixl does not, and names the properties that a silent installation may set.
var sequence = []string{
	"UPDATE `InstallExecuteSequence` SET `Sequence` = 1401 WHERE `Action` = 'RemoveExistingProducts'", // before ours is installed: files of one name
	"UPDATE `InstallExecuteSequence` SET `Condition` = 'VersionNT AND NOT UPGRADINGPRODUCTCODE' WHERE `Action` = 'DeleteServices'",
	"UPDATE `InstallExecuteSequence` SET `Sequence` = 2001 WHERE `Action` = 'Purge'", // the service has gone, the program not yet
	"UPDATE `Property` SET `Value` = 'AGENT;AGGREGATOR;OTHERVERSION;PURGE;STORE;TOKEN;TOKENFILE' WHERE `Property` = 'SecureCustomProperties'",
}

// msi makes the agent's installer for Windows on amd64; on arm64 Windows runs it too.
func (d *dist) msi(ctx context.Context) error {
	t := target{"windows", "amd64"}
	if !slices.Contains(d.targets, t) {
		return nil
	}
	for _, tool := range []string{"wixl", "msibuild", "msiinfo"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed (Debian packages wixl, msitools): %w", tool, err)
		}
	}
	work, sum, err := d.layMSI(t)
	if err != nil {
		return err
	}
	path := filepath.Join(d.out, fmt.Sprintf("tillwire-agent-%s-x64.msi", d.numbers))
	product := guid("product " + d.numbers)
	pack := guid("package " + d.numbers + sum)
	args := []string{"-a", "x64", "-o", path, "-D", "VERSION=" + d.numbers, "-D", "PRODUCT=" + product, "-D", "PACKAGE=" + pack, "tillwire-agent.wxs"}
	compile := exec.CommandContext(ctx, "wixl", args...) //nolint:gosec // words of ours
	compile.Dir = work
	if out, err := compile.CombinedOutput(); err != nil || len(out) > 0 { // it warns of attributes it does not know, and goes on
		return fmt.Errorf("wixl: %w: %s", err, out)
	}
	if err := d.settleMSI(ctx, path, work, pack); err != nil {
		return err
	}
	return d.signed(ctx, "msi", path)
}

// layMSI puts everything into one folder, with the release's time: the cabinet
// keeps it. sum tells one content from another.
func (d *dist) layMSI(t target) (work, sum string, err error) {
	work = filepath.Join(d.stage, "msi")
	if err := os.MkdirAll(work, 0o755); err != nil { //nolint:gosec // a release is for everybody
		return "", "", err
	}
	h := sha256.New()
	windows := filepath.Join(d.root, "installers", "windows")
	for _, f := range []struct{ from, to string }{
		{filepath.Join(windows, "tillwire-agent.wxs"), "tillwire-agent.wxs"},
		{filepath.Join(d.dir(t), "tillwire-agent.exe"), "tillwire-agent.exe"},
		{filepath.Join(d.root, "LICENSE"), "LICENSE.txt"},
		{filepath.Join(windows, "EVENTS.md"), "EVENTS.md"},
		{filepath.Join(d.stage, "completions", "tillwire-agent.ps1"), "completion.ps1"},
	} {
		b, err := os.ReadFile(f.from)
		if err != nil {
			return "", "", err
		}
		to := filepath.Join(work, f.to)
		if err := os.WriteFile(to, b, 0o644); err != nil { //nolint:gosec // a release is for everybody
			return "", "", err
		}
		if err := os.Chtimes(to, d.at, d.at); err != nil {
			return "", "", err
		}
		_, _ = h.Write(b)
	}
	return work, fmt.Sprintf("%x", h.Sum(nil)), nil
}

var (
	msiTime = regexp.MustCompile(`(?m)^(12|13)\t.*$`)
	msiCode = regexp.MustCompile(`(?m)^9\t.*$`)
)

// settleMSI corrects what wixl cannot be told: order, and the time and the code of
// the package, which it takes from the clock and from chance.
func (d *dist) settleMSI(ctx context.Context, path, work, code string) error {
	out, err := exec.CommandContext(ctx, "msiinfo", "export", path, "_SummaryInformation").Output() //nolint:gosec // our own file
	if err != nil {
		return fmt.Errorf("msiinfo: %w", err)
	}
	text := msiTime.ReplaceAllString(strings.ReplaceAll(string(out), "\r\n", "\n"), "${1}\t"+d.at.Format("2006/01/02 15:04:05"))
	text = strings.ReplaceAll(msiCode.ReplaceAllString(text, "9\t{"+code+"}"), "\n", "\r\n")
	summary := filepath.Join(work, "summary.idt")
	if err := os.WriteFile(summary, []byte(text), 0o600); err != nil {
		return err
	}
	if err := d.call(ctx, nil, "msibuild", path, "-i", summary); err != nil {
		return err
	}
	for _, q := range sequence {
		if err := d.call(ctx, nil, "msibuild", path, "-q", q); err != nil {
			return err
		}
	}
	return nil
}

// guid is made of a name, so that the same release has the same.
func guid(name string) string {
	s := sha256.Sum256([]byte("tillwire-agent " + name))
	s[6], s[8] = s[6]&0x0f|0x80, s[8]&0x3f|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:16]))
}
