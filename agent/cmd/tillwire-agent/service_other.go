//go:build !windows && !linux

package main

import "github.com/kardianos/service"

func packagedUnit() string { return "" }

func leaveToPackage(*invocation, service.Service, string, string, string) error { return nil }

func beforeInstall() error { return nil }
