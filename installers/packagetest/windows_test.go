//go:build dist

package packagetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wine is a Windows of its own, as far as Wine goes.
type wine struct {
	prefix string
	env    []string
	log    string // what Wine's event log was told
	addr   string // of the POS port: this machine may have an agent of its own

	shell *exec.Cmd // what a logged-in user runs
	stdin io.Closer
}

const (
	everywhere = "linux/amd64,windows/amd64"
	sayWait    = 90 * time.Second
)

func startWine(t *testing.T) *wine {
	t.Helper()
	needs(t, "wine", "wineserver", "x86_64-w64-mingw32-gcc")
	dir := t.TempDir()
	w := &wine{prefix: filepath.Join(dir, "prefix"), log: filepath.Join(dir, "events.log")}
	w.env = []string{"WINEPREFIX=" + w.prefix, "WINEARCH=win64", "WINEDEBUG=-all,+eventlog", "DISPLAY="}
	t.Cleanup(func() { // the session of this prefix, no other
		if w.shell != nil {
			_ = w.stdin.Close()
		}
		end := exec.Command("wineserver", "-k")
		end.Env = append(os.Environ(), w.env...)
		_ = end.Run()
	})
	w.do(t, "wineboot", "-i")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
	_ = ln.Close()
	w.logOut(t)
	must(t, "", nil, "x86_64-w64-mingw32-gcc", "-shared", "-o", filepath.Join(w.prefix, "drive_c/windows/system32/bcryptprimitives.dll"), filepath.Join("testdata", "prng.c"), "-ladvapi32")
	return w
}

// logIn keeps a program of a user running: Wine ends its services with the last of
// them. What services write to the event log goes to w.log.
func (w *wine) logIn(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(w.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	boot := exec.Command("wine", "wineboot") // services inherit its stderr
	boot.Env, boot.Stderr = append(os.Environ(), w.env...), log
	if err := boot.Run(); err != nil {
		t.Fatalf("boot: %v", err)
	}
	shell := exec.Command("wine", "cmd")
	shell.Env, shell.Stderr = append(os.Environ(), w.env...), log
	in, err := shell.StdinPipe()
	if err == nil {
		err = shell.Start()
	}
	if err != nil {
		t.Fatalf("log in: %v", err)
	}
	w.shell, w.stdin = shell, in
}

// logOut ends the session: Wine 8 forgets a deleted service only then.
func (w *wine) logOut(t *testing.T) {
	t.Helper()
	if w.shell != nil {
		_ = w.stdin.Close()
		_ = w.shell.Wait()
		w.shell = nil
	}
	for _, flag := range []string{"-k", "-w"} { // -k fails where none runs
		_, _ = try(t, "", w.env, "wineserver", flag)
	}
}

func (w *wine) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "wine", args...)
	cmd.Env = append(os.Environ(), append(w.env, "WINEDEBUG=-all")...)
	var out bytes.Buffer
	file, err := os.Create(filepath.Join(t.TempDir(), "out")) // a pipe would stay open with the services
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = file, file
	err = cmd.Run()
	_, _ = file.Seek(0, io.SeekStart)
	_, _ = io.Copy(&out, file)
	_ = file.Close()
	return strings.ReplaceAll(out.String(), "\r\n", "\n"), err
}

func (w *wine) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.try(t, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// agent calls the installed program.
func (w *wine) agent(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return w.try(t, append([]string{`C:\Program Files\Tillwire\tillwire-agent.exe`}, args...)...)
}

func (w *wine) data(name string) string {
	return filepath.Join(w.prefix, "drive_c/ProgramData/Tillwire/Agent", name)
}

// windowsPath is how Windows names a file of this machine.
func windowsPath(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

// running is what the service manager says, and what answers on the port.
func (w *wine) awaitVersion(t *testing.T, version string) {
	t.Helper()
	var s struct {
		Version string `json:"agent_version"`
	}
	until(t, sayWait, "agent "+version, func() bool {
		resp, err := http.Get("http://" + w.addr + "/v1/status")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(&s) == nil && s.Version == version
	})
	if out := w.do(t, "sc", "query", "tillwire-agent"); !strings.Contains(out, "4  RUNNING") {
		t.Errorf("the service manager says %s", out)
	}
}

func (w *wine) sell(t *testing.T, id string) {
	t.Helper()
	if code := w.post(t, id); code != http.StatusCreated {
		t.Fatalf("sale %s: %d", id, code)
	}
}

// known tells that sales are still in the journal: sent again, they are duplicates.
func (w *wine) known(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if code := w.post(t, id); code != http.StatusOK {
			t.Errorf("sale %s, sent again: %d, want 200", id, code)
		}
	}
}

func (w *wine) post(t *testing.T, id string) int {
	t.Helper()
	body := fmt.Sprintf(`{"document_id":%q,"register":"R03","occurred_at":"2026-11-23T10:15:02Z","lines":[{"sku":"4006381333931","quantity":2}]}`, id)
	resp, err := http.Post("http://"+w.addr+"/v1/sales", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// aggregator runs the real one, and gives its address and a way to get tokens.
func aggregator(t *testing.T, archive string) (url string, token func(store string) string) {
	t.Helper()
	to, data := t.TempDir(), t.TempDir()
	must(t, to, nil, "tar", "-xzf", archive, "--strip-components=1")
	program := filepath.Join(to, "tillwire-aggregator")
	cmd := exec.Command(program, "run", "--data-dir", data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	return addressOf(t, data), func(store string) string {
		out, err := exec.Command(program, "token", "--enroll", "--store", store, "--data-dir", data).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
}

// The MSI under Wine: installed silently with its properties, started, killed,
// restarted, upgraded, set back, removed with the journal kept, purged.
func TestLifeUnderWine(t *testing.T) {
	old, newer := release(t, "1.0.0", everywhere), release(t, "1.1.0", everywhere)
	oldMSI, newMSI := windowsPath(one(t, old, "*.msi")), windowsPath(one(t, newer, "*.msi"))
	w := startWine(t)
	url, token := aggregator(t, one(t, old, "*linux-amd64.tar.gz"))

	if out, err := w.try(t, "msiexec", "/i", oldMSI, "/qn", "STORE=S0042", "AGGREGATOR="+url, "TOKEN=wrong"); err == nil {
		t.Errorf("a refused token installs: %s", out)
	}
	if _, err := os.Stat(filepath.Join(w.prefix, "drive_c/Program Files/Tillwire/tillwire-agent.exe")); err == nil {
		t.Error("an installation that failed leaves the program")
	}

	w.logOut(t)
	w.logIn(t)
	secret := filepath.Join(t.TempDir(), "token.txt")
	if err := os.WriteFile(secret, []byte(token("S0042")+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(w.data(""), 0o755); err != nil { // enrolment keeps the keys that stand there
		t.Fatal(err)
	}
	if err := os.WriteFile(w.data("agent.toml"), fmt.Appendf(nil, "[http]\nlisten = %q\n", w.addr), 0o600); err != nil {
		t.Fatal(err)
	}
	w.do(t, "msiexec", "/i", oldMSI, "/qn", "STORE=S0042", "AGGREGATOR="+url, "TOKENFILE="+windowsPath(secret))
	w.awaitVersion(t, "1.0.0")
	w.checkService(t)
	w.sell(t, "W-1")

	t.Run("killed and started again", func(t *testing.T) {
		for _, pid := range strings.Fields(must(t, "", nil, "pgrep", "-f", `^C:.Program Files.Tillwire.tillwire-agent.exe run --service`)) {
			var n int
			_, _ = fmt.Sscan(pid, &n)
			if env, err := os.ReadFile("/proc/" + pid + "/environ"); err == nil && bytes.Contains(env, []byte(w.prefix)) { // of this prefix alone
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
		w.again(t)
		w.awaitVersion(t, "1.0.0")
		w.known(t, "W-1")
	})
	t.Run("restarted", func(t *testing.T) {
		if out, err := w.agent(t, "restart"); err != nil {
			t.Fatalf("restart: %v %s", err, out)
		}
		w.awaitVersion(t, "1.0.0")
		if out, err := w.agent(t, "status"); err != nil || !strings.Contains(out, "S0042/server: link connected") {
			t.Errorf("status: %v %s", err, out)
		}
		out, _ := w.agent(t, "doctor") // Wine keeps no access lists, which doctor notices: its exit code says nothing here
		for _, want := range []string{"ok       way", "ok       port", "ok       service       running", "ok       agent", "permissions   ", "virus scanner"} {
			if !strings.Contains(out, want) {
				t.Errorf("doctor lacks %q:\n%s", want, out)
			}
		}
	})
	w.sell(t, "W-2")
	for _, step := range []struct{ msi, version string }{{newMSI, "1.1.0"}, {oldMSI, "1.0.0"}, {newMSI, "1.1.0"}} {
		w.do(t, "msiexec", "/i", step.msi, "/qn")
		w.awaitVersion(t, step.version)
		w.known(t, "W-1", "W-2")
	}
	if n := strings.Count(read(t, w.log), `ReportEventW L"agent ready\r\nagent: server`); n < 6 {
		t.Errorf("the event log heard of %d starts:\n%s", n, read(t, w.log))
	}
	w.removeAndPurge(t, newMSI)
}

// again starts a service that was killed. A real Windows does so by itself; Wine
// has no recovery actions, and its service manager may believe that it runs.
func (w *wine) again(t *testing.T) {
	t.Helper()
	until(t, sayWait, "started again", func() bool {
		_, _ = w.try(t, "sc", "stop", "tillwire-agent")
		out, err := w.try(t, "sc", "start", "tillwire-agent")
		return err == nil && !strings.Contains(out, "1056")
	})
}

// checkService looks at what a real Windows would act upon.
func (w *wine) checkService(t *testing.T) {
	t.Helper()
	out := w.do(t, "reg", "query", `HKLM\SYSTEM\CurrentControlSet\Services\tillwire-agent`)
	for _, want := range []string{
		`ObjectName    REG_SZ    NT SERVICE\tillwire-agent`, "Start    REG_DWORD    0x2", "DelayedAutostart    REG_DWORD    0x1", "FailureActionsOnNonCrashFailures    REG_DWORD    0x1",
		`ImagePath    REG_SZ    "C:\Program Files\Tillwire\tillwire-agent.exe" run --service --config C:\ProgramData\Tillwire\Agent\agent.toml`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the service lacks %q:\n%s", want, out)
		}
	}
	out = w.do(t, "reg", "query", `HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\tillwire-agent`)
	if !strings.Contains(out, `EventMessageFile    REG_SZ    C:\windows\system32\EventCreate.exe`) || !strings.Contains(out, "TypesSupported    REG_DWORD    0x7") {
		t.Errorf("the event source: %s", out)
	}
	if log := read(t, w.data(filepath.Join("log", "agent.log"))); !strings.Contains(log, "agent ready") {
		t.Errorf("the log: %s", log)
	}
}

func (w *wine) removeAndPurge(t *testing.T, msi string) {
	t.Helper()
	there := func(name string, want bool) {
		t.Helper()
		if _, err := os.Stat(w.data(name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
	w.do(t, "msiexec", "/x", msi, "/qn")
	there("journal.db", true)
	there("agent.toml", true)
	if _, err := os.Stat(filepath.Join(w.prefix, "drive_c/Program Files/Tillwire/tillwire-agent.exe")); err == nil {
		t.Error("uninstalled, but the program stays")
	}
	if resp, err := http.Get("http://" + w.addr + "/healthz"); err == nil {
		_ = resp.Body.Close()
		t.Error("uninstalled, but the agent answers")
	}
	w.logOut(t)
	w.logIn(t)
	w.do(t, "msiexec", "/i", msi, "/qn") // no properties: it has what it needs
	w.awaitVersion(t, "1.1.0")
	w.known(t, "W-1", "W-2")
	w.do(t, "msiexec", "/x", msi, "/qn", "PURGE=yes")
	there("", false)
}

// Signed with a certificate of our own, program and installer verify, and the
// checksums carry a signature.
func TestSigned(t *testing.T) {
	needs(t, "osslsigncode", "openssl", "gpg")
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	must(t, dir, nil, "openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "2", "-subj", "/CN=Tillwire test", "-addext", "extendedKeyUsage=codeSigning", "-keyout", key, "-out", cert)
	home := filepath.Join(dir, "gnupg")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	gpg := []string{"GNUPGHOME=" + home}
	must(t, dir, gpg, "gpg", "--batch", "--passphrase", "", "--quick-generate-key", "release@tillwire.example", "ed25519", "sign", "2d")
	defer func() { _, _ = try(t, dir, gpg, "gpgconf", "--kill", "gpg-agent") }()

	out := filepath.Join(dir, "release")
	env := append(gpg, "SIGN_CERT="+cert, "SIGN_KEY="+key, "SIGN_GPG_KEY=release@tillwire.example", "SOURCE_DATE_EPOCH=1764000000")
	must(t, root(t), env, "go", "run", "./installers/cmd/tillwire-dist", "--draft", "--out", out, "--version", "1.0.0", "--only", "windows/amd64", "--sign", filepath.Join(root(t), "installers", "sign.sh"))
	must(t, out, gpg, "gpg", "--verify", "SHA256SUMS.asc", "SHA256SUMS")
	must(t, out, nil, "sha256sum", "--check", "--strict", "SHA256SUMS")
	must(t, dir, nil, "unzip", "-q", one(t, out, "*.zip"))
	for _, file := range []string{one(t, out, "*.msi"), one(t, filepath.Join(dir, "tillwire-1.0.0-windows-amd64"), "tillwire-agent.exe")} {
		said, err := try(t, dir, nil, "osslsigncode", "verify", "-CAfile", cert, "-in", file)
		if err != nil || !strings.Contains(said, "Signature verification: ok") {
			t.Errorf("%s: %v\n%s", filepath.Base(file), err, said)
		}
	}
	plain := one(t, release(t, "1.0.0", everywhere), "*.msi")
	if said, err := try(t, dir, nil, "osslsigncode", "verify", "-CAfile", cert, "-in", plain); err == nil {
		t.Errorf("an unsigned installer verifies: %s", said)
	}
}
