package fleet

import (
	"strings"
	"testing"
	"time"

	"tillwire/protocol"
)

func TestIncidentsOfTheChain(t *testing.T) {
	var kept []byte
	f := New(Options{Keep: func(b []byte) { kept = b }})
	f.Chain(CodeBackupFailed, "")
	f.Chain(CodeBackupFailed, "no room")
	f.Chain(CodeBackupFailed, "still no room")
	f.StandChain(CodeCloudRolledBack, "2", "an old disk")
	f.StandChain(CodeCloudRolledBack, "2", "told twice")
	f.Publish()
	n := f.Snapshot()
	if len(n.Chain) != 2 || n.Incidents != 2 || n.Chain[0].Summary != "still no room" || n.Chain[0].Remedy == "" || n.Chain[1].Summary != "an old disk" || len(n.Stores) != 0 {
		t.Fatalf("%+v", n)
	}
	f.Chain(CodeBackupFailed, "")
	f.Publish()
	if got := f.ChainIncidents(); len(got) != 1 || len(n.Chain) != 2 {
		t.Errorf("%d open, %d in the snapshot before", len(got), len(n.Chain))
	}
	again := New(Options{SafeCoveredBy: "backup"})
	if err := again.Restore(kept); err != nil {
		t.Fatal(err)
	}
	again.Publish()
	v := again.View(0)
	if len(v.Chain) != 1 || len(v.Tiles) != 0 || v.SafeCoveredBy != "backup" {
		t.Fatalf("after a restart: %+v", v)
	}
	in := ChainIncident(CodeCloudRestored, "3", "words", time.UnixMicro(5))
	if in.Store != protocol.ChainStore || !strings.HasPrefix(in.ID, CodeCloudRestored+"/CHAIN/") {
		t.Errorf("%+v", in)
	}
	if !again.Acknowledge(v.Chain[0].ID) {
		t.Error("it cannot be closed")
	}
	again.Publish()
	if len(again.ChainIncidents()) != 0 {
		t.Error("it stays")
	}
}

func TestSafeIsToldOfTheMark(t *testing.T) {
	f := New(Options{})
	o := protocol.Origin{Store: "S1", Agent: "server"}
	f.Heartbeat(o, &protocol.Heartbeat{Epoch: 1, Lease: 1, Head: 9, Merged: 9, Safe: 7}, 1)
	f.Safe(o, 4)
	f.Publish()
	s, ok := f.Status("S1")
	if !ok || s.SafeSeq != 4 || s.SafeCoveredBy != "none" || s.Agents[0].SafeCoveredBy != "none" {
		t.Errorf("%+v", s)
	}
}
