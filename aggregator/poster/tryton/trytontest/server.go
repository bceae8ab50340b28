package trytontest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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

// What the prepared database has.
const (
	User     = "admin"
	Password = "admin"
	Database = "erp"
	Products = 250
)

// modules are those that posting meets in a real shop; sale and purchase make moves
// without an origin raise warnings.
var modules = []string{"company", "currency", "country", "party", "product", "stock", "stock_inventory_location", "sale", "purchase", "product_cost_fifo", "sale_stock_quantity", "stock_lot", "production"}

// setupVersion is part of the prepared database's name: raise it with setup.
const setupVersion = "5"

const startWait = 2 * time.Minute // for a server to answer, on a loaded machine

// Server is a Tryton of one test.
type Server struct {
	URL  string
	tb   testing.TB
	dir  string
	port string
	cmd  *exec.Cmd
	auth string
	ctx  map[string]any
	uid  float64
}

// Start copies the prepared database and serves it until the test ends. Where Tryton
// is not installed the test is skipped, with CI=true it fails.
func Start(tb testing.TB) *Server {
	tb.Helper()
	for _, p := range []string{"trytond", "trytond-admin"} {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("CI") == "true" {
				tb.Fatalf("%s is missing: make deps", p)
			}
			tb.Skipf("skipped: %s is missing; `make deps` as root installs Tryton 6.0", p)
		}
	}
	for _, m := range []string{"stock", "production"} {
		if _, err := os.Stat("/usr/lib/python3/dist-packages/trytond/modules/" + m); err != nil && os.Getenv("CI") != "true" {
			tb.Skipf("skipped: Tryton's module %s is missing; `make deps` as root installs it", m)
		}
	}
	s := serve(tb, prepared(tb))
	s.Login()
	return s
}

// prepared is the path of the database to copy; it is made where there is none.
func prepared(tb testing.TB) string {
	tb.Helper()
	version, err := exec.Command("trytond", "--version").CombinedOutput()
	if err != nil {
		tb.Fatalf("trytond --version: %v: %s", err, version)
	}
	sum := sha256.Sum256(fmt.Appendf(version, "%s %v", setupVersion, modules))
	path := filepath.Join(os.TempDir(), "tillwire-tryton-"+hex.EncodeToString(sum[:6])+".sqlite")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	begun := time.Now()
	dir := tb.TempDir()
	conf := configure(tb, dir, "127.0.0.1:0")
	db := filepath.Join(dir, Database+".sqlite")
	if err := os.WriteFile(db, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	for _, args := range [][]string{{"--all", "--email", "a@example.com"}, append(append([]string{"-u"}, modules...), "--activate-dependencies")} {
		cmd := exec.Command("trytond-admin", append([]string{"-c", conf, "-d", Database}, args...)...) //nolint:gosec // arguments of our own
		cmd.Env = append(os.Environ(), "TRYTONPASSFILE="+filepath.Join(dir, "password"))
		if out, err := cmd.CombinedOutput(); err != nil {
			tb.Fatalf("trytond-admin %v: %v: %s", args, err, out)
		}
	}
	s := serve(tb, db)
	s.Login()
	setup(s)
	s.Stop()
	if err := copyFile(filepath.Join(s.dir, Database+".sqlite"), path); err != nil {
		tb.Fatal(err)
	}
	tb.Logf("prepared a Tryton database in %s: %s", time.Since(begun).Round(time.Second), path)
	return path
}

func configure(tb testing.TB, dir, listen string) string {
	tb.Helper()
	conf := filepath.Join(dir, "trytond.conf")
	text := "[database]\nuri = sqlite://\npath = " + dir + "\n[web]\nlisten = " + listen + "\n[session]\ntimeout = 86400\nmax_age = 86400\n"
	for name, text := range map[string]string{conf: text, filepath.Join(dir, "password"): Password + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return conf
}

// copyFile writes a copy whole or not at all: tests of other packages may want it at
// the same time.
func copyFile(from, to string) error {
	b, err := os.ReadFile(from) //nolint:gosec // a path of ours
	if err != nil {
		return err
	}
	tmp := fmt.Sprintf("%s.%d", to, os.Getpid())
	if err := os.WriteFile(tmp, b, 0o600); err != nil { //nolint:gosec // a path of ours
		return err
	}
	return os.Rename(tmp, to)
}

func serve(tb testing.TB, db string) *Server {
	tb.Helper()
	dir := tb.TempDir()
	if err := copyFile(db, filepath.Join(dir, Database+".sqlite")); err != nil {
		tb.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	s := &Server{tb: tb, dir: dir, port: addr, URL: "http://" + addr + "/" + Database + "/"}
	s.Up()
	tb.Cleanup(s.Stop)
	return s
}

// Up starts the server, again after Stop or Kill.
func (s *Server) Up() {
	s.tb.Helper()
	conf := configure(s.tb, s.dir, s.port)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	s.cmd = exec.Command("trytond", "-c", conf, "-d", Database)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = dieWithUs()
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	for until := time.Now().Add(startWait); ; {
		conn, err := net.DialTimeout("tcp", s.port, time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(until) {
			out, _ := os.ReadFile(log.Name())
			s.tb.Fatalf("Tryton does not answer: %v\n%s", err, out)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// Stop ends the server in good order, Kill does not.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends it as a power cut does.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(sig os.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Login opens the harness's own session.
func (s *Server) Login() {
	s.tb.Helper()
	s.auth = ""
	var got []any
	s.ask(&got, "common.db.login", User, map[string]string{"password": Password}, "en")
	if len(got) < 2 {
		s.tb.Fatalf("Tryton's login answers %v", got)
	}
	s.uid = got[0].(float64)
	s.auth = "Session " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%.0f:%s", User, s.uid, got[1]))
	s.ctx = map[string]any{}
	s.ask(&s.ctx, "model.res.user.get_preferences", true, map[string]any{})
}

// Call asks for a method of a model with the session's context, and fails the test
// where Tryton tells an error.
func (s *Server) Call(into any, method string, params ...any) {
	s.tb.Helper()
	s.ask(into, method, append(params, s.ctx)...)
}

// With is Call with more in the context.
func (s *Server) With(extra map[string]any, into any, method string, params ...any) {
	s.tb.Helper()
	ctx := map[string]any{}
	for k, v := range s.ctx {
		ctx[k] = v
	}
	for k, v := range extra {
		ctx[k] = v
	}
	s.ask(into, method, append(params, ctx)...)
}

func (s *Server) ask(into any, method string, params ...any) {
	s.tb.Helper()
	if err := s.try(into, method, params...); err != nil {
		s.tb.Fatalf("%s: %v", method, err)
	}
}

// Try is Call that returns what went wrong.
func (s *Server) Try(into any, method string, params ...any) error {
	return s.try(into, method, append(params, s.ctx)...)
}

func (s *Server) try(into any, method string, params ...any) error {
	body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.auth != "" {
		req.Header.Set("Authorization", s.auth)
	}
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var got struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return fmt.Errorf("HTTP %d: %.300s", resp.StatusCode, b)
	}
	if len(got.Error) > 0 {
		return fmt.Errorf("%.600s", got.Error)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(got.Result, into)
}

// Work runs a workflow's step, answering warnings as Tryton's own client does.
func (s *Server) Work(method string, ids []int64) {
	s.tb.Helper()
	for range 8 {
		err := s.Try(nil, method, ids)
		if err == nil {
			return
		}
		var got []json.RawMessage
		var args []any
		if !strings.Contains(err.Error(), "UserWarning") || json.Unmarshal([]byte(err.Error()), &got) != nil || json.Unmarshal(got[1], &args) != nil {
			s.tb.Fatalf("%s: %v", method, err)
		}
		s.Call(nil, "model.res.user.warning.create", []any{map[string]any{"user": s.uid, "name": args[0], "always": false}})
	}
	s.tb.Fatalf("%s warns for ever", method)
}
