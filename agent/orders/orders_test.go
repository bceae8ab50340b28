package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// host is an agent's surroundings whose parts can fail.
type host struct {
	mu       sync.Mutex
	kept     []byte
	journal  []string // document ids and reasons, as they were journaled
	ids      map[protocol.EventID]bool
	applied  []Settings
	done     []string
	failKeep error
	failWith error
	failDisk error
}

func (h *host) options() Options {
	return Options{
		Origin: protocol.Origin{Store: "S1", Agent: "server"}, Log: zerolog.Nop(), Now: time.Now, Kept: h.kept,
		Keep: func(b []byte) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.failKeep == nil {
				h.kept = b
			}
			return h.failKeep
		},
		Append: func(_ context.Context, e *protocol.Event) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.failDisk != nil {
				return h.failDisk
			}
			if h.ids == nil {
				h.ids = map[protocol.EventID]bool{}
			}
			if !h.ids[e.ID] {
				h.ids[e.ID] = true
				h.journal = append(h.journal, e.DocumentID+" "+e.Reason)
			}
			return nil
		},
		Apply:  func(s Settings) { h.applied = append(h.applied, s) },
		Replay: func(_ context.Context, from uint64) (string, error) { return h.carry(fmt.Sprintf("replay %d", from)) },
		Bundle: func(_ context.Context, id string) (string, error) { return h.carry("bundle " + id) },
	}
}

func (h *host) carry(what string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = append(h.done, what)
	return what, h.failWith
}

// work runs x until nothing is left to do.
func work(t *testing.T, x *Orders, commands ...protocol.Command) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	for i := range commands {
		x.Command(&commands[i])
		x.Command(&commands[i]) // told twice at once
		synctest.Wait()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func command(id, kind string) protocol.Command {
	return protocol.Command{V: 1, CommandID: id, CommandSeq: 1, Kind: kind, FromSeq: 7, NotAfterUS: time.Now().Add(time.Hour).UnixMicro()}
}

func TestCommandsAreDoneOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{}
		late := command("c3", protocol.CommandReplay)
		late.NotAfterUS = time.Now().UnixMicro() - 5_000_000
		all := []protocol.Command{command("c1", protocol.CommandReplay), command("c2", protocol.CommandBundle), late, command("c4", "format_disk"), command("no/id", protocol.CommandReplay)}
		work(t, New(h.options()), all...)
		work(t, New(h.options()), all...) // after a restart, all told again
		want := []string{"c1:accepted ", "c1:done replay 7", "c2:accepted ", "c2:done bundle c2", "c3:expired it came 5 s too late", `c4:refused this agent does not know commands of kind "format_disk"`}
		if got := strings.Join(h.journal, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("journaled:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
		}
		x := New(h.options())
		work(t, x, command("c5", "x"), command("no/id", "x"))
		if n := x.Counts(); n != (Counts{CommandsRefused: 2 + 1}) {
			t.Errorf("%+v", n)
		}
		if got := strings.Join(h.done, ", "); got != "replay 7, bundle c2" {
			t.Errorf("done: %s", got)
		}
	})
}

// TestCommandsFailSafely breaks each step: nothing is done that is not journaled as
// accepted first, and what was not kept is told again.
func TestCommandsFailSafely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		h := &host{failDisk: boom}
		c := command("c1", protocol.CommandReplay)
		work(t, New(h.options()), c)
		if len(h.done) != 0 || len(h.journal) != 0 {
			t.Errorf("done %v without a journal %v", h.done, h.journal)
		}
		h.failDisk, h.failKeep = nil, boom
		work(t, New(h.options()), c)
		if got := strings.Join(h.journal, ", "); got != "c1:accepted " {
			t.Errorf("a result that was not kept is told: %s", got)
		}
		h.failKeep, h.failWith = nil, boom
		work(t, New(h.options()), c)
		if got := strings.Join(h.journal, ", "); got != "c1:accepted , c1:failed boom" {
			t.Error(got)
		}
		h.failWith = nil
		work(t, New(h.options()), c) // it failed: that is its result
		if len(h.done) != 2 || len(h.journal) != 2 {
			t.Errorf("%v, %v", h.done, h.journal)
		}
		h.kept = []byte("{not JSON")
		work(t, New(h.options()), command("c2", protocol.CommandBundle))
		if got := h.journal[len(h.journal)-1]; got != "c2:done bundle c2" {
			t.Error(got)
		}
	})
}

func TestDesiredStateIsAppliedWholeOrNotAtAll(t *testing.T) {
	h := &host{}
	x := New(h.options())
	want := func(version uint64, why string, settings int) {
		t.Helper()
		v, refused := x.State()
		if v != version || !strings.Contains(refused, why) || (why == "") != (refused == "") || len(h.applied) != settings {
			t.Errorf("version %d refused %q, %d applied; want %d, %q, %d", v, refused, len(h.applied), version, why, settings)
		}
	}
	desired := func(version uint64, values string) {
		d := &protocol.Desired{V: 1, Version: version}
		if err := json.Unmarshal([]byte(values), &d.Values); err != nil {
			t.Fatal(err)
		}
		x.Desired(d)
	}
	desired(5, `{"heartbeat_s":10,"agent_version":"1.2"}`)
	want(5, "", 1)
	desired(6, `{"heartbeat_s":20,"colour":"red"}`)
	want(5, `version 6: "colour" is not known`, 1)
	for n, bad := range []string{`{"heartbeat_s":4}`, `{"heartbeat_s":"ten"}`, `{"agent_version":""}`, `{"heartbeat_s":10,"agent_version":"` + strings.Repeat("x", 2000) + `"}`} {
		desired(uint64(7+n), bad)
		want(5, fmt.Sprintf("version %d", 7+n), 1)
	}
	desired(5, `{"heartbeat_s":30}`) // told again, whatever it says
	desired(4, `{"heartbeat_s":30}`)
	h.failKeep = errors.New("boom")
	desired(20, `{}`)
	want(5, "boom", 1)
	h.failKeep = nil
	desired(21, `{}`)
	want(21, "", 2)
	if h.applied[0] != (Settings{10, "1.2"}) || h.applied[1] != (Settings{}) {
		t.Errorf("%+v", h.applied)
	}
	x = New(h.options())
	want(21, "", 3) // a restart applies what was kept
}

func FuzzDesired(f *testing.F) {
	f.Add([]byte(`{"v":1,"version":3,"values":{"heartbeat_s":10,"agent_version":"1"}}`))
	f.Add([]byte(`{"v":1,"version":18446744073709551615,"values":{"x":null}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d protocol.Desired
		if protocol.DecodeControl(b, &d) != nil {
			return
		}
		s, why := parse(&d)
		if why != "" && s != (Settings{}) || s.HeartbeatS != 0 && (s.HeartbeatS < 5 || s.HeartbeatS > 30) || why == "" && len(d.Values) > 2 {
			t.Errorf("%+v, %q", s, why)
		}
		h := &host{}
		x := New(h.options())
		x.Desired(&d)
		if v, refused := x.State(); (v != 0) == (refused != "") && d.Version != 0 {
			t.Errorf("version %d, refused %q", v, refused)
		}
	})
}
