package main

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tillwire-aggregator": func() { os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts are the manual: what each command prints and how it ends.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"waitready": waitReady, "interrupt": interrupt},
	})
}

// waitReady DIR waits until the aggregator on a data folder serves.
func waitReady(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: time.Second}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var at struct{ HTTP string }
		b, err := os.ReadFile(ts.MkAbs(args[0] + "/addresses.json"))
		if err != nil || json.Unmarshal(b, &at) != nil {
			continue
		}
		resp, err := client.Get("http://" + at.HTTP + "/readyz")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	ts.Fatalf("no aggregator serves on %s", args[0])
}

// interrupt asks the background commands to end.
func interrupt(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(os.Interrupt))
	}
}
