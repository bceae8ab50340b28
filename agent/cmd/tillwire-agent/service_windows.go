package main

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/kardianos/service"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"

	"tillwire/agent"
)

// failureReset is after how many seconds without a failure they count anew.
const failureReset = 86400

func packagedUnit() string { return "" }

func leaveToPackage(*invocation, service.Service, string, string, string) error { return nil }

func beforeInstall() error { return nil }

// afterInstall sets what neither kardianos nor the MSI's tables can: restart also
// when the process ends by itself with an error, not only when it crashes; the
// source in the event log; and who may read the folder.
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
	if err := recoverAlways(s); err != nil {
		return err
	}
	err = eventlog.InstallAsEventCreate(serviceName, eventlog.Info|eventlog.Warning|eventlog.Error)
	if err != nil && !errors.Is(err, windows.ERROR_ALREADY_EXISTS) && !eventSourceExists() {
		return fmt.Errorf("register in the event log: %w", err)
	}
	return protectFolder(agent.Defaults().DataDir)
}

// recoverAlways has the service started again after every failure, for ever, and
// some minutes after the boot, when the disk is at rest.
func recoverAlways(s *mgr.Service) error {
	restart := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: 2 * time.Second}
	if err := s.SetRecoveryActions([]mgr.RecoveryAction{restart, restart, restart}, failureReset); err != nil {
		return fmt.Errorf("set recovery actions: %w", err)
	}
	err := s.SetRecoveryActionsOnNonCrashFailures(true)
	if err := settled(err, "FailureActionsOnNonCrashFailures"); err != nil {
		return fmt.Errorf("set recovery on failure: %w", err)
	}
	delayed := windows.SERVICE_DELAYED_AUTO_START_INFO{IsDelayedAutoStartUp: 1}
	err = windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, (*byte)(unsafe.Pointer(&delayed))) //nolint:gosec // how the call takes its argument
	if err := settled(err, "DelayedAutostart"); err != nil {
		return fmt.Errorf("set delayed start: %w", err)
	}
	return nil
}

// settled is err, but where the service manager does not know the setting (Wine):
// then the setting is put where Windows keeps it.
func settled(err error, name string) error {
	if errors.Is(err, windows.ERROR_INVALID_LEVEL) {
		return setServiceValue(name, 1)
	}
	return err
}

func setServiceValue(name string, value uint32) error {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Services\`+serviceName, registry.SET_VALUE)
	if err != nil {
		return err
	}
	return errors.Join(k.SetDWordValue(name, value), k.Close())
}

// protectFolder keeps secret and journal from the other users of a till: what
// stands in ProgramData is for everybody to read unless told otherwise.
func protectFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	sd, err := windows.SecurityDescriptorFromString(folderRights())
	if err != nil {
		return fmt.Errorf("protect %s: %w", dir, err)
	}
	list, _, err := sd.DACL()
	if err != nil {
		return fmt.Errorf("protect %s: %w", dir, err)
	}
	const what = windows.DACL_SECURITY_INFORMATION | windows.PROTECTED_DACL_SECURITY_INFORMATION
	if err := windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, what, nil, nil, list, nil); err != nil {
		return fmt.Errorf("protect %s: %w; it takes an administrator", dir, err)
	}
	return nil
}
