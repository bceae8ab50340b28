//go:build !linux

package yardstick

import "os"

// datasync is a plain sync where the system has no finer call.
func datasync(f *os.File) error { return f.Sync() }
