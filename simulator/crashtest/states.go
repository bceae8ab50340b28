package crashtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"tillwire/agent"
	"tillwire/protocol"
	"tillwire/store/journal"
)

// crashStates enumerates what a disk may hold after a power cut at any moment of
// the recorded writes: all that was synced, and of what was written since
//
//	every prefix;
//	every prefix, and the next write torn behind each of its sectors;
//	drawn: any subset of the writes, each whole or with any subset of its sectors.
//
// Each distinct state is opened as an agent would: no acked event may miss, none
// may stand twice, nothing may look damaged.
func crashStates(ctx context.Context, r *Rig, res *Result) error {
	if err := needTrace(ctx); err != nil {
		return err
	}
	dir, err := r.sub("recorded")
	if err != nil {
		return err
	}
	groups := min(max(groupsMin, r.Cycles/80), groupsMax)
	ops, err := record(ctx, r, dir, groups)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	todo := make(chan state, 2*runtime.NumCPU())
	var wg sync.WaitGroup
	errs := make(chan error, runtime.NumCPU())
	for range runtime.NumCPU() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := judgeStates(ctx, todo, res); err != nil {
				cancel()
				errs <- err
			}
		}()
	}
	e := enumerator{ctx: ctx, out: todo, rng: rand.New(rand.NewPCG(r.Seed, 11)), left: r.Cycles, hash: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
	for range passesMax { // further passes draw what the windows before could not fill
		if e.run(ops); e.left == 0 {
			break
		}
	}
	close(todo)
	wg.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	res.Cycles, res.Acked = len(e.seen), ops[len(ops)-1].acked
	res.Note = fmt.Sprintf("%d recorded operations, %d syncs; one state in %d also takes a write", len(ops), e.syncs, statesPerOpen)
	return errors.Join(err, ctx.Err())
}

// state is one thing that a disk may hold.
type state struct {
	files       map[string][]byte
	acked, safe uint64
	number      int
	what        string
}

type enumerator struct {
	ctx     context.Context //nolint:containedctx // lives as long as one enumeration
	out     chan<- state
	rng     *rand.Rand
	files   map[string][]byte // durable: name → content
	pending []operation
	left    int // states yet to be found
	windows int // syncs yet to come
	syncs   int
	hash    maphash.Seed
	seen    map[uint64]struct{}
}

func (e *enumerator) run(ops []operation) {
	e.files, e.pending, e.windows, e.syncs = map[string][]byte{}, nil, 0, 0
	for _, op := range ops {
		if op.kind == "sync" || op.kind == "syncdir" {
			e.windows++
		}
	}
	for i, op := range ops {
		if op.kind != "sync" && op.kind != "syncdir" {
			e.pending = append(e.pending, op)
			continue
		}
		e.window(op)
		e.windows--
		e.syncs++
		e.settle(op, i == len(ops)-1)
	}
}

// settle makes durable what a sync covers: a file's content, or the names.
func (e *enumerator) settle(op operation, all bool) {
	var rest []operation
	owned := map[string]bool{} // what was offered may still be read
	for _, p := range e.pending {
		name := op.kind == "syncdir" && p.kind == "rename"
		content := op.kind == "sync" && p.kind != "rename" && p.name == op.name
		if name || content || all {
			if !owned[p.name] && p.kind != "rename" {
				e.files[p.name], owned[p.name] = bytes.Clone(e.files[p.name]), true
			}
			apply(e.files, p, nil)
		} else {
			rest = append(rest, p)
		}
	}
	e.pending = rest
}

// window finds states of the writes that are under way at a sync.
func (e *enumerator) window(end operation) {
	// Every other sync covers one meta page, of which there are only two versions: so
	// the others get somewhat more than twice their share.
	quota := min(e.left, e.left*9/(4*max(e.windows, 1))+1)
	before := len(e.seen)
	at := func(i int) operation {
		if i < len(e.pending) {
			return e.pending[i]
		}
		return end
	}
	for i := 0; i <= len(e.pending); i++ {
		e.offer(e.pending[:i], nil, at(i), "prefix")
		if i == len(e.pending) || e.pending[i].kind != "write" {
			continue
		}
		sectors := (len(e.pending[i].data) + sector - 1) / sector
		for s := 1; s < sectors; s += max(1, sectors/16) {
			torn := make([][]bool, i+1)
			torn[i] = make([]bool, sectors)
			for k := range s {
				torn[i][k] = true
			}
			e.offer(e.pending[:i+1], torn, at(i), "torn")
		}
	}
	for tries := 0; len(e.seen)-before < quota && tries < 4*quota && len(e.pending) > 0 && e.ctx.Err() == nil; tries++ {
		var some []operation
		var torn [][]bool
		for _, p := range e.pending {
			if e.rng.IntN(2) == 0 {
				continue
			}
			var mask []bool
			if p.kind == "write" && e.rng.IntN(2) == 0 {
				mask = make([]bool, (len(p.data)+sector-1)/sector)
				for k := range mask {
					mask[k] = e.rng.IntN(2) == 0
				}
			}
			some, torn = append(some, p), append(torn, mask)
		}
		e.offer(some, torn, end, "drawn")
	}
	e.left -= min(e.left, len(e.seen)-before)
}

// offer hands a state on, unless it was seen before.
func (e *enumerator) offer(ops []operation, torn [][]bool, at operation, what string) {
	files := maps.Clone(e.files)
	owned := map[string]bool{}
	for i, op := range ops {
		if op.kind != "rename" && !owned[op.name] {
			files[op.name], owned[op.name] = bytes.Clone(files[op.name]), true
		}
		var mask []bool
		if torn != nil {
			mask = torn[i]
		}
		apply(files, op, mask)
	}
	var h maphash.Hash
	h.SetSeed(e.hash)
	for _, name := range []string{agent.JournalFile, agent.JournalFile + ".new"} {
		b, ok := files[name]
		_, _ = fmt.Fprint(&h, ok, len(b))
		_, _ = h.Write(b)
	}
	sum := h.Sum64()
	if _, old := e.seen[sum]; old {
		return
	}
	e.seen[sum] = struct{}{}
	select {
	case e.out <- state{files, at.acked, at.safe, len(e.seen), fmt.Sprintf("%s of %d operations at sync %d", what, len(ops), e.syncs)}:
	case <-e.ctx.Done():
	}
}

// apply does one operation; of a write only the sectors that mask names.
func apply(files map[string][]byte, op operation, mask []bool) {
	switch op.kind {
	case "rename":
		files[op.to] = files[op.name]
		delete(files, op.name)
	case "truncate":
		b := files[op.name]
		if int64(len(b)) > op.off {
			b = b[:op.off]
		}
		files[op.name] = append(b, make([]byte, op.off-int64(len(b)))...)
	case "write":
		b := files[op.name]
		if need := op.off + int64(len(op.data)); int64(len(b)) < need {
			b = append(b, make([]byte, need-int64(len(b)))...)
		}
		for at := 0; at < len(op.data); at += sector {
			if mask == nil || mask[at/sector] {
				copy(b[op.off+int64(at):], op.data[at:min(at+sector, len(op.data))])
			}
		}
		files[op.name] = b
	}
}

// judgeStates opens states until there are no more.
func judgeStates(ctx context.Context, todo <-chan state, res *Result) error {
	memory := "/dev/shm" // a state is opened many hundred times a second
	if _, err := os.Stat(memory); err != nil {
		memory = ""
	}
	dir, err := os.MkdirTemp(memory, "tillwire-states-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // scratch
	for s := range todo {
		if ctx.Err() != nil {
			continue // drain
		}
		start := time.Now()
		lost, twice, err := s.judge(dir)
		res.recovered(time.Since(start))
		res.mu.Lock()
		res.Lost += lost
		res.Duplicated += twice
		res.mu.Unlock()
		if err != nil || lost+twice > 0 {
			return fmt.Errorf("state %d (%s, %d acked): %d lost, %d twice: %w", s.number, s.what, s.acked, lost, twice, err)
		}
	}
	return nil
}

func (s state) judge(dir string) (lost, twice uint64, err error) {
	for _, name := range []string{agent.JournalFile, agent.JournalFile + ".new"} {
		path := filepath.Join(dir, name)
		if b, ok := s.files[name]; ok {
			err = os.WriteFile(path, b, 0o600)
		} else if err = os.Remove(path); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
	o := recordedOptions(dir)
	o.VerifyAll, o.Retention = true, -1
	j, err := journal.Open(o)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	st := j.State()
	if strings.HasPrefix(st.BootReason, "salvaged") {
		return 0, 0, fmt.Errorf("a power cut looks like damage: %s", st.BootReason)
	}
	if st.Tail > s.safe+1 {
		return st.Tail - s.safe - 1, 0, nil
	}
	if st.Head < s.acked {
		return s.acked - st.Head, 0, nil
	}
	err = j.Scan(st.Tail, func(seq uint64, _ int64, rec []byte) error {
		var e protocol.Event
		if _, err := protocol.DecodeRecord(rec, &e); err != nil {
			return err
		}
		if e.DocumentID != recordedDocument(seq) {
			twice++
		}
		return nil
	})
	if err == nil && s.number%statesPerOpen == 0 {
		err = s.write(j, st)
	}
	return lost, twice, err
}

// write demands that a survivor takes the next event, and knows the last.
func (s state) write(j *journal.Journal, st journal.State) error {
	r, err := j.Append(context.Background(), recordedEvent(st.Head+1))
	if err != nil || r.Seq != st.Head+1 || r.Duplicate {
		return fmt.Errorf("next append: %+v: %w", r, err)
	}
	if r, err := j.Append(context.Background(), recordedEvent(st.Head)); st.Head >= st.Tail && st.Head > 0 && (err != nil || !r.Duplicate || r.Seq != st.Head) {
		return fmt.Errorf("append of the last one again: %+v: %w", r, err)
	}
	return nil
}
