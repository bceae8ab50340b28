package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
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
	agent := sync.OnceValues(func() (string, error) { return buildAgent(t.TempDir()) })
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitready": waitReady, "interrupt": interrupt, "sell": sell, "eventually": eventually, "picknewest": pickNewest, "readfile": readFile,
			"agent": func(ts *testscript.TestScript, _ bool, _ []string) {
				path, err := agent()
				ts.Check(err)
				ts.Setenv("AGENT", path)
			},
		},
	})
}

// buildAgent builds the other program: the two meet on the wire only, in tests too.
func buildAgent(dir string) (string, error) {
	path := filepath.Join(dir, "tillwire-agent")
	if out, err := exec.Command("go", "build", "-o", path, "tillwire/agent/cmd/tillwire-agent").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the agent: %w: %s", err, out)
	}
	return path, nil
}

// addresses are where a program on a data folder listens.
func addresses(ts *testscript.TestScript, dir string) (at struct{ HTTP, MQTT, Scheme string }, err error) {
	b, err := os.ReadFile(ts.MkAbs(dir + "/addresses.json"))
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	return at, err
}

// waitReady DIR waits until the program on a data folder serves, and puts where an
// aggregator does into $HTTP and $MQTT.
func waitReady(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		at, err := addresses(ts, args[0])
		if err != nil {
			continue
		}
		scheme := "http"
		if at.Scheme != "" {
			scheme = at.Scheme
		}
		resp, err := client.Get(scheme + "://" + at.HTTP + "/readyz")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			if at.MQTT != "" { // an aggregator
				ts.Setenv("HTTP", at.HTTP)
				ts.Setenv("MQTT", at.MQTT)
			}
			return
		}
	}
	ts.Fatalf("nothing serves on %s", args[0])
}

// sell DIR FROM N has the agent on a data folder journal N sales.
func sell(ts *testscript.TestScript, _ bool, args []string) {
	at, err := addresses(ts, args[0])
	ts.Check(err)
	from, err := strconv.Atoi(args[1])
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	for k := range n {
		body := fmt.Sprintf(`{"document_id":"D%d","register":"1","occurred_at":"2026-11-23T10:15:02+01:00","lines":[{"sku":"ART-1","quantity":1,"uom":"EA"}]}`, from+k)
		resp, err := http.Post("http://"+at.HTTP+"/v1/sales", "application/json", strings.NewReader(body))
		ts.Check(err)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			ts.Fatalf("sale %d of %s: %s", from+k, args[0], resp.Status)
		}
	}
}

// eventually REGEXP PROGRAM ARG… runs a program until its stdout matches, whatever
// its exit code.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		if want.MatchString(out) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%q never came (%v): %s", args[0], err, out)
		}
	}
}

// pickNewest DIR STORE picks the copy that spoke last, as a script cannot know its id.
func pickNewest(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(ts.Exec("tillwire-aggregator", "store", "copies", "--data-dir", args[0], "--store", args[1], "--json"))
	var v struct {
		Copies []struct {
			BootID string `json:"boot_id"`
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	boot := v.Copies[len(v.Copies)-1].BootID
	err := ts.Exec("tillwire-aggregator", "store", "pick", "--data-dir", args[0], "--store", args[1], "--boot", boot[:len(boot)-1])
	if (err != nil) != neg {
		ts.Fatalf("pick of %s: %v", boot, err)
	}
}

// readFile NAME FILE puts a file's one line into a variable.
func readFile(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// interrupt asks the background commands to end.
func interrupt(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(os.Interrupt))
	}
}
