//go:build !windows

package main

func afterInstall() error { return nil }

// underManager: on other systems --service alone says so.
func underManager() bool { return true }
