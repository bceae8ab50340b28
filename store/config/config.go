// Package config reads configuration files: TOML, every key also as an
// environment variable, unknown keys refused with their line and the nearest
// known key. It knows nothing of any program's keys; each declares its own
// struct.
package config

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// EnvPrefix starts every environment variable.
const EnvPrefix = "TILLWIRE_"

// Load fills the struct that into points to: first from the file at path (""
// reads none), then from the environment. Fields keep what they hold where
// neither names them.
func Load(path string, lookup func(string) (string, bool), into any) error {
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		if err := decode(path, b, into); err != nil {
			return err
		}
	}
	for _, k := range Keys(into) {
		v, ok := lookup(k.Env)
		if !ok {
			continue
		}
		if err := k.set(v); err != nil {
			return fmt.Errorf("environment variable %s: %w", k.Env, err)
		}
	}
	return nil
}

// Decode fills into from the text of a file. name stands in errors.
func Decode(name string, text []byte, into any) error { return decode(name, text, into) }

func decode(path string, b []byte, into any) error {
	dec := toml.NewDecoder(strings.NewReader(string(b))).DisallowUnknownFields()
	err := dec.Decode(into)
	var strict *toml.StrictMissingError
	var bad *toml.DecodeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &strict) && len(strict.Errors) > 0:
		var all []string
		for i := range strict.Errors {
			e := &strict.Errors[i]
			row, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			all = append(all, fmt.Sprintf("%s:%d: key %q is not known%s", path, row, key, suggest(key, into)))
		}
		return errors.New(strings.Join(all, "; "))
	case errors.As(err, &bad):
		row, col := bad.Position()
		return fmt.Errorf("%s:%d:%d: key %q: %s", path, row, col, strings.Join(bad.Key(), "."), strings.TrimPrefix(bad.Error(), "toml: "))
	default:
		return fmt.Errorf("%s: %w", path, err)
	}
}

// Key is one leaf of a configuration struct.
type Key struct {
	Name  string // as in TOML: section.key
	Env   string // as in the environment
	Help  string // the field's help tag
	value reflect.Value

	secret bool // the field's tag secret:"true"
}

// Shown is the value for people and logs: a secret only tells that it is set.
func (k Key) Shown() string {
	if k.secret && !k.value.IsZero() {
		return "(set)"
	}
	return k.String()
}

// String shows the value that the key has now.
func (k Key) String() string {
	if t, ok := k.value.Interface().(encoding.TextMarshaler); ok {
		b, _ := t.MarshalText()
		return string(b)
	}
	return fmt.Sprint(k.value.Interface())
}

// Keys lists the leaves of a configuration struct in the order of its fields.
// Lists of tables have no environment variable and are left out.
func Keys(into any) []Key { return keysOf(reflect.ValueOf(into).Elem(), "") }

func keysOf(v reflect.Value, section string) []Key {
	var out []Key
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if name == "" || name == "-" {
			continue
		}
		fv := v.Field(i)
		_, text := fv.Addr().Interface().(encoding.TextUnmarshaler)
		switch {
		case fv.Kind() == reflect.Struct && !text:
			out = append(out, keysOf(fv, section+name+".")...)
		case fv.Kind() == reflect.Slice && fv.Type().Elem().Kind() == reflect.Struct:
		default:
			full := section + name
			env := EnvPrefix + strings.ToUpper(strings.ReplaceAll(full, ".", "_"))
			out = append(out, Key{Name: full, Env: env, Help: f.Tag.Get("help"), value: fv, secret: f.Tag.Get("secret") == "true"})
		}
	}
	return out
}

func (k Key) set(s string) error {
	if t, ok := k.value.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return t.UnmarshalText([]byte(s))
	}
	switch k.value.Kind() {
	case reflect.String:
		k.value.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is not true or false", s)
		}
		k.value.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		k.value.SetInt(n)
	case reflect.Slice:
		var list []string
		for p := range strings.SplitSeq(s, ",") {
			if p = strings.TrimSpace(p); p != "" {
				list = append(list, p)
			}
		}
		k.value.Set(reflect.ValueOf(list))
	default:
		return fmt.Errorf("a value of type %s cannot come from the environment", k.value.Type())
	}
	return nil
}

// suggest names the known key that is nearest to an unknown one.
func suggest(key string, into any) string {
	best, at := "", len(key)/2+1
	for _, name := range names(reflect.TypeOf(into).Elem(), "") {
		if d := distance(key, name); d < at {
			best, at = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// names are all keys that a file may hold, those of lists of tables too.
func names(t reflect.Type, section string) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if name == "" || name == "-" {
			continue
		}
		ft := f.Type
		if ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		_, text := reflect.New(ft).Interface().(encoding.TextUnmarshaler)
		if ft.Kind() == reflect.Struct && !text {
			out = append(out, names(ft, section+name+".")...)
		}
		out = append(out, section+name)
	}
	return out
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			prev, row[j+1] = row[j+1], slices.Min([]int{row[j+1] + 1, row[j] + 1, prev + cost})
		}
	}
	return row[len(b)]
}
