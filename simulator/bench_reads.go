package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/rs/zerolog"
)

const (
	readStores      = 4
	readConnections = 64
)

// reads: single availability answers, asked by a process of its own, beside
// redis-server handing out the same bytes to the same generator.
func (b *bench) reads(ctx context.Context) error {
	dir, err := b.fresh("reads")
	if err != nil {
		return err
	}
	ps := places(readStores)
	f, err := startFleet(ctx, fleetPlan{Places: ps, Dir: dir, HTTP: "127.0.0.1:0", Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	err = b.readsOf(ctx, f, ps)
	return errors.Join(err, f.stop())
}

func (b *bench) readsOf(ctx context.Context, f *fleet, ps []place) error {
	paths, answers, err := b.stock(ctx, f, ps)
	if err != nil {
		return err
	}
	redis, err := startRedis(ctx, b.dir, paths, answers)
	if err != nil {
		b.row(BenchRow{
			Name: "availability, single", Unit: "reads/s", Of: "redis-server GET", Aim: "ratio ≥ 1.00, p99 no worse",
			Notes: []string{"not measured: " + err.Error()},
		})
		return nil //nolint:nilerr // said in the row: the other figures do not need redis
	}
	err = b.readsBeside(ctx, f, redis, paths, len(answers[0]))
	return errors.Join(err, redis.stop())
}

func (b *bench) readsBeside(ctx context.Context, f *fleet, redis *redisServer, paths []string, size int) error {
	var p50, p99, redis50, redis99 []float64
	o, l, ratio, err := b.beside(ctx,
		func(ctx context.Context) (float64, error) {
			r, err := b.outside(ctx, loadJob{URL: "http://" + f.Aggregator, Paths: paths})
			p50, p99 = append(p50, micros(r.P50)), append(p99, micros(r.P99))
			return r.PerS, err
		},
		func(ctx context.Context) (float64, error) {
			r, err := b.outside(ctx, loadJob{URL: "redis://" + redis.addr, Paths: paths})
			redis50, redis99 = append(redis50, micros(r.P50)), append(redis99, micros(r.P99))
			return r.PerS, err
		})
	if err != nil {
		return err
	}
	row := BenchRow{
		Name: "availability, single, 64 connections", Unit: "reads/s", Ours: o, Limit: l, Ratio: ratio, Of: "redis-server GET of the same bytes, same generator",
		Notes: []string{fmt.Sprintf("p50 %s µs, p99 %s µs; redis p50 %s µs, p99 %s µs; answers of %d bytes; generator is a process of its own, one request in flight per connection",
			figure(spread(p50).Median), figure(spread(p99).Median), figure(spread(redis50).Median), figure(spread(redis99).Median), size)},
	}
	row.aimRatio(1)
	row.Aim += ", p99 no worse"
	met := *row.Met && spread(p99).Median <= spread(redis99).Median
	row.Met = &met
	b.row(row)
	return nil
}

// stock delivers every article to every store, waits until the chain knows, and
// returns one path per (article, store) with its answer.
func (b *bench) stock(ctx context.Context, f *fleet, ps []place) (paths []string, answers [][]byte, err error) {
	o := newOracle()
	c := newCrew(o, ps, f.Tills, 1, 1, zerolog.Nop())
	for _, w := range c.shops {
		if err := w.tell(ctx, w.shop.open(time.Now())); err != nil {
			return nil, nil, err
		}
	}
	drained, err := settle(ctx, o, f.Chain, settleMax, func(uint64, int) {})
	if err != nil || !drained {
		return nil, nil, errors.Join(err, errors.New("stock did not arrive"))
	}
	for _, w := range c.shops {
		for _, a := range w.shop.goods.articles {
			paths = append(paths, "/v1/availability/"+string(a.SKU)+"?location="+string(w.shop.Store))
		}
	}
	for _, p := range paths {
		b, err := get(ctx, "http://"+f.Aggregator+p)
		if err != nil {
			return nil, nil, err
		}
		answers = append(answers, b)
	}
	return paths, answers, nil
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
	j.Connections, j.For, j.Warm = readConnections, b.slice, b.slice/5
	self, err := os.Executable()
	if err != nil {
		return res, fmt.Errorf("find own path: %w", err)
	}
	in, err := json.Marshal(j)
	if err != nil {
		return res, fmt.Errorf("encode load job: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "load")
	var out, msg bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &msg
	if err := cmd.Run(); err != nil {
		return res, fmt.Errorf("run load process: %w: %s", err, msg.String())
	}
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		return res, fmt.Errorf("read load result: %w", err)
	}
	return res, nil
}

// redisServer is a redis-server of our own, without persistence.
type redisServer struct {
	cmd  *exec.Cmd
	addr string
	done chan error
}

func startRedis(ctx context.Context, dir string, keys []string, values [][]byte) (*redisServer, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	r := &redisServer{addr: addr, done: make(chan error, 1)}
	r.cmd = exec.CommandContext(ctx, path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir, "--daemonize", "no")
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	if err := r.fill(ctx, keys, values); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

// fill sets every key, as soon as the server answers.
func (r *redisServer) fill(ctx context.Context, keys []string, values [][]byte) error {
	var c net.Conn
	for try := 0; ; try++ {
		var err error
		if c, err = (&net.Dialer{}).DialContext(ctx, "tcp", r.addr); err == nil {
			break
		}
		if try > 50 || !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("redis-server does not answer: %w", err)
		}
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	ok := make([]byte, 5)
	for i, k := range keys {
		v := values[i]
		req := fmt.Appendf(nil, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%s\r\n%s\r\n", len(k), k, strconv.Itoa(len(v)), v)
		if _, err := c.Write(req); err != nil {
			return fmt.Errorf("fill redis: %w", err)
		}
		if _, err := io.ReadFull(c, ok); err != nil || string(ok) != "+OK\r\n" {
			return fmt.Errorf("fill redis: %q, %w", ok, err)
		}
	}
	return nil
}

// stop ends the server that we started, and no other.
func (r *redisServer) stop() error {
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop redis-server: %w", err)
	}
	<-r.done //nolint:errcheck // killed
	return nil
}
