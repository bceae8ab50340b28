package scenario

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"tillwire/store/config"
)

//go:embed ready/*.toml
var ready embed.FS

// fileBytesMax bounds a scenario file.
const fileBytesMax = 1 << 20

// Names lists the ready-made stories.
func Names() []string {
	files, err := fs.Glob(ready, "ready/*.toml")
	if err != nil {
		return nil // the pattern is ours
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".toml")
	}
	return files
}

// Text is a ready-made story's file as it is, comments and all.
func Text(name string) ([]byte, error) {
	b, err := ready.ReadFile("ready/" + name + ".toml")
	if err != nil {
		return nil, fmt.Errorf("%q is not a scenario; there are %s", name, strings.Join(Names(), ", "))
	}
	return b, nil
}

// Load reads a ready-made story by its name, or a file.
func Load(name string) (*Scenario, error) {
	if slices.Contains(Names(), name) {
		b, err := Text(name)
		if err != nil {
			return nil, err
		}
		return Parse(name, name+".toml", b)
	}
	if filepath.Ext(name) != ".toml" {
		return nil, fmt.Errorf("%q is not a scenario; there are %s, or name a FILE.toml", name, strings.Join(Names(), ", "))
	}
	st, err := os.Stat(name)
	if err == nil && st.Size() > fileBytesMax {
		err = fmt.Errorf("it is longer than %d bytes", fileBytesMax)
	}
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	return Parse(strings.TrimSuffix(filepath.Base(name), ".toml"), name, b)
}

// Parse reads a story; file stands in errors.
func Parse(name, file string, text []byte) (*Scenario, error) {
	s := Default()
	s.Name = name
	if err := config.Decode(file, text, &s); err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		var all []string
		for _, e := range unjoin(err) {
			all = append(all, file+": "+e.Error())
		}
		return nil, errors.New(strings.Join(all, "\n"))
	}
	return &s, nil
}

func unjoin(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // what Check itself has joined
		return many.Unwrap()
	}
	return []error{err}
}

// Keys documents every key of a scenario file with its default.
func Keys() string {
	var b strings.Builder
	b.WriteString("# Every key of a scenario file, with its default. Spans: 90s, 15m, 3h, 30d.\n\n")
	d := Default()
	keys(&b, reflect.ValueOf(d), "")
	b.WriteString("\n# Kinds of faults\n")
	for _, k := range Kinds {
		n := needs[k.Name]
		fmt.Fprintf(&b, "#   %-10s %s (needs %s; takes %s)\n", k.Name, k.About, words(n.needs), words(n.takes))
	}
	return b.String()
}

func words(s []string) string {
	if len(s) == 0 {
		return "nothing"
	}
	return strings.Join(s, ", ")
}

func keys(b *strings.Builder, v reflect.Value, section string) {
	var below []func()
	for i := range v.NumField() {
		f, fv := v.Type().Field(i), v.Field(i)
		name := f.Tag.Get("toml")
		help := f.Tag.Get("help")
		if help != "" {
			help = "  # " + help
		}
		switch {
		case name == "-":
		case fv.Kind() == reflect.Struct && !isText(fv):
			below = append(below, func() { fmt.Fprintf(b, "\n[%s]\n", name); keys(b, fv, name) })
		case fv.Kind() == reflect.Slice:
			below = append(below, func() { fmt.Fprintf(b, "\n[[%s]]%s\n", name, help); keys(b, reflect.Zero(fv.Type().Elem()), name) })
		default:
			fmt.Fprintf(b, "%-44s%s\n", name+" = "+shown(fv), help)
		}
	}
	for _, f := range below {
		f()
	}
}

type marshals interface{ MarshalText() ([]byte, error) }

func isText(v reflect.Value) bool { _, ok := v.Interface().(marshals); return ok }

func shown(v reflect.Value) string {
	if t, ok := v.Interface().(marshals); ok {
		s, _ := t.MarshalText()
		return fmt.Sprintf("%q", s)
	}
	if v.Kind() == reflect.String {
		return fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprint(v.Interface())
}
