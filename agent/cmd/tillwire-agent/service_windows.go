package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"tillwire/agent"
)

// afterInstall sets what kardianos cannot: restart also when the process ends
// by itself with an error, not only when it crashes; and who may read the folder.
func afterInstall() error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("reach the service manager: %w", err)
	}
	defer func() { _ = m.Disconnect() }()
	s, err := m.OpenService(serviceName)
	if err != nil {
		return fmt.Errorf("open service: %w", err)
	}
	defer func() { _ = s.Close() }()
	restart := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: 2 * time.Second}
	if err := s.SetRecoveryActions([]mgr.RecoveryAction{restart, restart, restart}, 86400); err != nil {
		return fmt.Errorf("set recovery actions: %w", err)
	}
	if err := s.SetRecoveryActionsOnNonCrashFailures(true); err != nil {
		return fmt.Errorf("set recovery on failure: %w", err)
	}
	return protectFolder(agent.Defaults().DataDir)
}

// protectFolder keeps secret and journal from the other users of a till: what
// stands in ProgramData is for everybody to read unless told otherwise.
func protectFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	const system, administrators = "*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F"
	out, err := exec.Command("icacls", dir, "/inheritance:r", "/grant:r", system, administrators, `NT SERVICE\`+serviceName+`:(OI)(CI)M`).CombinedOutput()
	if err != nil {
		return fmt.Errorf("protect %s: icacls: %w: %s", dir, err, out)
	}
	return nil
}

// underManager tells whether the service manager started this process.
func underManager() bool {
	yes, err := svc.IsWindowsService()
	return err == nil && yes
}
