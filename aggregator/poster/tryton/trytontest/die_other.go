//go:build !linux

package trytontest

import "syscall"

func dieWithUs() *syscall.SysProcAttr { return nil }
