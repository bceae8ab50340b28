package chaos

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent/link"
	"tillwire/protocol"
	"tillwire/store/journal"
)

// host is one machine in a shop: a disk, a clock, and a process on it.
type host struct {
	w      *world
	origin protocol.Origin
	name   string
	disk   disk

	running    bool
	generation int // of the process
	boot       string
	journal    *journal.Hand
	link       *link.Hand
	started    int64
	offset     int64 // of the wall clock
	suspect    bool

	line        *line
	outageUntil int64
	tries       int
	wakeAt      int64

	waiting  []*request
	busy     bool // a commit is on its way
	flushAt  int64
	installs int
	off      bool // switched off for ever: a clone that was found

	open []recovery
}

// recovery is a fault that ended and was not yet seen to be over.
type recovery struct {
	kind  Fault
	since int64
	link  bool // over when all is merged; else when a till is answered
}

// request is a document that waits for its answer.
type request struct {
	ev     *protocol.Event
	answer func(journal.Receipt, error)
}

var (
	errDown    = errors.New("connection refused")
	errTimeout = errors.New("no answer")
)

func newHost(w *world, o protocol.Origin, name string) *host {
	h := &host{w: w, origin: o, name: name}
	h.installs = 1
	h.disk.cache = journal.NewImage(h.installID(), epochUS)
	h.disk.durable = h.disk.cache
	h.disk.old = []journal.Image{h.disk.cache}
	return h
}

func (h *host) String() string    { return h.name }
func (h *host) installID() string { return fmt.Sprintf("%s-i%d", h.name, h.installs) }

func (h *host) wall() int64 { return h.w.now + h.offset }

// book is the journal as the link sees it: damage that a read meets is noted.
type book struct {
	*journal.Hand
	h *host
}

func (b book) Appended() <-chan struct{} { return nil }

func (b book) Read(from uint64, events, bytes int, buf [][]byte) ([][]byte, protocol.Chain, protocol.Chain, error) {
	r, prev, last, err := b.Hand.Read(from, events, bytes, buf)
	b.h.look(err)
	return r, prev, last, err
}

func (b book) ChainAt(seq uint64) (protocol.Chain, error) {
	c, err := b.Hand.ChainAt(seq)
	b.h.look(err)
	return c, err
}

func (h *host) look(err error) {
	var damaged *journal.CorruptError
	if errors.As(err, &damaged) {
		h.suspect = true
	}
}

// start boots a process on what the disk holds.
func (h *host) start() {
	w := h.w
	if h.running || h.off {
		return
	}
	h.generation++
	h.boot = fmt.Sprintf("%s-b%d", h.name, h.generation)
	j, err := journal.OpenHand(&h.disk.cache, segment, "reopened")
	if err != nil {
		w.log("%s finds its journal damaged: %v", h, err)
		h.salvage()
		if j, err = journal.OpenHand(&h.disk.cache, segment, "salvaged"); err != nil {
			w.violate("A", "%s cannot open what its salvage wrote: %v", h, err)
			return
		}
	}
	h.journal, h.started = j, w.now
	h.link, err = link.NewHand(link.Options{
		Origin: h.origin, Journal: book{j, h}, Codec: w.codec, Now: func() time.Time { return time.UnixMicro(h.wall()) },
		Log: zerolog.Nop(), Version: "chaos", BootID: h.boot,
	}, func() int64 { return w.now - h.started + 1 })
	if err != nil {
		w.violate("P", "%s cannot make a link: %v", h, err)
		return
	}
	h.running, h.busy, h.suspect, h.waiting, h.wakeAt, h.tries = true, false, false, nil, 0, 0
	st := j.State()
	w.log("%s starts as %s: seq %d to %d, merged %d, epoch %d", h, h.boot, st.Tail, st.Head, st.Merged, st.Epoch)
	h.measure()
	h.redial()
	h.flush()
	h.beat(h.generation)
}

// stop ends the process without a word; what the system holds in memory stays.
func (h *host) stop(why string, downUS int64) {
	w := h.w
	if !h.running {
		return
	}
	w.n.Crashes++
	w.log("%s dies: %s", h, why)
	w.net.cut(h, "process died")
	h.running = false
	h.disk.killed(w)
	waiting := h.waiting
	h.waiting, h.busy, h.journal, h.link = nil, false, nil, nil
	for _, r := range waiting {
		h.reply(r, journal.Receipt{}, errTimeout)
	}
	life := h.generation
	w.after(downUS, func() {
		if h.generation == life {
			h.start()
		}
	})
}

// reply reaches the till, a moment later, if at all.
func (h *host) reply(r *request, got journal.Receipt, err error) {
	w := h.w
	if err == nil && w.has(Retry) && w.chance(0.03) {
		err = errTimeout // the answer is lost: the till asks again
	}
	w.after(w.about(2_000), func() { r.answer(got, err) })
}

// post takes a document from a till.
func (h *host) post(r *request) {
	if !h.running {
		h.reply(r, journal.Receipt{}, errDown)
		return
	}
	h.waiting = append(h.waiting, r)
	h.work()
}

// redial tries to connect, after a pause that grows.
func (h *host) redial() {
	w := h.w
	window := min(2*minute, second<<min(h.tries, 7))
	h.tries++
	life := h.generation
	w.after(w.about(window), func() {
		if h.generation == life && h.running && h.line == nil {
			if w.net.dial(h); h.line == nil {
				h.redial()
			}
		}
	})
}

// say passes on what the link said, and looks at what the step left behind.
func (h *host) say(said []link.Said) {
	w := h.w
	w.net.up(h, said)
	if h.line != nil && !h.link.Up() {
		w.log("%s gives its connection up", h)
		h.line.open, h.line = false, nil
		h.redial()
	}
	if n, most := h.link.InFlight(); n > most || n > protocol.CreditMax {
		w.violate("E", "%s has %d frames in flight, credit %d", h, n, most)
	}
	if h.suspect {
		h.suspect = false
		h.need(h.journal.Suspect())
	}
	if h.journal != nil && h.journal.Dirty() {
		h.flush()
	}
	h.recovered(true)
	h.wake()
}

func (h *host) hear(ch protocol.Channel, payload []byte) {
	if !h.link.Up() {
		return
	}
	h.tries = 0
	h.say(h.link.Hear(ch, payload))
}

func (h *host) tick() {
	if h.running && h.line != nil {
		h.say(h.link.Tick())
	}
}

// wake plans the link's next deadline.
func (h *host) wake() {
	if !h.running || h.line == nil {
		return
	}
	at := h.link.Deadline()
	if at == never {
		return
	}
	at = max(at+h.started-1, h.w.now+1)
	if h.wakeAt > h.w.now && h.wakeAt <= at {
		return
	}
	h.wakeAt = at
	life := h.generation
	h.w.after(at-h.w.now, func() {
		if h.generation == life && h.running && h.wakeAt == at {
			h.wakeAt = 0
			h.tick()
			h.wake()
		}
	})
}

// beat sends heartbeats, rarer than in life: they only tell of heads.
func (h *host) beat(life int) {
	every := 20 * minute
	if h.w.healed {
		every = minute
	}
	h.w.after(h.w.about(every), func() {
		if h.generation != life || !h.running {
			return
		}
		if h.line != nil {
			h.say(h.link.Beat())
		}
		if h.generation == life && h.running {
			h.measure()
			h.trim()
			h.beat(life)
		}
	})
}

// recovered notes what is over.
func (h *host) recovered(linked bool) {
	if len(h.open) == 0 || h.journal == nil {
		return
	}
	st := h.journal.State()
	kept := h.open[:0]
	for _, r := range h.open {
		if r.link != linked || linked && (st.Merged != st.Head || h.line == nil) {
			kept = append(kept, r)
			continue
		}
		h.w.times[r.kind] = append(h.w.times[r.kind], h.w.now-r.since)
	}
	h.open = kept
}

// ended begins to wait for the recovery from a fault.
func (h *host) ended(kind Fault, linked bool) {
	if len(h.open) < 16 {
		h.open = append(h.open, recovery{kind, h.w.now, linked})
	}
}
