package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"tillwire/agent"
)

// A running agent, a log full of what must not leave the machine: the bundle has
// what support needs, and none of that.
func TestSupportBundleHoldsNoSecrets(t *testing.T) {
	dir := t.TempDir()
	secrets := []string{"twa1.S1.server.1.K-qQr0secret", "register-token-7f", "lan-secret-of-the-shop", "twe1.S9..other.Zk8AA", "hunter2hunter2", "5413330089020011", "4111-1111-1111-1111"}
	log := filepath.Join(dir, "agent.log")
	words := fmt.Sprintf(`{"level":"error","err":"dial with %s failed","message":"x"}
Authorization: Bearer %s
{"level":"warn","got":"token=%s and password: %s","message":"y"}
card %s was scanned, and %s typed; secret=%s
the sale of R03 stays readable
`, secrets[0], secrets[1], secrets[3], secrets[4], secrets[5], secrets[6], secrets[2])
	if err := os.WriteFile(log, []byte(strings.Repeat("old line\n", bundleLogMax/9)+words), 0o600); err != nil {
		t.Fatal(err)
	}
	c := agent.Defaults()
	c.Store, c.DataDir, c.HTTP.Listen, c.Link.Broker, c.Journal.BallastMiB = "S1", filepath.Join(dir, "d"), "127.0.0.1:0", "", 0
	c.Link.Token, c.HTTP.Tokens, c.LAN.Secret, c.Log.File = secrets[0], []string{secrets[1]}, "", log
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "agent.toml")
	if err := os.WriteFile(conf, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(c, agent.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	<-a.Ready()

	out := filepath.Join(dir, "bundle.tar.gz")
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"support-bundle", "--config", conf, "--out", out}, &stdout, &stderr); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	files := unpack(t, out)
	for name, text := range files {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s holds %q", name, s)
			}
		}
	}
	for name, want := range map[string]string{
		"about.json": `"version": "dev"`, "doctor.json": `"what": "disk speed"`, "config.json": `"link.token": "(set)"`, "v1-status.txt": `"phase":"running"`,
		"metrics.txt": "tillwire_", "folder.txt": "journal.db", "log.txt": "the sale of R03 stays readable",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s lacks %q: %.300s", name, want, files[name])
		}
	}
	if n := len(files["log.txt"]); n > bundleLogMax+100 {
		t.Errorf("the log has %d bytes", n)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle: %v %v", info.Mode(), err)
	}
}

func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "tillwire-support/")] = string(text)
	}
}

func TestClean(t *testing.T) {
	b := &bundle{secrets: []string{"s3cr3t-value"}}
	for text, want := range map[string]string{
		"plain words, 12 events, seq 4711":           "plain words, 12 events, seq 4711",
		"x s3cr3t-value y":                           "x (removed) y",
		"Authorization: Bearer abcdef.ghi":           "Authorization: Bearer (removed)",
		`"token":"abcd1234"`:                         `"token":"(removed)"`,
		"enrolled with twe1.S1..abc.defg-_x today":   "enrolled with (removed) today",
		"the card 4111 1111 1111 1111 was refused":   "the card **** **** **** 1111 was refused",
		"GTIN 04006381333931 and document R03-00187": "GTIN 04006381333931 and document R03-00187",
	} {
		if got := string(b.clean([]byte(text))); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
