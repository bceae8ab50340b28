package trytontest

import "syscall"

// dieWithUs has the kernel end the server when the test's process is killed.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
