package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// The list of parts is CycloneDX 1.6, read from what the compiler wrote into each
// program: what is not linked is not listed.
type (
	bom struct {
		Schema       string       `json:"$schema"`
		Format       string       `json:"bomFormat"`
		SpecVersion  string       `json:"specVersion"`
		SerialNumber string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     bomMeta      `json:"metadata"`
		Components   []bomPart    `json:"components"`
		Dependencies []bomDepends `json:"dependencies"`
	}
	bomMeta struct {
		Timestamp string  `json:"timestamp"`
		Component bomPart `json:"component"`
	}
	bomPart struct {
		Type       string    `json:"type"`
		Ref        string    `json:"bom-ref"`
		Name       string    `json:"name"`
		Version    string    `json:"version,omitempty"`
		PURL       string    `json:"purl,omitempty"`
		Hashes     []bomHash `json:"hashes,omitempty"`
		Properties []bomProp `json:"properties,omitempty"`
	}
	bomHash struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	}
	bomProp struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	bomDepends struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	}
)

// sbom writes one list for the release: each program of each target, and on which
// modules it depends.
func (d *dist) sbom(_ context.Context) error {
	top := bomPart{Type: "application", Ref: "tillwire@" + d.version, Name: "tillwire", Version: d.version}
	b := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: bomMeta{d.at.Format(time.RFC3339), top},
	}
	parts := map[string]bomPart{}
	var built []string
	for _, t := range d.targets {
		for _, p := range programs {
			program, modules, err := d.partsOf(t, p)
			if err != nil {
				return err
			}
			deps := bomDepends{Ref: program.Ref, DependsOn: []string{}}
			parts[program.Ref] = program
			built = append(built, program.Ref)
			for _, m := range modules {
				parts[m.Ref] = m
				deps.DependsOn = append(deps.DependsOn, m.Ref)
			}
			b.Dependencies = append(b.Dependencies, deps)
		}
	}
	b.Dependencies = append(b.Dependencies, bomDepends{top.Ref, built})
	for _, p := range parts {
		b.Components = append(b.Components, p)
	}
	slices.SortFunc(b.Components, func(x, y bomPart) int { return cmp.Compare(x.Ref, y.Ref) })
	text, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text) // the same parts have the same number
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	b.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
	if text, err = json.MarshalIndent(b, "", " "); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.out, "tillwire-"+d.numbers+".cdx.json"), append(text, '\n'), 0o644) //nolint:gosec // a release is for everybody
}

// partsOf reads one program.
func (d *dist) partsOf(t target, name string) (bomPart, []bomPart, error) {
	path := filepath.Join(d.dir(t), t.program(name))
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return bomPart{}, nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return bomPart{}, nil, err
	}
	sum := sha256.Sum256(content)
	ref := fmt.Sprintf("tillwire-%s@%s?%s", name, d.version, t)
	program := bomPart{
		Type: "application", Ref: ref, Name: t.program(name), Version: d.version, Hashes: []bomHash{{"SHA-256", hex.EncodeToString(sum[:])}},
		Properties: []bomProp{{"goos", t.os}, {"goarch", t.arch}},
	}
	stdlib := "pkg:golang/stdlib@" + strings.TrimPrefix(info.GoVersion, "go")
	modules := []bomPart{{Type: "library", Ref: stdlib, Name: "stdlib", Version: info.GoVersion, PURL: stdlib}}
	for _, m := range info.Deps {
		modules = append(modules, modulePart(m))
	}
	return program, modules, nil
}

func modulePart(m *debug.Module) bomPart {
	if m.Replace != nil {
		m = m.Replace
	}
	purl := "pkg:golang/" + strings.ToLower(m.Path) + "@" + m.Version
	p := bomPart{Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl}
	if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) == sha256.Size {
		p.Properties = []bomProp{{"go:sum", m.Sum}} // of the module's files, as go.sum has it; no hash of one file
	}
	return p
}
