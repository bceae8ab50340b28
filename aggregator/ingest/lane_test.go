package ingest

import (
	"context"
	"strings"
	"testing"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// announce sends what the records after..asOf come to, changed at will.
func (r *rig) announce(a *agentSide, after, asOf int, change func(*protocol.Digest)) {
	r.t.Helper()
	d := &protocol.Digest{Epoch: a.w.Epoch, Lease: a.w.Lease, After: uint64(after), AsOf: uint64(asOf), AsOfUS: int64(asOf) * 1e6, Chain: a.chain[asOf]}
	f := protocol.NewDigestFold(d)
	var e protocol.Event
	for seq := after + 1; seq <= asOf; seq++ {
		us, err := protocol.DecodeRecord(a.recs[seq-1], &e)
		if err != nil {
			continue
		}
		f.Add(&e, uint64(seq), us)
	}
	d.Rows = f.Rows()
	if change != nil {
		change(d)
	}
	for _, p := range protocol.SplitDigest(d) {
		b, err := r.codec.AppendDigest(nil, p)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := r.in.Digest(a.o, b); err != nil {
			r.t.Fatal(err)
		}
	}
	r.flush()
}

// flush waits until what was queued is done and shown.
func (r *rig) flush() {
	r.t.Helper()
	if err := r.in.call(context.Background(), func(*Ingest, int64) error { return nil }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) incidents(code string) (out []string) {
	r.t.Helper()
	list, err := r.ledger.Exceptions(ledger.Filter{Code: code, Limit: 100})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, x := range list {
		out = append(out, x.Reason)
	}
	return out
}

// backlog is an agent of which two sales are merged and four wait.
func backlog(t *testing.T) (*rig, *agentSide) {
	t.Helper()
	r, a := newRig(t), newAgent("S1")
	a.sale("1", "X", 1)
	a.sale("2", "Y", 1)
	r.hello(a)
	r.send(a, 1, 2)
	for _, d := range []string{"3", "4", "5", "6"} {
		a.sale(d, "X", 10)
	}
	return r, a
}

func units(x, y int64) map[string]protocol.Quantity {
	return map[string]protocol.Quantity{"S1/X": protocol.Units(x), "S1/Y": protocol.Units(y)}
}

func TestAnnouncedBacklogIsShownAtOnceAndNeverTwice(t *testing.T) {
	r, a := backlog(t)
	r.want(units(-1, -1))
	r.announce(a, 2, 6, nil)
	r.want(units(-41, -1))
	r.send(a, 3, 4)
	r.want(units(-41, -1))
	r.send(a, 3, 4) // delivered twice
	r.want(units(-41, -1))
	x, err := r.in.Explain(context.Background(), "X", "S1", merge.Question{Limit: 10})
	if err != nil || x.OnHand != protocol.Units(-41) || len(x.OnTheWay) != 1 || x.OnTheWay[0].OnHand != protocol.Units(-20) || !strings.Contains(x.Sum, "− 20 announced by server and on its way") {
		t.Errorf("%+v, %v", x, err)
	}
	sum := x.Rest + x.OnTheWay[0].OnHand
	for _, l := range x.Lines {
		sum += l.Effect
	}
	if sum != x.OnHand {
		t.Errorf("the lines come to %s, on hand is %s", sum, x.OnHand)
	}
	r.send(a, 5, 6)
	r.want(units(-41, -1))
	if s := r.in.Stats(); s.Digests != 1 || s.DigestsKept != 1 || s.DigestsWrong+s.DigestsDropped != 0 {
		t.Errorf("%+v", s)
	}
	if len(r.incidents("digest_mismatch")) > 0 {
		t.Error("an incident without a cause")
	}
}

// What was announced is forgotten with its session: the next HELLO announces anew.
func TestAnnouncementEndsWithItsSession(t *testing.T) {
	r, a := backlog(t)
	r.announce(a, 2, 6, nil)
	r.want(units(-41, -1))
	r.hello(a)
	r.flush()
	r.want(units(-1, -1))
	r.announce(a, 2, 6, nil)
	r.want(units(-41, -1))
}

func TestDigestsOfAnotherMomentAreDropped(t *testing.T) {
	for name, change := range map[string]func(*protocol.Digest){
		"an older lease":   func(d *protocol.Digest) { d.Lease-- },
		"another epoch":    func(d *protocol.Digest) { d.Epoch++ },
		"frames overtook":  func(d *protocol.Digest) { d.After = 1 },
		"ahead of a frame": func(d *protocol.Digest) { d.After = 3 },
	} {
		r, a := backlog(t)
		r.announce(a, 2, 6, change)
		r.want(units(-1, -1))
		if s := r.in.Stats(); s.Digests != 0 || s.DigestsDropped != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	r, a := backlog(t)
	if err := r.in.Digest(a.o, []byte("TWD1 nonsense")); err != nil {
		t.Fatal(err)
	}
	if s := r.in.Stats(); s.DigestsDropped != 1 {
		t.Errorf("nonsense: %+v", s)
	}
}

// A lying digest is shown while it lies, but never stays: the ledger has what came.
func TestDigestThatDoesNotComeTrueIsAnIncident(t *testing.T) {
	r, a := backlog(t)
	r.announce(a, 2, 6, func(d *protocol.Digest) { d.Rows[0].Net -= protocol.Units(5) })
	r.want(units(-46, -1))
	r.send(a, 3, 6)
	r.want(units(-41, -1))
	got := r.incidents("digest_mismatch")
	if len(got) != 1 || !strings.Contains(got[0], "X came to -40, -45 were announced") {
		t.Errorf("%q", got)
	}
	r, a = backlog(t)
	r.announce(a, 2, 6, func(d *protocol.Digest) { d.Chain[0]++ })
	r.send(a, 3, 6)
	if got := r.incidents("digest_mismatch"); len(got) != 1 || !strings.Contains(got[0], "hash chain") {
		t.Errorf("another chain: %q", got)
	}
}

// A record that cannot be read is parked, and neither side has it in its sums.
func TestDigestPassesOverWhatIsParked(t *testing.T) {
	r, a := backlog(t)
	a.raw([]byte{0x01, 0xff})
	a.sale("7", "Y", 2)
	r.announce(a, 2, 8, nil)
	r.want(units(-41, -3))
	r.send(a, 3, 8)
	r.want(units(-41, -3))
	if s := r.in.Stats(); s.DigestsKept != 1 || s.Parked != 1 {
		t.Errorf("%+v", s)
	}
}

// Two agents of one shop announce each its own; a count of one says nothing of
// what the other still has.
func TestAnnouncementsOfTwoAgentsAddUp(t *testing.T) {
	r, a := backlog(t)
	b := newAgent("S1")
	b.o.Agent = "till-02"
	r.hello(b)
	b.sale("b1", "X", 3)
	r.announce(a, 2, 6, nil)
	r.announce(b, 0, 1, nil)
	r.want(units(-44, -1))
	r.send(b, 1, 1)
	r.want(units(-44, -1))
	r.send(a, 3, 6)
	r.want(units(-44, -1))
}

// Cases and kits are announced as they are sold, and shown as what leaves the shelf.
func TestAnnouncedCasesAndKitsAreTakenApart(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	items := []*protocol.Item{
		{SKU: "X", Units: []protocol.UnitOfItem{{UOM: "CS", Factor: protocol.Units(6)}}},
		{SKU: "SET", Kit: []protocol.KitComponent{{SKU: "X", Quantity: protocol.Units(1)}, {SKU: "Y", Quantity: protocol.Units(2)}}},
	}
	_, refused, err := r.in.PutItems(context.Background(), items, "test")
	if err != nil || refused[0] != nil || refused[1] != nil {
		t.Fatalf("%v, %v", refused, err)
	}
	a.sale("1", "X", 1)
	a.sale("2", "Y", 1)
	r.hello(a)
	r.send(a, 1, 2)
	ev := protocol.Event{Kind: protocol.KindSale, Store: "S1", DocumentID: "3", EventTime: protocol.Stamp{US: 3e6}, Lines: []protocol.Line{
		{Line: 1, SKU: "X", Quantity: protocol.Units(2), UOM: "CS"}, {Line: 2, SKU: "SET", Quantity: protocol.Units(3)},
	}}
	ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
	a.raw(protocol.AppendRecord(nil, 3e6, &ev))
	r.announce(a, 2, 3, nil)
	r.want(units(-16, -7))
	r.send(a, 3, 3)
	r.want(units(-16, -7))
}
