//go:build dist

package packagetest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// images are the commands of a store of images that only this test knows.
type images struct {
	t    *testing.T
	args []string
}

func (s *images) do(args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(must(s.t, "", nil, "buildah", append(slices.Clone(s.args), args...)...))
}

// mounted is the root of an image's container.
func (s *images) mounted(of string) string {
	s.t.Helper()
	return s.do("mount", s.do("from", "--pull-never", of))
}

// golang makes the image that the Dockerfile builds with: a Debian with this machine's
// Go, which takes modules from this machine's cache.
func (s *images) golang() {
	s.t.Helper()
	must(s.t, root(s.t), nil, "go", "mod", "download")
	env := strings.Fields(must(s.t, root(s.t), nil, "go", "env", "GOROOT", "GOMODCACHE"))
	name := s.do("from", "scratch")
	dir := s.do("mount", name)
	for from, to := range map[string]string{baseDebian(s.t) + "/.": "", env[0] + "/.": "usr/local/go", env[1] + "/cache/download": "modules"} {
		if err := os.MkdirAll(filepath.Join(dir, to), 0o755); err != nil {
			s.t.Fatal(err)
		}
		must(s.t, "", nil, "cp", "-a", from, filepath.Join(dir, to))
	}
	s.do("config", "--env", "PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin", "--env", "GOPATH=/go", "--env", "GOPROXY=file:///modules/download",
		"--env", "GOSUMDB=off", "--env", "GOTOOLCHAIN=local", name)
	s.do("commit", "--rm", name, "docker.io/library/golang:1.26-bookworm")
}

// container is an image's program that runs as an engine would have it: as the image's
// user, without capabilities, on a root that cannot be written.
type container struct {
	t      *testing.T
	env    []string
	script string
	cmd    *exec.Cmd
	data   string
	url    string
	said   strings.Builder
}

func (c *container) start() {
	c.t.Helper()
	_ = os.Remove(filepath.Join(c.data, "addresses.json"))
	c.cmd = exec.Command("unshare", "--mount", "--ipc", "--uts", "sh", "-ec", c.script)
	c.cmd.Env = c.env
	c.cmd.Stdout, c.cmd.Stderr = &c.said, &c.said
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	cmd := c.cmd
	c.t.Cleanup(func() { _ = cmd.Process.Kill() }) // where it was not stopped
	c.url = addressOf(c.t, c.data)
	until(c.t, 20*time.Second, "ready", func() bool { return c.get("/readyz") == http.StatusOK })
}

func (c *container) stop() {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("stopped: %v\n%s", err, c.said.String())
	}
}

func (c *container) get(path string) int {
	resp, err := http.Get(c.url + path)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestImage builds the image by its Dockerfile, looks at what is in it, and runs it.
// The engine's own part (its network, its restarts) is not exercised.
func TestImage(t *testing.T) {
	needs(t, "buildah", "debootstrap", "unshare")
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can build a Debian")
	}
	dir := t.TempDir()
	s := &images{t: t, args: []string{"--root", filepath.Join(dir, "store"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}}
	s.golang()
	s.do("build", "--pull-never", "--isolation", "chroot", "--build-arg", "VERSION=1.2.3", "-f", filepath.Join(root(t), "deploy", "container", "Dockerfile"), "-t", "tillwire-aggregator", root(t))
	var image struct {
		OCIv1 struct {
			Config struct {
				User            string
				Env, Entrypoint []string
				Cmd             []string
				Volumes         map[string]any
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(s.do("inspect", "--type", "image", "tillwire-aggregator")), &image); err != nil {
		t.Fatal(err)
	}
	is := image.OCIv1.Config
	const data = "/var/lib/tillwire-aggregator"
	if is.User != "10001:10001" || !slices.Equal(is.Entrypoint, []string{"/tillwire-aggregator"}) || !slices.Equal(is.Cmd, []string{"run"}) || is.Volumes[data] == nil {
		t.Errorf("%+v", is)
	}
	mnt := s.mounted("tillwire-aggregator")
	holdContents(t, mnt)
	c := &container{t: t, data: filepath.Join(dir, "ledger")}
	if err := os.Mkdir(c.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(c.data, 10001, 10001); err != nil {
		t.Fatal(err)
	}
	c.env = append(is.Env, "TILLWIRE_HTTP_LISTEN=127.0.0.1:0", "TILLWIRE_MQTT_LISTEN=127.0.0.1:0", "PATH="+os.Getenv("PATH"))
	c.script = fmt.Sprintf("mount --bind %[1]s %[1]s; mount --bind %[2]s %[1]s%[3]s; mount -o remount,bind,ro %[1]s; exec setpriv --no-new-privs chroot --userspec=%[4]s %[1]s %[5]s %[6]s",
		mnt, c.data, data, is.User, is.Entrypoint[0], is.Cmd[0])
	c.start()
	if out := must(t, "", nil, "ps", "-o", "uid=,gid=", "-p", fmt.Sprint(c.cmd.Process.Pid)); strings.Join(strings.Fields(out), ":") != is.User {
		t.Errorf("it runs as %s", out)
	}
	if holds := files(t, c.data); !slices.Contains(holds, "ledger.db") {
		t.Errorf("the volume holds %q", holds)
	}
	c.stop()
	c.start() // on the ledger of before
	c.stop()
}

// holdContents: the program, certificates, time zones, an empty volume, and nothing else.
func holdContents(t *testing.T, mnt string) {
	t.Helper()
	for _, f := range files(t, mnt) {
		switch {
		case f == "tillwire-aggregator", f == "etc/ssl/certs/ca-certificates.crt", strings.HasPrefix(f, "usr/share/zoneinfo/"):
		default:
			t.Errorf("the image has /%s", f)
		}
	}
	if out := must(t, "", nil, filepath.Join(mnt, "tillwire-aggregator"), "version"); !strings.Contains(out, "1.2.3") {
		t.Errorf("version: %s", out)
	}
}

func files(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
