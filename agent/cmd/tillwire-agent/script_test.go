package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tillwire/protocol"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tillwire-agent": main})
}

// enrolment plays the aggregator's door: the token "good" counts once.
func enrolment(t *testing.T) http.Handler {
	spent := false
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req protocol.Enroll
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || r.URL.Path != "/v1/enroll" || r.Method != http.MethodPost {
			t.Errorf("the agent asks %s %s: %v", r.Method, r.URL, err)
		}
		if req.Token != "good" || spent {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(protocol.NewProblem(http.StatusForbidden, "enrolment_refused", "The enrolment token is not accepted", "token was used already", "issue another"))
			return
		}
		spent = true
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(protocol.Enrolled{Store: req.Store, Agent: req.Agent, Token: "tok-7e41", Broker: "mqtt://broker.example:7483"})
	})
}

func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			aggregator := httptest.NewServer(enrolment(t))
			other := httptest.NewServer(http.NotFoundHandler())
			env.Defer(aggregator.Close)
			env.Defer(other.Close)
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Setenv("AGGREGATOR", aggregator.URL)
			env.Setenv("OTHER", other.URL)
			env.Setenv("CLOSED", free.Addr().String()) // nobody listens there
			env.Setenv("TILLWIRE_HTTP_LISTEN", "127.0.0.1:0")
			env.Setenv("TILLWIRE_LINK_BROKER", "mqtt://"+free.Addr().String())
			env.Setenv("TILLWIRE_JOURNAL_BALLAST_MIB", "0")
			return free.Close()
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "change": change, "post": post, "awaitready": awaitReady,
		},
	})
}

// exits runs a command and demands its exit code: exits 2 tillwire-agent run
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		got = ended.ExitCode()
	case err != nil:
		ts.Fatalf("run: %v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// change copies a file with one word replaced, once: change FROM TO OLD NEW
func change(ts *testscript.TestScript, _ bool, args []string) {
	old := ts.ReadFile(args[0])
	if !strings.Contains(old, args[2]) {
		ts.Fatalf("%s holds no %q", args[0], args[2])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Replace(old, args[2], args[3], 1)), 0o600))
}

func address(ts *testscript.TestScript, dir string) (string, error) {
	var a struct {
		HTTP string `json:"http"`
	}
	b, err := os.ReadFile(filepath.Join(ts.MkAbs(dir), "addresses.json"))
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	return a.HTTP, err
}

// awaitReady waits for the agent of a data folder: awaitready DIR
func awaitReady(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if addr, err := address(ts, args[0]); err == nil {
			if resp, err := http.Get("http://" + addr + "/readyz"); err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return
				}
			}
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("no agent is ready in %s", args[0])
		case <-tick.C:
		}
	}
}

// post sends a file and demands the status: post DIR PATH FILE STATUS WORD
func post(ts *testscript.TestScript, _ bool, args []string) {
	addr, err := address(ts, args[0])
	ts.Check(err)
	resp, err := http.Post("http://"+addr+args[1], "application/json", strings.NewReader(ts.ReadFile(args[2])))
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if fmt.Sprint(resp.StatusCode) != args[3] || !strings.Contains(string(b), args[4]) {
		ts.Fatalf("%s: %s, want %s and %s", resp.Status, b, args[3], args[4])
	}
}
