package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/simulator/rival"
)

const (
	readStores      = 4
	readConnections = 64
	bulkSKUs        = 50
)

// bulkPath takes up to a thousand articles in one question.
const bulkPath = "/v1/availability/query"

// reads: availability answers, asked by a process of its own, beside redis-server
// handing out the same bytes to the same generator; and both again per second of
// CPU that the server used, since one of them has one thread.
func (b *bench) reads(ctx context.Context) error {
	return b.withChain(ctx, 0, func(f *fleet, shelves []stocked) error {
		cells, err := answersOf(ctx, f, shelves)
		if err != nil {
			return err
		}
		pid := os.Getpid() // where the aggregator is no process of its own
		if p, ok := f.program.(*headProcess); ok {
			pid = int(p.pid.Load())
		}
		url := "http://" + f.Aggregator
		for _, q := range []question{singles(url, cells), bulks(url, cells)} {
			if err := b.asked(ctx, q, pid); err != nil {
				return err
			}
		}
		return nil
	})
}

// question is one kind of read, for us and for Redis.
type question struct {
	name, of     string
	ours, theirs loadJob
	keys         []string
	values       [][]byte
	aim          float64
	p99          bool // no worse than theirs
}

// known is one article in one store: how it is asked for, and its answer.
type known struct {
	sku   protocol.SKU
	store protocol.StoreID
	path  string
	value []byte
}

func singles(url string, cells []known) question {
	q := question{name: "availability, single", of: "redis-server GET of the same bytes, same generator", aim: 1, p99: true}
	q.ours.URL = url
	for _, c := range cells {
		q.ours.Paths = append(q.ours.Paths, c.path)
		q.theirs.Keys = append(q.theirs.Keys, []string{c.path})
		q.keys, q.values = append(q.keys, c.path), append(q.values, c.value)
	}
	return q
}

// bulks ask for 50 articles of one store at a time; Redis hands out the 50 values
// that our answer is made of.
func bulks(url string, cells []known) question {
	q := question{name: fmt.Sprintf("availability, %d articles", bulkSKUs), of: fmt.Sprintf("redis-server MGET %d of the same bytes, same generator", bulkSKUs), aim: 2}
	q.ours.URL, q.ours.Paths = url, []string{bulkPath}
	by := map[protocol.StoreID][]known{}
	for _, c := range cells {
		by[c.store] = append(by[c.store], c)
		q.keys, q.values = append(q.keys, c.path), append(q.values, c.value)
	}
	for store, cs := range by {
		for at := 0; at < len(cs); at += 10 { // windows that overlap: more questions than one
			var skus, keys []string
			for k := range bulkSKUs {
				c := cs[(at+k)%len(cs)]
				skus, keys = append(skus, string(c.sku)), append(keys, c.path)
			}
			body, _ := json.Marshal(map[string][]string{"skus": skus, "locations": {string(store)}}) //nolint:errcheck // strings
			q.ours.Bodies = append(q.ours.Bodies, string(body))
			q.theirs.Keys = append(q.theirs.Keys, keys)
		}
	}
	return q
}

// asked measures one question.
func (b *bench) asked(ctx context.Context, q question, pid int) error {
	var redis *rival.Server
	var absent error
	if !b.alone {
		if redis, absent = rival.StartRedis(ctx, b.dir, q.keys, q.values); absent == nil {
			q.theirs.URL = "redis://" + redis.Addr
		} else if !errors.Is(absent, rival.ErrAbsent) {
			return absent
		}
	}
	var ours, theirs served
	ms := []measure{func(ctx context.Context) (float64, error) { return b.serve(ctx, &ours, q.ours, pid) }}
	if redis != nil {
		ms = append(ms, func(ctx context.Context) (float64, error) { return b.serve(ctx, &theirs, q.theirs, redis.PID) })
	}
	cols, err := b.turns(ctx, ms...)
	if redis != nil {
		err = errors.Join(err, redis.Stop())
	}
	if err != nil {
		return err
	}
	b.rowsOf(q, append(cols, nil), &ours, &theirs, absent)
	return nil
}

func (b *bench) rowsOf(q question, cols [][]float64, ours, theirs *served, absent error) {
	row := beside(fmt.Sprintf("%s, %d connections", q.name, readConnections), "reads/s", cols[0], q.of, cols[1])
	row.aimRatio(q.aim)
	if q.p99 {
		row.Aim += ", p99 no worse"
		if row.Met != nil {
			met := *row.Met && spread(ours.p99).Median <= spread(theirs.p99).Median
			row.Met = &met
		}
	}
	row.note("p50 %s µs, p99 %s µs; an answer has %d bytes; the generator is a process of its own, one request in flight per connection",
		figure(spread(ours.p50).Median), figure(spread(ours.p99).Median), q.bytes())
	if len(theirs.p50) > 0 {
		row.note("redis: p50 %s µs, p99 %s µs", figure(spread(theirs.p50).Median), figure(spread(theirs.p99).Median))
	}
	if absent != nil {
		row.note("no limit: %v", absent)
	}
	b.row(row)
	core := beside(q.name+", per core", "reads/s", ours.perCore, q.of+", per core", theirs.perCore)
	core.aimRatio(q.aim)
	core.note("reads per second of CPU time of the server's process")
	b.row(core)
}

// bytes of the mean answer, as Redis hands it out.
func (q question) bytes() int {
	n := 0
	for _, v := range q.values {
		n += len(v)
	}
	n /= max(len(q.values), 1)
	if len(q.ours.Bodies) > 0 {
		n *= bulkSKUs
	}
	return n
}

// served is what repetitions of one server came to.
type served struct{ p50, p99, perCore []float64 }

func (b *bench) serve(ctx context.Context, s *served, j loadJob, pid int) (float64, error) {
	before, err := cpuOf(pid)
	if err != nil {
		return 0, err
	}
	r, err := b.outside(ctx, j)
	if err != nil {
		return 0, err
	}
	after, err := cpuOf(pid)
	if err != nil {
		return 0, err
	}
	s.p50, s.p99 = append(s.p50, micros(r.P50)), append(s.p99, micros(r.P99))
	if used := (after - before).Seconds(); used > 0 {
		s.perCore = append(s.perCore, float64(r.Sent)/used)
	}
	return r.PerS, nil
}

// stocked is what one store's shelf was filled with.
type stocked struct {
	store protocol.StoreID
	skus  []protocol.SKU
}

// withChain starts a chain of a few stores whose aggregator is a process of its
// own where there is one, delivers every article to every store (units of each; 0:
// as much as a shop opens with), and waits until the chain knows.
func (b *bench) withChain(ctx context.Context, units int64, fn func(*fleet, []stocked) error) error {
	ps := places(readStores)
	plan := fleetPlan{Places: ps, Dir: b.dir, Log: zerolog.Nop()}
	if path, err := findProgram("tillwire-aggregator"); err == nil {
		plan.Program = path
	} else {
		plan.HTTP = "127.0.0.1:0"
	}
	f, err := startFleet(ctx, plan)
	if err != nil {
		return err
	}
	shelves, err := b.stock(ctx, f, ps, units)
	if err == nil {
		err = fn(f, shelves)
	}
	return errors.Join(err, f.stop())
}

func (b *bench) stock(ctx context.Context, f *fleet, ps []place, units int64) (out []stocked, err error) {
	o := newOracle()
	c := newCrew(o, ps, f.Tills, 1, 1, zerolog.Nop())
	for _, w := range c.shops {
		d := w.shop.open(time.Now())
		s := stocked{store: w.shop.Store}
		for i, a := range w.shop.goods.articles {
			s.skus = append(s.skus, a.SKU)
			if units > 0 {
				d.Lines[i].Quantity, d.effects[i].Delta = protocol.Units(units), protocol.Units(units)
			}
		}
		if err := w.tell(ctx, d); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	drained, err := settle(ctx, o, f.Chain, settleMax, func(uint64, int) {})
	if err != nil || !drained {
		return nil, errors.Join(err, errors.New("stock did not arrive"))
	}
	return out, nil
}

// answersOf asks for every (article, store) once, and once in bulk: the bulk
// answer must be made of the single ones.
func answersOf(ctx context.Context, f *fleet, shelves []stocked) ([]known, error) {
	var out []known
	for _, s := range shelves {
		for _, sku := range s.skus {
			c := known{sku: sku, store: s.store, path: "/v1/availability/" + string(sku) + "?location=" + string(s.store)}
			var err error
			if c.value, err = get(ctx, "http://"+f.Aggregator+c.path); err != nil {
				return nil, err
			}
			out = append(out, c)
		}
	}
	var got struct {
		Items   []json.RawMessage `json:"items"`
		Unknown []string          `json:"unknown"`
	}
	if err := f.Chain.do(ctx, http.MethodPost, bulkPath, []byte(bulks("", out).ours.Bodies[0]), &got); err != nil {
		return nil, err
	}
	if len(got.Items) != bulkSKUs || len(got.Unknown) > 0 {
		return nil, fmt.Errorf("%d of %d articles answered in bulk", len(got.Items), bulkSKUs)
	}
	return out, nil
}

// benchClient asks for answers that the bench then compares with.
var benchClient = &http.Client{Timeout: time.Minute}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := benchClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: status %d: %.200s", url, resp.StatusCode, body)
	}
	return body, err
}

// outside runs a load job in a process of its own.
func (b *bench) outside(ctx context.Context, j loadJob) (res loadResult, err error) {
	j.For, j.Warm = b.slice, b.slice/5
	if j.Connections == 0 {
		j.Connections = readConnections
	}
	return res, b.child(ctx, "load", j, &res)
}

// child runs one of our own commands as a process: a job in, a result out.
func (b *bench) child(ctx context.Context, command string, job, into any) error {
	self, err := simulatorProgram()
	if err != nil {
		return err
	}
	return askProcess(exec.CommandContext(ctx, self, command), job, into)
}

// askProcess writes a job to a program's stdin and reads its answer.
func askProcess(cmd *exec.Cmd, job, into any) error {
	in, err := json.Marshal(job)
	if err != nil {
		return fmt.Errorf("encode job: %w", err)
	}
	var out, msg bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &msg
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w: %.600s", filepath.Base(cmd.Path), err, msg.String())
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", filepath.Base(cmd.Path), err)
	}
	return nil
}
