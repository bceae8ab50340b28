package agent

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// isRefused knows the word that Windows has for it.
func isRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

// openTo are accounts that stand for anybody: Everyone, Users, Authenticated Users,
// Guests, Interactive.
var openTo = []string{";;;WD)", ";;;BU)", ";;;AU)", ";;;BG)", ";;;IU)"}

func (r *DoctorReport) permissions(c *Config, _ DoctorHints) {
	if _, err := os.Stat(c.DataDir); errors.Is(err, os.ErrNotExist) {
		r.Add("permissions", CheckWarning, "install the service: that makes and protects the folder", "%s does not exist", c.DataDir)
		return
	}
	sd, err := windows.GetNamedSecurityInfo(c.DataDir, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		r.Add("permissions", CheckFailed, "call this as an administrator", "%s: %v", c.DataDir, err)
		return
	}
	rights := sd.String()
	for _, who := range openTo {
		if strings.Contains(rights, who) {
			r.Add("permissions", CheckFailed, "`tillwire-agent install` again, or repair the MSI, as an administrator", "every user of this machine may use %s: %s", c.DataDir, rights)
			return
		}
	}
	r.Add("permissions", CheckOK, "", "%s is for the system, administrators and the service: %s", c.DataDir, rights)
}

// scanners looks for the exclusion where Defender keeps it; of other scanners
// nothing is known.
func (r *DoctorReport) scanners(c *Config) {
	const defender = `SOFTWARE\Microsoft\Windows Defender`
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, defender, registry.QUERY_VALUE)
	if err != nil {
		r.Add("virus scanner", CheckWarning, "exclude "+c.DataDir+" from the scans of whatever scanner runs here: it slows each sale, and may lock or quarantine the journal", "Defender is not here")
		return
	}
	_ = k.Close()
	for _, at := range []string{defender + `\Exclusions\Paths`, `SOFTWARE\Policies\Microsoft\Windows Defender\Exclusions\Paths`} {
		k, err := registry.OpenKey(registry.LOCAL_MACHINE, at, registry.QUERY_VALUE)
		if err != nil {
			continue
		}
		names, _ := k.ReadValueNames(-1)
		_ = k.Close()
		for _, name := range names {
			if covers(name, c.DataDir) {
				r.Add("virus scanner", CheckOK, "", "Defender leaves %s out", name)
				return
			}
		}
	}
	r.Add("virus scanner", CheckWarning, "as an administrator: powershell Add-MpPreference -ExclusionPath '"+c.DataDir+"'", "Defender reads along in %s, as far as may be seen: it slows each sale, and may lock the journal", c.DataDir)
}

func covers(folder, dir string) bool {
	folder, dir = strings.ToLower(strings.TrimRight(folder, `\`)), strings.ToLower(dir)
	return dir == folder || strings.HasPrefix(dir, folder+`\`)
}
