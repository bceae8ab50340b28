package chaos

import (
	"errors"
	"slices"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// disk is a journal's file at two depths: what the system shows, and what a power
// cut leaves. A commit of bbolt writes pages and syncs them, then writes the meta
// page and syncs that; so a file is always as before a commit or as after it, and
// the only question is which, at each of the two depths.
type disk struct {
	cache    journal.Image
	durable  journal.Image
	old      []journal.Image // as it stood earlier: snapshots of the machine
	inFlight *journal.Image  // of the commit under way

	fail  int // of the next syncs
	full  bool
	until int64 // full until then
}

// killed is a process that died: what it had written of a commit is in the
// system's memory, or is not.
func (d *disk) killed(w *world) {
	if d.inFlight != nil && w.chance(0.5) {
		d.cache = *d.inFlight
	}
	d.inFlight = nil
}

// cut is a power cut. A commit under way may have reached the disk in time; a meta
// page torn in the middle is the old one, by its checksum.
func (d *disk) cut(w *world) {
	if d.inFlight != nil && w.chance(0.5) {
		d.durable = *d.inFlight
	}
	d.inFlight = nil
	d.cache = d.durable
}

var errDisk = errors.New("simulated: input/output error")

// work begins a commit of what waits, if none is on its way.
func (h *host) work() {
	if !h.running || h.busy || len(h.waiting) == 0 && !h.journal.Dirty() {
		return
	}
	if h.journal.Phase() == "full" {
		h.measure() // an append is what a recovered disk waits for
	}
	group := h.waiting
	h.waiting = nil
	events := make([]*protocol.Event, len(group))
	for i, r := range group {
		events[i] = r.ev
	}
	c, outcomes, err := h.journal.Begin(h.wall(), events)
	switch {
	case err != nil:
		for _, r := range group {
			h.reply(r, journal.Receipt{}, err)
		}
	case c == nil:
		for i, r := range group {
			h.reply(r, outcomes[i].Receipt, outcomes[i].Err)
		}
	default:
		h.write(c, func(err error, noSpace bool) {
			if err != nil {
				h.failed(group, noSpace)
				return
			}
			outcomes := c.Done()
			for i, r := range group {
				h.acked(r, outcomes[i])
			}
			h.recovered(false)
			h.tick()
		})
	}
}

// acked answers a till, and checks what it may be told: the record is on disk.
func (h *host) acked(r *request, o journal.Outcome) {
	if o.Err == nil {
		if d := &h.disk.durable; o.Receipt.Seq >= d.First+uint64(len(d.Values)) {
			h.w.violate("A", "%s answers seq %d to a till, which is not on disk", h, o.Receipt.Seq)
		}
	}
	h.reply(r, o.Receipt, o.Err)
}

// write takes a commit to the disk. done hears of it after the sync, unless the
// process has died by then.
func (h *host) write(c *journal.HandCommit, done func(err error, noSpace bool)) {
	w, d, life := h.w, &h.disk, h.generation
	h.busy = true
	d.inFlight = &c.Image
	w.after(w.about(3_000), func() {
		if h.generation != life || !h.running {
			return
		}
		h.busy, d.inFlight = false, nil
		switch {
		case d.full && w.now < d.until && len(c.Image.Values) > len(d.cache.Values):
			w.n.FailedCommits++
			done(errDisk, true)
		case d.fail > 0:
			d.fail--
			w.n.FailedCommits++
			// The data's sync failed: nothing is there. Or the meta page's: the commit
			// shows, and is on disk or not.
			if w.chance(0.6) {
				d.cache = c.Image
				if w.chance(0.3) {
					d.durable = c.Image
				}
			}
			w.log("%s: sync fails", h)
			done(errDisk, false)
		default:
			w.n.Commits++
			d.cache, d.durable = c.Image, c.Image
			done(nil, false)
		}
		if h.running && h.generation == life {
			h.work()
		}
	})
}

func (h *host) failed(group []*request, noSpace bool) {
	needs, err := h.journal.Failed(noSpace, false)
	for _, r := range group {
		h.reply(r, journal.Receipt{}, err)
	}
	h.need(needs)
}

// need does what the journal's machine asks for.
func (h *host) need(needs []journal.Need) {
	for _, n := range needs {
		switch n {
		case journal.NeedReopen:
			h.reopen()
		case journal.NeedQuarantine:
			h.salvage()
			h.reopen()
		case journal.NeedRetry:
			life := h.generation
			h.w.after(h.journal.Retry(), func() {
				if h.running && h.generation == life {
					h.reopen()
				}
			})
		case journal.NeedFreeBallast:
			h.journal.Ballast(false)
		case journal.NeedLayBallast:
			h.journal.Ballast(true)
		case journal.NeedTrim:
			h.trimAll(0)
		}
	}
}

// reopen reads the file again, and must then commit once.
func (h *host) reopen() {
	if h.busy {
		return
	}
	c, err := h.journal.Reopen()
	if err != nil {
		h.need(h.journal.Reopened(nil, err))
		return
	}
	h.write(c, func(err error, _ bool) {
		h.need(h.journal.Reopened(c, err))
		if err == nil {
			h.tick()
		}
	})
}

// salvage sets the damaged file aside and makes a new one of what is sound.
func (h *host) salvage() {
	w := h.w
	h.installs++
	before := h.disk.cache
	img, lost := journal.Salvage(before, h.installID(), h.wall())
	w.n.Salvages++
	w.log("%s salvages: %d records, lost %v", h, len(img.Values), lost)
	h.disk.cache, h.disk.durable = img, img
	w.diskChanged(h)
}

// flush writes marks that changed, a little later.
func (h *host) flush() {
	if h.flushAt > h.w.now {
		return
	}
	h.flushAt = h.w.now + second/2
	life := h.generation
	h.w.after(second/2, func() {
		if h.running && h.generation == life && h.journal.Dirty() {
			h.work()
		}
	})
}

// measure asks for free space.
func (h *host) measure() {
	if h.disk.full && h.w.now >= h.disk.until {
		h.disk.full = false
	}
	free := uint64(50)
	if h.disk.full {
		free = 1
	}
	h.need(h.journal.Disk(free, 100))
}

// trim drops what is safe and old.
func (h *host) trim() { h.trimAll(h.wall() - retention) }

func (h *host) trimAll(beforeUS int64) {
	if h.busy || h.journal == nil {
		return
	}
	c, ok := h.journal.TrimImage(beforeUS)
	if !ok {
		return
	}
	h.checkTrim(c)
	h.write(c, func(err error, noSpace bool) {
		if err != nil {
			h.failed(nil, noSpace)
			return
		}
		c.Trimmed()
		h.w.n.Trims++
		h.trimAll(beforeUS)
	})
}

// checkTrim: what goes must be in the ledger's file, and in the newest backup
// where there are backups.
func (h *host) checkTrim(c *journal.HandCommit) {
	w := h.w
	n := len(h.disk.cache.Values) - len(c.Image.Values)
	for _, s := range w.shops {
		if s.origin != h.origin {
			continue
		}
		s.trimmed(h, h.disk.cache.Values[:n])
	}
}

// blow strikes a host.
func (h *host) blow(b blow) {
	w, d := h.w, &h.disk
	switch b.kind { //nolint:exhaustive // those of the cloud and of tills are elsewhere
	case KillAgent:
		h.stop("killed", b.long)
		h.ended(b.kind, false)
	case PowerCut:
		h.power()
		h.stop("power cut", b.long)
		d.cache = d.durable
		h.ended(b.kind, false)
	case DiskError:
		d.fail = 1 + int(b.roll%4)
		h.ended(b.kind, false)
	case DiskFull:
		d.full, d.until = true, w.now+b.long
		w.after(b.long, func() { h.ended(b.kind, false) })
	case Rot:
		h.rot(b.roll)
		h.ended(b.kind, true)
	case Clock:
		h.skew(b)
	case Rollback:
		h.stop("set back to a snapshot", b.long)
		d.cache = d.old[b.roll%uint64(len(d.old))]
		d.durable = d.cache
		w.diskChanged(h)
		h.ended(b.kind, true)
	case Reinstall:
		h.stop("disk lost", b.long)
		h.installs++
		d.cache = journal.NewImage(h.installID(), h.wall())
		d.durable = d.cache
		d.old = []journal.Image{d.cache}
		w.diskChanged(h)
		h.ended(b.kind, true)
	case Outage:
		h.outageUntil = w.now + b.long
		w.net.cut(h, "outage")
		w.after(b.long, func() { h.ended(b.kind, true) })
	case OneWay, HalfOpen:
		if h.line != nil {
			h.line.up = b.kind == OneWay && b.roll&1 == 0
			h.line.down = b.kind == OneWay && b.roll&1 == 1
			w.log("%s: up %v, down %v", h, h.line.up, h.line.down)
			l := h.line
			w.after(b.long, func() { l.up, l.down = true, true; h.ended(b.kind, true) })
		}
	case Replay:
		if h.running && h.line != nil && h.journal != nil {
			st := h.journal.State()
			h.say(h.link.Replay(st.Tail + b.roll%(st.Head-st.Tail+2)))
		}
	}
}

// power cuts it.
func (h *host) power() { h.disk.cut(h.w) }

// rot flips a bit of a record that lies on disk.
func (h *host) rot(roll uint64) {
	d := &h.disk
	if n := uint64(len(d.cache.Values)); n > 0 && !h.busy {
		i := roll % n
		v := slices.Clone(d.cache.Values[i])
		v[(roll>>16)%uint64(len(v))] ^= 1 << (roll >> 40 % 8)
		d.cache.Values = slices.Clone(d.cache.Values)
		d.cache.Values[i] = v
		d.durable = d.cache
		h.w.log("%s: a bit of seq %d flips on disk", h, d.cache.First+i)
	}
}

// skew sets the agent's clock wrong for a while.
func (h *host) skew(b blow) {
	w := h.w
	by := []int64{-decade, decade, -2 * hour, 2 * hour, -hour, hour, -5 * minute}[b.roll%7]
	h.offset = by
	w.log("%s: clock jumps by %d s", h, by/second)
	w.after(b.long, func() {
		if h.offset == by {
			h.offset = 0
		}
		h.ended(b.kind, true)
	})
}

// snapshot keeps the disk as it is, for a rollback.
func (h *host) snapshot() {
	d := &h.disk
	if len(d.old) == 4 {
		d.old = d.old[1:]
	}
	d.old = append(d.old, d.durable)
	h.w.after(h.w.about(6*hour), h.snapshot)
}
