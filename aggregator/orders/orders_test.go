package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"tillwire/protocol"
)

func raw(values ...string) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for i := 0; i+1 < len(values); i += 2 {
		m[values[i]] = json.RawMessage(values[i+1])
	}
	return m
}

func TestDesired(t *testing.T) {
	o := &Orders{}
	if err := o.Want(raw("heartbeat_s", "10"), nil, "ann", 1000); err != nil || o.Desired.Version != 1001 {
		t.Fatal(err, o.Desired)
	}
	if err := o.Want(raw("heartbeat_s", "10"), nil, "bob", 2000); err != nil || o.Desired.Version != 1001 || o.DesiredBy != "ann" {
		t.Error("a repeat makes a version", o.Desired)
	}
	for _, bad := range []map[string]json.RawMessage{raw("", "1"), raw("a b", "1"), raw("a", "{"), raw("heartbeat_s", "10", "colour", `"red"`), raw("heartbeat_s", "4")} {
		if err := o.Want(bad, nil, "ann", 3000); !errors.Is(err, ErrInvalid) || o.Desired.Version != 1001 {
			t.Errorf("%v: %v", bad, err)
		}
	}
	read := uint64(0)
	if err := o.Want(raw("heartbeat_s", "12"), &read, "bob", 3000); !errors.Is(err, ErrChanged) || o.Desired.Version != 1001 {
		t.Errorf("what ann wanted is overwritten: %v", err)
	}
	d, _ := o.Due(false, 4000)
	if d == nil || d.Version != 1001 {
		t.Fatal("not sent")
	}
	if d, _ = o.Due(false, 5000); d != nil {
		t.Error("sent twice at once")
	}
	if d, _ = o.Due(true, 6000); d == nil {
		t.Error("not sent at a session's begin")
	}
	if d, _ = o.Due(false, 6000+resendUS); d == nil {
		t.Error("not sent again")
	}
	o.Heard(0, "no such key")
	if d, _ = o.Due(false, 9e9); d != nil {
		t.Error("sent again to one who refused it")
	}
	o.Heard(1001, "")
	if d, _ = o.Due(true, 9e9); d != nil || o.State().AppliedVersion != 1001 {
		t.Error("sent though it is applied")
	}
	// An agent that has met a version which this ledger has lost: the next is above.
	o.Heard(99_000, "")
	if err := o.Want(raw("heartbeat_s", "11"), nil, "ann", 10); err != nil || o.Desired.Version <= 99_000 {
		t.Error(err, o.Desired.Version)
	}
	read = o.Desired.Version
	if err := o.Want(raw("heartbeat_s", "12"), &read, "bob", 20); err != nil || o.DesiredBy != "bob" {
		t.Error(err, o.DesiredBy)
	}
}

func answer(id, state, reason string) *protocol.Event {
	return &protocol.Event{Kind: protocol.KindCommand, DocumentID: protocol.CommandDocumentID(id, state), Action: state, Reason: reason}
}

func TestCommandsEndOnce(t *testing.T) {
	o := &Orders{}
	hour := time.Hour.Microseconds()
	for _, bad := range []protocol.Command{
		{Kind: "format_disk", NotAfterUS: hour},
		{Kind: protocol.CommandReplay, NotAfterUS: hour},
		{Kind: protocol.CommandBundle, NotAfterUS: -1},
		{Kind: protocol.CommandBundle, NotAfterUS: 10 * ValidMax.Microseconds()},
	} {
		if _, err := o.Issue(bad, "ann", 0); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	c, err := o.Issue(protocol.Command{CommandID: "c1", Kind: protocol.CommandReplay, FromSeq: 3, NotAfterUS: hour}, "ann", 0)
	if err != nil || c.CommandSeq != 1 || c.State != protocol.CommandIssued {
		t.Fatal(err, c)
	}
	for _, k := range []struct {
		id, state string
		keep      bool
		then      string
	}{
		{"c2", "done", false, "issued"},
		{"c1", "nonsense", false, "issued"},
		{"c1", "issued", false, "issued"},
		{"c1", "accepted", true, "accepted"},
		{"c1", "accepted", false, "accepted"},
		{"c1", "done", true, "done"},
		{"c1", "failed", false, "done"},
		{"c1", "accepted", false, "done"},
	} {
		if keep := o.Told(answer(k.id, k.state, "because"), 5); keep != k.keep || o.Find("c1").State != k.then {
			t.Errorf("%+v: %v, %s", k, keep, o.Find("c1").State)
		}
	}
	if _, cs := o.Due(true, 1); len(cs) != 0 {
		t.Error("an ended command is sent")
	}
	if v := o.Find("c1").View(); v.Reason != "because" || v.EndedAt == nil {
		t.Errorf("%+v", v)
	}
	for n := range 1000 {
		id := fmt.Sprint("x", n)
		if _, err := o.Issue(protocol.Command{CommandID: id, Kind: protocol.CommandBundle, NotAfterUS: hour}, "ann", 0); err != nil {
			t.Fatal(err)
		}
		o.Told(answer(id, "done", ""), 6)
	}
	if len(o.Commands) != keptMax || o.LastSeq != 1001 {
		t.Errorf("%d kept, last seq %d", len(o.Commands), o.LastSeq)
	}
	for n := range openMax {
		if _, err := o.Issue(protocol.Command{CommandID: fmt.Sprint("y", n), Kind: protocol.CommandBundle, NotAfterUS: hour}, "ann", 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Issue(protocol.Command{CommandID: "z", Kind: protocol.CommandBundle, NotAfterUS: hour}, "ann", 0); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	b, err := json.Marshal(o)
	var again Orders
	if err != nil || json.Unmarshal(b, &again) != nil || len(again.Commands) != keptMax || again.LastSeq != o.LastSeq {
		t.Error(err, len(again.Commands))
	}
	if _, cs := again.Due(true, 1); len(cs) != openMax || cs[0].CommandID != "y0" || cs[0].V != 1 {
		t.Errorf("after a restart %d are due", len(cs))
	}
}
