package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tillwire/agent"
	"tillwire/protocol"
	"tillwire/store/journal"
)

// rot damages the file of a killed agent: a flipped bit, a page of zeros, a file
// cut short, an empty one, the first sector gone. Started again, the agent must
// take sales within seconds, keep the damaged file beside, and the aggregator must
// say so as an incident, start a new epoch, and count nothing twice: before each
// damage it has everything, so that its stock must be every document ever sold.
func rot(ctx context.Context, r *Rig, res *Result) error {
	b, err := newBoth(r)
	if err != nil {
		return err
	}
	defer b.stop()
	d := decay{both: b, rng: rand.New(rand.NewPCG(r.Seed, 19)), all: map[string]bool{}}
	d.c = newCrew(b.plan.addr)
	for n := range r.Cycles {
		if err := d.cycle(ctx, n, res); err != nil {
			return fmt.Errorf("seed %d, damage %d (%s): %w", r.Seed, n, d.what, err)
		}
		res.Cycles++
	}
	if err := errors.Join(b.revive(ctx, &Result{}), d.told(ctx, r.Cycles), d.collect(ctx, res), b.revive(ctx, &Result{})); err != nil {
		return err
	}
	err = b.agree(ctx, &ledger{docs: d.documents()}, res)
	res.Note = fmt.Sprintf("%d of %d damages met something in use and led to a salvage, an incident and a new epoch; %d records named as lost; under the working agent tills waited %v at most; epoch %d; %s", d.salvages, r.Cycles+(r.Cycles+2)/4, d.named, d.lived.Round(time.Millisecond), d.epoch, res.Note)
	return err
}

type decay struct {
	*both
	c                      *crew
	rng                    *rand.Rand
	all                    map[string]bool // documents that stood in a journal
	what, reason           string
	salvages, named, aside int
	epoch                  uint64
	lived                  time.Duration // longest wait for a salvage under the working agent
}

func (d *decay) documents() map[string]uint64 {
	m := make(map[string]uint64, len(d.all))
	for doc := range d.all {
		m[doc] = 0
	}
	return m
}

// facts are what agent and aggregator say of the journal.
type facts struct {
	Journal struct {
		BootReason string `json:"boot_reason"`
		Backlog    uint64 `json:"backlog_events"`
		Epoch      uint64 `json:"epoch"`
	} `json:"journal"`
	Incidents []struct {
		Code string `json:"code"`
	} `json:"incidents"`
}

func ask(addr, path string) (f facts, err error) {
	client := &http.Client{Timeout: answerMax, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		return f, err
	}
	defer resp.Body.Close() //nolint:errcheck // read
	return f, json.NewDecoder(resp.Body).Decode(&f)
}

func (d *decay) cycle(ctx context.Context, n int, res *Result) error {
	started := time.Now()
	if err := d.revive(ctx, &Result{}); err != nil { // also over the damage of the cycle before
		return err
	}
	selling, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); d.c.sell(selling) }()
	_, err := d.c.awaitAck(ctx, started)
	if n > 0 {
		res.recovered(time.Since(started))
	}
	hold := time.NewTimer(100 * time.Millisecond)
	<-hold.C
	stop()
	<-done
	if err != nil {
		return err
	}
	if err := d.told(ctx, n); err != nil {
		return err
	}
	err = await(ctx, drainMax, "the aggregator has everything", func() bool {
		f, err := ask(d.plan.addr, "/v1/status")
		d.epoch = max(d.epoch, f.Journal.Epoch)
		return err == nil && f.Journal.Backlog == 0
	})
	if err == nil && n%4 == 1 {
		err = d.live(ctx)
	}
	if err := errors.Join(err, d.agent.kill(), d.collect(ctx, res)); err != nil {
		return err
	}
	return d.damage(n)
}

// live damages a record under the working agent, which meets it when a till sends
// the document again: the agent must salvage without a restart, take the document
// as new, and the aggregator, which had it, must not count it twice.
func (d *decay) live(ctx context.Context) error {
	d.c.mu.Lock()
	doc := ""
	for k := range d.c.acked {
		doc = max(doc, k)
	}
	d.c.mu.Unlock()
	d.what = "record of " + doc + " under the working agent"
	if err := overwrite(filepath.Join(d.plan.dir, agent.JournalFile), doc); err != nil {
		return err
	}
	client := &http.Client{Timeout: answerMax}
	defer client.CloseIdleConnections()
	started, answers := time.Now(), map[int]int{}
	err := await(ctx, healMax, "the damaged document is taken again", func() bool {
		status, _ := d.c.send(ctx, client, sale(doc))
		answers[status]++
		return status == http.StatusCreated
	})
	if err != nil || answers[http.StatusOK] > 0 {
		return fmt.Errorf("answers %v: %w", answers, err)
	}
	d.lived = max(d.lived, time.Since(started))
	return d.told(ctx, 1)
}

// overwrite harms every copy of a record in the file, in place.
func overwrite(path, doc string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // in our scratch folder
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // writes are checked
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	word := append([]byte{byte(len(doc))}, doc...)
	for at := 0; ; {
		k := bytes.Index(b[at:], word)
		if k < 0 {
			return nil
		}
		at += k + 1
		if _, err := f.WriteAt([]byte{'#'}, int64(at)); err != nil {
			return err
		}
	}
}

// told demands that a salvage is known to the aggregator, and the file kept.
func (d *decay) told(ctx context.Context, n int) error {
	f, err := ask(d.plan.addr, "/v1/status")
	if err != nil {
		return err
	}
	kept, err := filepath.Glob(filepath.Join(d.plan.dir, "*.corrupt-*"))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(f.Journal.BootReason, "salvaged") {
		if len(kept) != d.aside {
			return fmt.Errorf("%d files set aside, boot reason %q", len(kept)-d.aside, f.Journal.BootReason)
		}
		return nil
	}
	if len(kept) == d.aside && d.salvages > 0 && f.Journal.BootReason == d.reason {
		return nil // told before
	}
	if n == 0 || len(kept) != d.aside+1 {
		return fmt.Errorf("salvaged, %d files set aside of %d before: %s", len(kept), d.aside, f.Journal.BootReason)
	}
	d.salvages++
	d.aside, d.reason = len(kept), f.Journal.BootReason
	return await(ctx, drainMax, "the aggregator tells of the salvage", func() bool {
		s, err := ask(d.chainAddr, "/v1/stores/"+store)
		for _, i := range s.Incidents {
			if i.Code == "journal_corrupt_salvaged" {
				return err == nil
			}
		}
		return false
	})
}

// collect reads what stands in the journal: it is sound before each damage.
func (d *decay) collect(ctx context.Context, res *Result) error {
	if d.agent.alive() {
		if err := d.agent.kill(); err != nil {
			return err
		}
	}
	docs := map[string]int{}
	named := 0
	found, err := journal.Inspect(ctx, filepath.Join(d.plan.dir, agent.JournalFile), 0, func(_ uint64, _ int64, rec []byte, _, _ protocol.Chain) error {
		var e protocol.Event
		if _, err := protocol.DecodeRecord(rec, &e); err != nil {
			named++
		} else if e.Kind == protocol.KindSale {
			docs[e.DocumentID]++
		}
		return nil
	})
	if err != nil || found.Damage != nil {
		return fmt.Errorf("journal behind a salvage: %w", errors.Join(err, asError(found)))
	}
	d.named = max(d.named, named)
	for doc, times := range docs {
		d.all[doc] = true
		res.Duplicated += uint64(times - 1)
	}
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	for doc := range d.c.acked {
		if docs[doc] == 0 {
			res.Lost++
		}
	}
	res.Acked += uint64(len(d.c.acked))
	clear(d.c.acked)
	return nil
}

func asError(found *journal.Inspection) error {
	if found == nil || found.Damage == nil {
		return nil
	}
	return found.Damage
}

// damage writes one of the harms in turn.
func (d *decay) damage(n int) error {
	path := filepath.Join(d.plan.dir, agent.JournalFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const page = 4096
	at := d.rng.IntN(len(b))
	switch n % 6 {
	case 0, 1: // a byte that holds something
		for b[at] == 0 {
			at = (at + 1) % len(b)
		}
		d.what = fmt.Sprintf("bit of byte %d", at)
		b[at] ^= 1 << d.rng.IntN(8)
	case 2:
		d.what = fmt.Sprintf("page %d zeroed", at/page)
		clear(b[at/page*page : min(len(b), (at/page+1)*page)])
	case 3:
		d.what = fmt.Sprintf("cut to %d bytes", at)
		b = slices.Clone(b[:at])
	case 4:
		d.what = "first sector zeroed"
		clear(b[:sector])
	default:
		d.what = "empty file"
		b = nil
	}
	return os.WriteFile(path, b, 0o600)
}
