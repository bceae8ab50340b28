//go:build !windows

package rival

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// PostgreSQL refuses to run as root; its package makes a user for it.
func postgresUser() (uid, gid int, ok bool, err error) {
	if os.Geteuid() != 0 {
		return 0, 0, false, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, false, fmt.Errorf("postgres will not run as root: %w", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, false, fmt.Errorf("read the user of postgres: %w", err)
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return 0, 0, false, fmt.Errorf("read the user of postgres: %w", err)
	}
	return uid, gid, true, nil
}

// givePostgres hands own over to its user, and lets that pass through the folders
// above, where they are closed.
func givePostgres(above, own string) error {
	uid, gid, ok, err := postgresUser()
	if err != nil || !ok {
		return err
	}
	for dir := above; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("open the way for postgres: %w", err)
		}
		if st.Mode().Perm()&0o001 != 0 {
			continue
		}
		if err := os.Chmod(dir, st.Mode().Perm()|0o001); err != nil { //nolint:gosec // passing through, no reading
			return fmt.Errorf("open the way for postgres: %w", err)
		}
	}
	if err := os.Chown(own, uid, gid); err != nil {
		return fmt.Errorf("hand folder to postgres: %w", err)
	}
	return nil
}

// asPostgres makes cmd run as that user. Errors were told by givePostgres.
func asPostgres(cmd *exec.Cmd) {
	if uid, gid, ok, err := postgresUser(); err == nil && ok {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
}
