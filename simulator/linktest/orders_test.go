package linktest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/agent/link"
	"tillwire/aggregator"
	"tillwire/protocol"
)

// pair is a whole aggregator and a whole agent in one process.
type pair struct {
	t      *testing.T
	dirs   [2]string
	stops  [2]func()
	mqtt   string
	base   string
	till   string
	timing link.Timing
}

func running(t *testing.T, run func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func (p *pair) aggregator() {
	p.t.Helper()
	cfg := aggregator.Defaults()
	cfg.DataDir, cfg.Dev, cfg.HTTP.Listen, cfg.MQTT.Listen = p.dirs[0], true, "127.0.0.1:0", "127.0.0.1:0"
	if p.mqtt != "" {
		cfg.MQTT.Listen = strings.TrimPrefix(p.mqtt, "mqtt://")
	}
	a, err := aggregator.New(cfg, aggregator.Deps{Log: zerolog.Nop(), Version: "test"})
	if err != nil {
		p.t.Fatal(err)
	}
	p.stops[0] = running(p.t, a.Run)
	<-a.Ready()
	p.mqtt, p.base = "mqtt://"+a.MQTTAddr(), "http://"+a.HTTPAddr()
}

func (p *pair) agent() {
	p.t.Helper()
	cfg := agent.Defaults()
	cfg.Store, cfg.Agent, cfg.DataDir, cfg.HTTP.Listen = "S1", "server", p.dirs[1], "127.0.0.1:0"
	cfg.Link.Broker, cfg.Link.Token, cfg.HTTP.Tokens, cfg.Journal.BallastMiB = p.mqtt, "hunter2-link", []string{"hunter2-till"}, 0
	a, err := agent.New(cfg, agent.Deps{Log: zerolog.Nop(), Version: "1.0", Timing: p.timing})
	if err != nil {
		p.t.Fatal(err)
	}
	p.stops[1] = running(p.t, a.Run)
	<-a.Ready()
	p.till = "http://" + a.HTTPAddr()
}

func (p *pair) call(method, url, body string, into any) int {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer hunter2-till")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read below
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	switch to := into.(type) {
	case nil:
	case *[]byte:
		*to = b
	default:
		if err := json.Unmarshal(b, into); err != nil {
			p.t.Fatalf("%s %s: %v\n%s", method, url, err, b)
		}
	}
	return res.StatusCode
}

func (p *pair) sell(from, n int) {
	p.t.Helper()
	for k := range n {
		body := fmt.Sprintf(`{"document_id":"D%d","register":"1","occurred_at":"2026-11-23T10:15:02+01:00","lines":[{"sku":"ART-1","quantity":1,"uom":"EA"}]}`, from+k)
		if code := p.call(http.MethodPost, p.till+"/v1/sales", body, nil); code != http.StatusCreated {
			p.t.Fatalf("till was answered %d", code)
		}
	}
}

func (p *pair) sold(n int) {
	p.t.Helper()
	wait(p.t, fmt.Sprintf("%d sold", n), func() string {
		var v struct {
			Locations []struct {
				OnHand json.Number `json:"on_hand"`
			} `json:"locations"`
		}
		if p.call(http.MethodGet, p.base+"/v1/availability/ART-1", "", &v) == http.StatusOK && len(v.Locations) == 1 && v.Locations[0].OnHand.String() == fmt.Sprint(-n) {
			return ""
		}
		return fmt.Sprintf("%+v", v)
	})
}

// ended waits for a command's end.
func (p *pair) ended(id, state, reason string) {
	p.t.Helper()
	wait(p.t, id+" "+state, func() string {
		var v struct {
			Commands []protocol.CommandState `json:"commands"`
		}
		p.call(http.MethodGet, p.base+"/v1/stores/S1/agents/server/commands", "", &v)
		for _, c := range v.Commands {
			if c.CommandID == id && c.State == state && strings.Contains(c.Reason, reason) && (c.Kind != protocol.CommandBundle || c.Bundle == (state == protocol.CommandDone)) {
				return ""
			}
		}
		return fmt.Sprintf("%+v", v.Commands)
	})
}

// TestOrders goes from the API to the agent and back, over restarts of both: desired
// state is applied or refused whole, commands are done once and their results are
// events, and a replay counts nothing twice.
func TestOrders(t *testing.T) {
	p := &pair{t: t, dirs: [2]string{t.TempDir(), t.TempDir()}, timing: quick}
	p.timing.Heartbeat = 100 * time.Millisecond
	p.aggregator()
	defer func() { p.stops[0]() }()
	agents := p.base + "/v1/stores/S1/agents/server"
	if code := p.call(http.MethodPost, agents+"/commands", `{"kind":"replay","from_seq":1}`, nil); code != http.StatusNotFound {
		t.Errorf("a command to nobody: %d", code)
	}
	p.agent()
	defer func() { p.stops[1]() }()
	p.sell(1, 20)
	p.sold(20)

	var st protocol.DesiredState
	for _, values := range []string{`{"heartbeat_s":7}`, `{"heartbeat_s":6,"agent_version":"1.1"}`} {
		if code := p.call(http.MethodPut, agents+"/desired", `{"values":`+values+`}`, &st); code != http.StatusOK {
			t.Fatalf("%d %+v", code, st)
		}
		version := st.Version
		wait(t, "desired "+values, func() string {
			st = protocol.DesiredState{}
			p.call(http.MethodGet, agents+"/desired", "", &st)
			if st.AppliedVersion == version && st.Refused == "" {
				return ""
			}
			return fmt.Sprintf("%+v", st)
		})
	}
	var wrong protocol.Problem
	if code := p.call(http.MethodPut, agents+"/desired", `{"values":{"heartbeat_s":9,"colour":"red"}}`, &wrong); code != http.StatusUnprocessableEntity || len(wrong.Errors) != 1 || wrong.Errors[0].Pointer != "/values/colour" {
		t.Errorf("an unknown key: %d %+v", code, wrong)
	}
	if code := p.call(http.MethodPut, agents+"/desired", `{"values":{"heartbeat_s":9},"if_version":3}`, &wrong); code != http.StatusConflict || wrong.Code != "desired_changed" {
		t.Errorf("on top of a version that is not there: %d %+v", code, wrong)
	}

	p.refusedIsAnIncident(agents)
	var cmd protocol.CommandState
	if code := p.call(http.MethodPost, agents+"/commands", `{"command_id":"r1","kind":"replay","from_seq":5}`, &cmd); code != http.StatusAccepted || cmd.State != protocol.CommandIssued {
		t.Fatalf("%d %+v", code, cmd)
	}
	p.ended("r1", protocol.CommandDone, "seq 5 to")
	p.sold(20)
	p.call(http.MethodPost, agents+"/commands", `{"command_id":"r1","kind":"replay","from_seq":5}`, &cmd)
	if cmd.State != protocol.CommandDone {
		t.Errorf("issued twice: %+v", cmd)
	}
	p.call(http.MethodPost, agents+"/commands", `{"command_id":"r2","kind":"replay","from_seq":9000}`, nil)
	p.ended("r2", protocol.CommandDone, "sent anyway")

	p.call(http.MethodPost, agents+"/commands", `{"command_id":"b1","kind":"support_bundle"}`, nil)
	p.ended("b1", protocol.CommandDone, "bytes")
	var b []byte
	if code := p.call(http.MethodGet, agents+"/commands/b1/bundle", "", &b); code != http.StatusOK {
		t.Fatalf("%d %s", code, b)
	}
	checkBundle(t, b)

	p.stops[1]() // while nobody is there: one that waits, and one whose time is over then
	p.call(http.MethodPost, agents+"/commands", `{"command_id":"late","kind":"replay","from_seq":1,"valid_s":1}`, nil)
	p.call(http.MethodPost, agents+"/commands", `{"command_id":"waits","kind":"replay","from_seq":1}`, nil)
	p.stops[0]()
	time.Sleep(1100 * time.Millisecond)
	p.aggregator() // the same address for agents, another for the API
	agents = p.base + "/v1/stores/S1/agents/server"
	p.agent()
	p.ended("late", protocol.CommandExpired, "too late")
	p.ended("waits", protocol.CommandDone, "offered again")
	p.sell(21, 5)
	p.sold(25)
	for _, bad := range []string{`{"kind":"format_disk"}`, `{"kind":"replay"}`, `{"kind":"replay","from_seq":1,"valid_s":-1}`, `{"kind":"replay","from_seq":1,"command_id":"../x"}`} {
		if code := p.call(http.MethodPost, agents+"/commands", bad, nil); code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", bad, code)
		}
	}
	if code := p.call(http.MethodGet, agents+"/commands/..%2f..%2fledger/bundle", "", nil); code != http.StatusNotFound {
		t.Errorf("a path as a command: %d", code)
	}
}

// refusedIsAnIncident sees that a desired state which the agent cannot keep is
// counted, and told to people, until that is put right.
func (p *pair) refusedIsAnIncident(agents string) {
	p.t.Helper()
	status := func() (codes string, refused uint64) {
		var v struct {
			Counters  map[string]uint64 `json:"counters"`
			Incidents []protocol.Incident
		}
		p.call(http.MethodGet, agents, "", &v)
		for _, in := range v.Incidents {
			codes += in.Code + " "
		}
		return codes, v.Counters["desired_refused"]
	}
	kept := filepath.Join(p.dirs[1], agent.OrdersFile)
	for _, c := range []struct {
		values string
		told   bool
		before func() error
	}{
		{`{"heartbeat_s":7}`, true, func() error {
			return errors.Join(os.Remove(kept), os.MkdirAll(filepath.Join(kept, "in-the-way"), 0o700))
		}},
		{`{"heartbeat_s":6}`, false, func() error { return os.RemoveAll(kept) }},
	} {
		if err := c.before(); err != nil {
			p.t.Fatal(err)
		}
		p.call(http.MethodPut, agents+"/desired", `{"values":`+c.values+`}`, nil)
		wait(p.t, "incident of "+c.values, func() string {
			codes, refused := status()
			if strings.Contains(codes, "desired_state_refused") == c.told && refused > 0 {
				return ""
			}
			return fmt.Sprintf("%s, %d refused", codes, refused)
		})
	}
}

func checkBundle(t *testing.T, b []byte) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if err == io.EOF { //nolint:errorlint // tar's own
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || !json.Valid(text) {
			t.Errorf("%s: %v\n%s", h.Name, err, text)
		}
		if strings.Contains(string(text), "hunter2") {
			t.Errorf("%s holds a secret:\n%s", h.Name, text)
		}
		names = append(names, h.Name)
	}
	if got := strings.Join(names, " "); got != "agent.json journal.json link.json config.json counters.json" {
		t.Error(got)
	}
}
