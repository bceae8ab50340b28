package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// packages make deb and rpm from installers/linux/NAME/nfpm.yaml.
func (d *dist) packages(ctx context.Context) error {
	for _, t := range d.targets {
		if t.os != "linux" {
			continue
		}
		for _, name := range []string{"agent", "aggregator"} {
			if err := d.pack(ctx, t, name); err != nil {
				return fmt.Errorf("%s %s: %w", name, t, err)
			}
		}
	}
	return nil
}

func (d *dist) pack(ctx context.Context, t target, name string) error {
	here := filepath.Join(d.root, "installers", "linux", name)
	text, err := os.ReadFile(filepath.Join(here, "nfpm.yaml"))
	if err != nil {
		return err
	}
	stage, err := d.linked(t)
	if err != nil {
		return err
	}
	deb, rpm := "xz", "xz"
	if d.draft {
		deb, rpm = "none", "gzip:1"
	}
	missing := ""
	filled := os.Expand(string(text), func(key string) string {
		v, ok := map[string]string{
			"ARCH": t.arch, "VERSION": d.numbers, "MTIME": d.at.Format(time.RFC3339), "HERE": here, "STAGE": stage, "ROOT": d.root,
			"DEB": deb, "RPM": rpm,
		}[key]
		if !ok {
			missing = key
		}
		return v
	})
	if missing != "" {
		return fmt.Errorf("nfpm.yaml asks for ${%s}", missing)
	}
	config := filepath.Join(stage, name+".yaml")
	if err := os.WriteFile(config, []byte(filled), 0o600); err != nil { //nolint:gosec // a folder of our own
		return err
	}
	env := []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", d.at.Unix())}
	for _, packager := range []string{"deb", "rpm"} {
		if err := d.call(ctx, env, d.nfpm, "package", "--config", config, "--packager", packager, "--target", d.out); err != nil {
			return err
		}
	}
	return nil
}

// linked puts beside the programs of a target what is the same on all.
func (d *dist) linked(t target) (string, error) {
	for _, shared := range []string{"man", "completions", "units"} {
		link := filepath.Join(d.dir(t), shared)
		if _, err := os.Lstat(link); err == nil {
			continue
		}
		if err := os.Symlink(filepath.Join(d.stage, shared), link); err != nil {
			return "", err
		}
	}
	return d.dir(t), nil
}
