package chaos

import (
	"context"
	"math"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/ingest"
	"tillwire/aggregator/merge"
	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// cloud is the aggregator: the real ingest, worked by hand, over a ledger whose
// commits may fail, and which may be lost.
type cloud struct {
	w       *world
	img     *ledgerImage
	ledger  *memory
	in      *ingest.Ingest
	up      bool
	dead    bool // killed inside a commit: what it still says is not heard
	life    int
	turn    bool // Turn is planned
	backed  bool
	backup  *ledgerImage // newest that counts
	vm      *ledgerImage // a machine's snapshot, never older than the backup
	covered map[protocol.Origin]ledger.Mark
	fail    []fate // of the next commits
	offset  int64  // of its clock
	everUS  int64  // between backups
	highest uint64 // generation ever told
}

func newCloud(w *world) *cloud {
	r := stream(w.c.Seed, "cloud")
	return &cloud{
		w: w, img: newLedgerImage(), backed: r.IntN(4) != 0 || w.c.Faults&(CloudRestore|CloudRollback) != 0,
		everUS: hour/2 + int64(r.Float64()*float64(3*hour)), covered: map[protocol.Origin]ledger.Mark{},
		offset: int64(r.NormFloat64() * float64(2*second)),
	}
}

func (c *cloud) reachable() bool { return c.up || c.w.net.external }

func (c *cloud) start() {
	w := c.w
	c.life++
	c.dead, c.turn = false, false
	c.ledger = openMemory(c.img, c.fate)
	in, err := ingest.ByHand(ingest.Options{
		Ledger: c.ledger, Codec: w.codec, Log: zerolog.Nop(), Now: func() time.Time { return time.UnixMicro(w.now + c.offset) },
		Send: c.send, Cells: func([]ingest.Position) {}, Merged: func(protocol.Origin, ledger.Mark, int) {},
		Refused: func(protocol.Origin, protocol.NackReason, string) {}, Copies: c.copies,
		CheckpointEvery: 64, Backed: c.backed, Rules: reconcile.DefaultRules(),
	})
	if err != nil {
		w.violate("D", "the aggregator does not start over its own ledger: %v", err)
		return
	}
	c.in, c.up = in, true
	w.log("aggregator starts: %d entries, generation %d", c.ledger.Head(), in.Generation())
	c.plan()
}

// stop kills it. Whatever stood in its queue is gone.
func (c *cloud) stop(why string, downUS int64) {
	w := c.w
	if !c.up {
		return
	}
	c.up, c.in = false, nil
	w.n.CloudCrashes++
	w.log("aggregator dies: %s", why)
	if !w.net.external {
		for _, h := range w.hosts {
			w.net.cut(h, "the broker went away")
		}
	}
	life := c.life
	w.after(downUS, func() {
		if c.life == life && !c.up {
			c.start()
		}
	})
}

// fate decides a commit's end: an earlier blow has asked for it.
func (c *cloud) fate(*ledger.Batch) fate {
	c.w.n.Commits++
	if len(c.fail) == 0 || c.w.healed {
		return fateDone
	}
	f := c.fail[0]
	c.fail = c.fail[1:]
	return f
}

// hear takes a message at the door.
func (c *cloud) hear(o protocol.Origin, ch protocol.Channel, payload []byte) {
	if !c.up {
		c.w.n.Lost++
		return
	}
	nowUS := c.w.now + c.offset
	switch ch { //nolint:exhaustive // what agents say
	case protocol.UpHello:
		_ = c.in.Hello(o, payload) // a full queue is asked again by time-outs
	case protocol.UpJournal:
		_ = c.in.Frame(o, payload, nowUS)
	case protocol.UpDigest:
		_ = c.in.Digest(o, payload)
	case protocol.UpHeartbeat:
		var hb protocol.Heartbeat
		if protocol.DecodeControl(payload, &hb) == nil {
			_ = c.in.Heartbeat(o, &hb)
		}
	}
	c.plan()
}

// plan has the writer work soon, so that messages share commits.
func (c *cloud) plan() {
	if c.turn {
		return
	}
	c.turn = true
	life := c.life
	c.w.after(c.w.about(5_000), func() {
		if c.life == life && c.up {
			c.work()
		}
	})
}

func (c *cloud) work() {
	c.turn = false
	if _, err := c.in.Turn(); err != nil {
		c.stop("its ledger failed", second+c.w.about(5*second))
		return
	}
	if c.dead {
		c.stop("killed between commit and answer", second+c.w.about(5*second))
	}
}

// send is what the ingest says down. It is checked against the ledger: what is
// told must be durable.
func (c *cloud) send(o protocol.Origin, ch protocol.Channel, payload []byte) error {
	w := c.w
	if c.dead {
		return nil
	}
	switch ch { //nolint:exhaustive // only what speaks of marks
	case protocol.DnAck:
		var a protocol.Ack
		if protocol.DecodeControl(payload, &a) == nil && a.Nack == protocol.NackNone {
			c.checkTold(o, a.Epoch, a.MergedSeq, a.SafeSeq)
		}
	case protocol.DnWelcome:
		var m protocol.Welcome
		if protocol.DecodeControl(payload, &m) == nil && m.Refused == "" {
			c.highest = max(c.highest, m.Generation)
			if m.Rebase {
				w.n.Rebases++
			}
			w.log("aggregator welcomes %s: epoch %d lease %d merged %d safe %d generation %d rebase %v", o, m.Epoch, m.Lease, m.MergedSeq, m.SafeSeq, m.Generation, m.Rebase)
			c.checkTold(o, m.Epoch, m.MergedSeq, m.SafeSeq)
		}
	}
	w.net.down(o, ch, payload)
	if w.has(KillCloud) && w.chance(0.002) {
		c.dead = true
	}
	return nil
}

func (c *cloud) checkTold(o protocol.Origin, epoch, merged, safe uint64) {
	ok := false
	for origin, m := range c.img.marks { // one of the journals that answer to the name
		if origin.Store == o.Store && m.Epoch == epoch && m.Seq >= merged {
			ok = true
		}
	}
	if !ok {
		c.w.violate("A", "%s is told that seq %d of epoch %d is merged; the ledger's file does not hold it", o, merged, epoch)
	}
	if safe > merged {
		c.w.violate("P", "%s is told safe %d beyond merged %d", o, safe, merged)
	}
}

// copies has a person pick one of two that share a name.
func (c *cloud) copies(v protocol.Copies) {
	w := c.w
	if v.State != protocol.CopiesQuarantined || len(v.Copies) == 0 {
		return
	}
	pick := v.Copies[w.rng.IntN(len(v.Copies))].BootID
	o := protocol.Origin{Store: v.Store, Agent: v.Agent}
	wait := 5*minute + w.about(5*minute)
	if w.healed {
		wait = minute
	}
	w.after(wait, func() {
		if c.up && !c.dead {
			_, _ = c.in.PickCopy(context.Background(), o, pick, "simulated person") // picked already, or gone: asked again
			c.after()
		}
	})
}

// after looks at what a call that worked the writer came to.
func (c *cloud) after() {
	if c.ledger.failed {
		c.stop("its ledger failed", second+c.w.about(5*second))
	} else if c.dead {
		c.stop("killed between commit and answer", second+c.w.about(5*second))
	}
}

// back takes a backup, which counts when it was verified a while later.
func (c *cloud) back() {
	w := c.w
	if c.backed && c.up && !c.dead {
		img := c.img.copy()
		life := c.life
		w.after(w.about(2*minute), func() {
			if c.up && !c.dead && c.life == life {
				c.backup = img
				if c.vm == nil || len(c.vm.entries) < len(img.entries) {
					c.vm = img
				}
				marks, _ := openMemory(img, nil).Marks()
				_ = c.in.Covered(context.Background(), marks)
				w.log("backup of %d entries counts", len(img.entries))
				c.after()
			}
		})
	}
	w.after(c.everUS, c.back)
}

// restore brings the ledger back from its newest backup, as the command does: the
// generation rises, and what the backup holds is safe.
func (c *cloud) restore(told bool, downUS int64) {
	w := c.w
	from := c.backup
	if !told {
		from = c.vm
	}
	if from == nil || len(from.entries) < len(c.backup.entries) {
		return
	}
	c.stop("its disk is lost", downUS)
	w.n.Restores++
	old := c.img
	c.img = from.copy()
	if told {
		g := c.highest
		if b := c.img.facts[ingest.FactGeneration]; len(b) == 8 {
			g = max(g, uint64(b[7])|uint64(b[6])<<8|uint64(b[5])<<16|uint64(b[4])<<24)
		}
		c.img.facts[ingest.FactGeneration] = ingest.EncodeGeneration(max(g, 1) + 1)
		for o, m := range c.img.marks {
			m.SafeSeq = m.Seq
			c.img.marks[o] = m
		}
	}
	w.log("ledger set back from %d to %d entries, told: %v", len(old.entries), len(c.img.entries), told)
	c.ledger = openMemory(c.img, c.fate)
	for _, s := range w.shops {
		s.ledgerLost(c.ledger.ids)
	}
}

// markOf is how far a journal is merged: under its own name, or under the one that a
// copy was given.
func (c *cloud) markOf(o protocol.Origin, chain protocol.Chain) ledger.Mark {
	marks, _ := c.ledger.Marks()
	for _, m := range marks {
		if m.Origin.Store == o.Store && m.Chain == chain {
			return m
		}
	}
	return c.img.marks[o]
}

// onHand is what the fold says.
func (c *cloud) onHand(f *ingest.Fold, store protocol.StoreID, sku protocol.SKU) protocol.Quantity {
	cell, _ := f.CellAt(store, sku)
	return cell.OnHand
}

// position asks the running ingest.
func (c *cloud) positions() map[string]protocol.Quantity {
	out := map[string]protocol.Quantity{}
	c.in.Each(func(p ingest.Position) { out[cellName(p.Cell)] = p.OnHand })
	return out
}

func cellName(c merge.Cell) string { return string(c.Location) + "/" + string(c.SKU) }

const never = math.MaxInt64
