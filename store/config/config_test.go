package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type duration time.Duration

func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

type sample struct {
	Store string `toml:"store"`
	HTTP  struct {
		Listen string   `toml:"listen"`
		Hosts  []string `toml:"hosts"`
		Idle   duration `toml:"idle"`
		Max    int      `toml:"max"`
		Open   bool     `toml:"open"`
	} `toml:"http"`
	Shops []struct {
		ID string `toml:"id"`
	} `toml:"shops"`
}

func load(t *testing.T, file string, env map[string]string) (sample, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.toml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var s sample
	err := Load(path, func(k string) (string, bool) { v, ok := env[k]; return v, ok }, &s)
	return s, err
}

func TestEnvironmentOverridesFile(t *testing.T) {
	got, err := load(t, "store='S1'\n[http]\nlisten='a:1'\nmax=3\n[[shops]]\nid='x'\n", map[string]string{
		"TILLWIRE_HTTP_LISTEN": "b:2", "TILLWIRE_HTTP_HOSTS": "p, q", "TILLWIRE_HTTP_IDLE": "3s", "TILLWIRE_HTTP_OPEN": "true",
	})
	if err != nil {
		t.Fatal(err)
	}
	var want sample
	want.Store, want.HTTP.Listen, want.HTTP.Hosts = "S1", "b:2", []string{"p", "q"}
	want.HTTP.Idle, want.HTTP.Max, want.HTTP.Open = duration(3*time.Second), 3, true
	want.Shops = append(want.Shops, struct {
		ID string `toml:"id"`
	}{"x"})
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestErrorsNameLineKeyAndRemedy(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		env  map[string]string
		want []string
	}{
		"unknown key":  {"store='S1'\n[http]\nlissten='a'\n", nil, []string{"x.toml:3", `"http.lissten"`, `did you mean "http.listen"`}},
		"wrong type":   {"store='S1'\n[http]\nmax='many'\n", nil, []string{"x.toml:3", "http.max"}},
		"not TOML":     {"store=\n", nil, []string{"x.toml:1"}},
		"bad duration": {"", map[string]string{"TILLWIRE_HTTP_IDLE": "soon"}, []string{"TILLWIRE_HTTP_IDLE", "soon"}},
		"bad truth":    {"", map[string]string{"TILLWIRE_HTTP_OPEN": "perhaps"}, []string{"TILLWIRE_HTTP_OPEN", "true or false"}},
		"bad number":   {"", map[string]string{"TILLWIRE_HTTP_MAX": "1.5"}, []string{"TILLWIRE_HTTP_MAX", "whole number"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.file, c.env)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	c := struct {
		Token string   `toml:"token" secret:"true"`
		Old   []string `toml:"old" secret:"true"`
		Name  string   `toml:"name"`
	}{Token: "hunter2", Name: "till"}
	var got []string
	for _, k := range Keys(&c) {
		got = append(got, k.Name+"="+k.Shown())
	}
	if d := cmp.Diff([]string{"token=(set)", "old=[]", "name=till"}, got); d != "" {
		t.Error(d)
	}
}
