package simulator

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The load generator: closed loops over keep-alive connections, one request in
// flight on each. It speaks just enough HTTP/1.1 and just enough RESP that both
// servers are asked by the same code, with the same buffers and the same cost
// per answer.

// loadPlan says what to ask.
type loadPlan struct {
	Addr        string // host:port
	Connections int
	For         time.Duration
	Warm        time.Duration // not counted
	// Request appends the n-th request of a connection to b.
	Request func(b []byte, conn, n int) []byte
	// Read takes one answer off r; it fails on any answer but success.
	Read func(r *bufio.Reader) error
}

// loadResult is what one run saw.
type loadResult struct {
	Requests int           `json:"requests"`
	PerS     float64       `json:"per_s"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
}

const latenciesMax = 400_000 // samples kept per connection

// runLoad runs a plan to its end.
func runLoad(ctx context.Context, p loadPlan) (loadResult, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Warm+p.For+10*time.Second)
	defer cancel()
	from := time.Now().Add(p.Warm)
	until := from.Add(p.For)
	samples := make([][]time.Duration, p.Connections)
	errs := make([]error, p.Connections)
	var wg sync.WaitGroup
	for i := range p.Connections {
		wg.Go(func() { samples[i], errs[i] = p.loop(ctx, i, from, until) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return loadResult{}, fmt.Errorf("load %s: %w", p.Addr, err)
	}
	return summarise(slices.Concat(samples...), p.For), nil
}

func (p loadPlan) loop(ctx context.Context, conn int, from, until time.Time) ([]time.Duration, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(until.Add(10 * time.Second)); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(c, 16<<10)
	out := make([]time.Duration, 0, 16<<10)
	var req []byte
	for n := 0; ; n++ {
		req = p.Request(req[:0], conn, n)
		begin := time.Now()
		if begin.After(until) {
			return out, nil
		}
		if _, err := c.Write(req); err != nil {
			return nil, err
		}
		if err := p.Read(r); err != nil {
			return nil, err
		}
		if begin.After(from) && len(out) < latenciesMax {
			out = append(out, time.Since(begin))
		}
	}
}

// summarise sorts all latencies; d is the time in which they were taken.
func summarise(all []time.Duration, d time.Duration) loadResult {
	slices.Sort(all)
	res := loadResult{Requests: len(all), PerS: float64(len(all)) / d.Seconds()}
	if len(all) > 0 {
		res.P50 = all[len(all)/2]
		res.P99 = all[len(all)*99/100]
		res.Max = all[len(all)-1]
	}
	return res
}

// readHTTP takes one HTTP/1.1 answer with a Content-Length and a 2xx status.
func readHTTP(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 || line[9] != '2' {
		return fmt.Errorf("answer is %.60q", line)
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(k, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("answer has no Content-Length")
	}
	_, err = r.Discard(length)
	return err
}

// readRESP takes one bulk string of Redis.
func readRESP(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 4 || line[0] != '$' {
		return fmt.Errorf("answer is %.60q", line)
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(line[1:])))
	if err != nil || n < 0 {
		return fmt.Errorf("key is not there: %.60q", line)
	}
	_, err = r.Discard(n + 2)
	return err
}

// httpGets asks one path after the other.
func httpGets(host string, paths []string) func(b []byte, conn, n int) []byte {
	reqs := make([]string, len(paths))
	for i, p := range paths {
		reqs[i] = "GET " + p + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	}
	return func(b []byte, conn, n int) []byte { return append(b, reqs[(conn*7919+n)%len(reqs)]...) }
}

// respGets asks for one key after the other.
func respGets(keys []string) func(b []byte, conn, n int) []byte {
	reqs := make([]string, len(keys))
	for i, k := range keys {
		reqs[i] = fmt.Sprintf("*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(k), k)
	}
	return func(b []byte, conn, n int) []byte { return append(b, reqs[(conn*7919+n)%len(reqs)]...) }
}

// loadJob is what the bench tells a load process on its stdin.
type loadJob struct {
	URL         string        `json:"url"` // http://host:port or redis://host:port
	Paths       []string      `json:"paths"`
	Connections int           `json:"connections"`
	For         time.Duration `json:"for_ns"`
	Warm        time.Duration `json:"warm_ns"`
}

func (j loadJob) run(ctx context.Context) (loadResult, error) {
	u, err := url.Parse(j.URL)
	if err != nil || u.Host == "" {
		return loadResult{}, fmt.Errorf("load: url %q is not like http://127.0.0.1:7400 or redis://127.0.0.1:6379", j.URL)
	}
	if len(j.Paths) == 0 || j.Connections < 1 || j.For <= 0 {
		return loadResult{}, errors.New("load: paths, connections and a duration are needed")
	}
	p := loadPlan{Addr: u.Host, Connections: j.Connections, For: j.For, Warm: j.Warm}
	switch u.Scheme {
	case "http":
		p.Request, p.Read = httpGets(u.Host, j.Paths), readHTTP
	case "redis":
		p.Request, p.Read = respGets(j.Paths), readRESP
	default:
		return loadResult{}, fmt.Errorf("load: scheme %q is neither http nor redis", u.Scheme)
	}
	return runLoad(ctx, p)
}

// serveLoad is the outside process: a job in, a result out.
func serveLoad(ctx context.Context, in io.Reader, out io.Writer) error {
	var j loadJob
	if err := json.NewDecoder(io.LimitReader(in, answerBytesMax)).Decode(&j); err != nil {
		return fmt.Errorf("read load job: %w", err)
	}
	res, err := j.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(res)
}
