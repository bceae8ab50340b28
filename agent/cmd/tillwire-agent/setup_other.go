//go:build !windows

package main

func platformHidden() []command { return nil }
