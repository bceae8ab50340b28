package main

import (
	"context"
	"os"
	"path/filepath"
)

// dir is where the programs of a target lie.
func (d *dist) dir(t target) string { return filepath.Join(d.stage, t.os+"-"+t.arch) }

// build makes the programs: static, without paths, times and build ids, which
// would differ by machine.
func (d *dist) build(ctx context.Context) error {
	for _, t := range d.targets {
		if err := d.compile(ctx, t, d.dir(t)); err != nil {
			return err
		}
		if t.os != "windows" {
			continue
		}
		for _, p := range programs {
			if err := d.signed(ctx, "exe", filepath.Join(d.dir(t), t.program(p))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *dist) compile(ctx context.Context, t target, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil { //nolint:gosec // a release is for everybody
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid= -X main.version=" + d.version, "-o", to + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "./"+p+"/cmd/tillwire-"+p)
	}
	env := []string{"CGO_ENABLED=0", "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off"}
	if t != (target{}) {
		env = append(env, "GOOS="+t.os, "GOARCH="+t.arch)
	}
	return d.call(ctx, env, "go", args...)
}

// signed has the caller's program sign a file in place; without one it stays as
// it is, and reproducible.
func (d *dist) signed(ctx context.Context, kind, path string) error {
	if d.sign == "" {
		return nil
	}
	return d.call(ctx, nil, d.sign, kind, path)
}
