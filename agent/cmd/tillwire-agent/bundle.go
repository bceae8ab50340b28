package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"tillwire/agent"
	"tillwire/protocol"
	"tillwire/store/config"
)

const (
	bundleLogMax  = 1 << 20          // bytes of the log's end
	bundleWordMax = 10 * time.Second // for each program of the system that is asked
	secretMin     = 6                // characters; what is shorter stands in too many words
)

// bundle gathers texts for support. Everything passes clean: what an unforeseen
// error wrote into a log, no list of fields would find.
type bundle struct {
	secrets []string
	at      time.Time
	files   []bundleFile
}

type bundleFile struct {
	name string
	text []byte
}

// tokenLike is what our tokens look like, those of others in headers, and what
// stands behind words that announce a secret.
var tokenLike = regexp.MustCompile(`\b(tw[a-z][0-9]\.[A-Za-z0-9._~-]{4,})|((?i:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}|((?i:token|secret|password|passwd|api[_-]?key)"?\s*[=:]\s*"?)[^\s",}\](][^\s",}\]]{3,}`)

// clean removes secrets by value and by look, and card numbers.
func (b *bundle) clean(text []byte) []byte {
	s := string(text)
	for _, secret := range b.secrets {
		s = strings.ReplaceAll(s, secret, "(removed)")
	}
	s = tokenLike.ReplaceAllString(s, "$2$3(removed)")
	lines := strings.SplitAfter(s, "\n")
	for i, line := range lines {
		if masked, found := protocol.MaskPAN(line); found {
			lines[i] = masked
		}
	}
	return []byte(strings.Join(lines, ""))
}

func (b *bundle) add(name string, text []byte) {
	b.files = append(b.files, bundleFile{name, b.clean(text)})
}

func (b *bundle) addJSON(name string, v any) {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		text = []byte(err.Error())
	}
	b.add(name, append(text, '\n'))
}

// addOutput asks a program of the system; that it is missing is an answer too.
func (b *bundle) addOutput(ctx context.Context, name, program string, args ...string) {
	ctx, cancel := context.WithTimeout(ctx, bundleWordMax)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput() //nolint:gosec // words of ours
	if err != nil {
		out = fmt.Appendf(out, "\n%s: %v\n", program, err)
	}
	b.add(name, tail(out))
}

func tail(text []byte) []byte { return text[max(0, len(text)-bundleLogMax):] }

func bundleCommand(ctx context.Context, in *invocation) error {
	f := newFlags(in)
	out := f.String("out", "", "`file` to write; default: tillwire-support-STORE-TIME.tar.gz here")
	if err := f.parse(in); err != nil {
		return err
	}
	c, err := f.load(in)
	loadErr := err // the rest is wanted all the more
	b := &bundle{at: time.Now().UTC(), secrets: secretsOf(&c)}
	b.gather(ctx, in, f, &c, loadErr)
	if *out == "" {
		store := c.Store
		if protocol.CheckName(store) != nil {
			store = "unknown"
		}
		*out = fmt.Sprintf("tillwire-support-%s-%s.tar.gz", store, b.at.Format("20060102T150405Z"))
	}
	if err := writeWhole(*out, b.write); err != nil {
		return err
	}
	_, err = fmt.Fprintf(in.stdout, "wrote %s: %d texts, without sales, card numbers and secrets; look into it before you send it\n", *out, len(b.files))
	return err
}

func (b *bundle) gather(ctx context.Context, in *invocation, f *flags, c *agent.Config, loadErr error) {
	host, _ := os.Hostname()
	about := map[string]any{"version": version, "at": b.at, "host": host, "os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": runtime.NumCPU(), "go": runtime.Version()}
	if loadErr != nil {
		about["configuration"] = loadErr.Error()
	}
	b.addJSON("about.json", about)
	b.addJSON("doctor.json", examine(ctx, f, in))
	shown := map[string]string{}
	for _, k := range config.Keys(c) {
		shown[k.Name] = k.Shown()
	}
	b.addJSON("config.json", shown)
	for _, page := range []string{"/v1/status", "/metrics"} {
		text, err := askAgent(ctx, *c, page)
		if err != nil {
			text = []byte(err.Error() + "\n")
		}
		b.add(strings.ReplaceAll(strings.Trim(page, "/"), "/", "-")+".txt", text)
	}
	b.folder(c.DataDir)
	b.logs(ctx, *c)
	switch runtime.GOOS {
	case "linux":
		b.addOutput(ctx, "service.txt", "systemctl", "status", "--no-pager", "--full", "--lines=0", serviceName)
		b.addOutput(ctx, "unit.txt", "systemctl", "cat", "--no-pager", serviceName)
		b.addOutput(ctx, "mounts.txt", "df", "-h")
		b.addOutput(ctx, "clock.txt", "timedatectl", "status")
	case "windows":
		b.addOutput(ctx, "service.txt", "sc", "qc", serviceName)
		b.addOutput(ctx, "failure.txt", "sc", "qfailure", serviceName)
		b.addOutput(ctx, "clock.txt", "w32tm", "/query", "/status")
	}
}

// folder lists the data folder: names, sizes and times tell of what happened.
func (b *bundle) folder(dir string) {
	var text bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintln(&text, err)
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // it went while we looked
		}
		if text.Len() < bundleLogMax {
			fmt.Fprintf(&text, "%s %12d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), path)
		}
		return nil
	})
	if err != nil {
		fmt.Fprintln(&text, err)
	}
	b.add("folder.txt", text.Bytes())
}

// logs are the ends of the file, or of the system's journal where there is none.
func (b *bundle) logs(ctx context.Context, c agent.Config) {
	path := c.Log.File
	if path == "" && runtime.GOOS == "windows" {
		path = filepath.Join(c.DataDir, "log", "agent.log")
	}
	if path == "" {
		if runtime.GOOS == "linux" {
			b.addOutput(ctx, "log.txt", "journalctl", "--no-pager", "--output=short-iso", "--lines=5000", "--unit="+serviceName)
		}
		return
	}
	text, err := readTail(path)
	if err != nil {
		text = fmt.Appendf(text, "%v\n", err)
	}
	b.add("log.txt", text)
}

func readTail(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > bundleLogMax {
		if _, err := f.Seek(-bundleLogMax, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, bundleLogMax))
}

func (b *bundle) write(w io.Writer) error {
	zip := gzip.NewWriter(w)
	t := tar.NewWriter(zip)
	for _, f := range b.files {
		if err := t.WriteHeader(&tar.Header{Name: "tillwire-support/" + f.name, Mode: 0o600, Size: int64(len(f.text)), ModTime: b.at}); err != nil {
			return err
		}
		if _, err := t.Write(f.text); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), zip.Close())
}

// secretsOf are the values that must not leave this machine, longest first: one
// may stand in another.
func secretsOf(c *agent.Config) []string {
	all := append([]string{c.Link.Token, c.LAN.Secret}, c.HTTP.Tokens...)
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < secretMin })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}
