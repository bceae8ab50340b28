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
	"strings"
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
	Sent     int           `json:"sent"` // with those that warmed up
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
	sent := make([]int, p.Connections)
	errs := make([]error, p.Connections)
	var wg sync.WaitGroup
	for i := range p.Connections {
		wg.Go(func() { samples[i], sent[i], errs[i] = p.loop(ctx, i, from, until) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return loadResult{}, fmt.Errorf("load %s: %w", p.Addr, err)
	}
	res := summarise(slices.Concat(samples...), p.For)
	for _, n := range sent {
		res.Sent += n
	}
	return res, nil
}

func (p loadPlan) loop(ctx context.Context, conn int, from, until time.Time) (out []time.Duration, n int, err error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Addr)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(until.Add(10 * time.Second)); err != nil {
		return nil, 0, err
	}
	r := bufio.NewReaderSize(c, 16<<10)
	out = make([]time.Duration, 0, 16<<10)
	var req []byte
	for n = 0; ; n++ {
		req = p.Request(req[:0], conn, n)
		begin := time.Now()
		if begin.After(until) {
			return out, n, nil
		}
		if _, err := c.Write(req); err != nil {
			return nil, n, err
		}
		if err := p.Read(r); err != nil {
			return nil, n, err
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
		status := string(bytes.TrimSpace(line))
		return fmt.Errorf("answer is %.60q%s", status, why(r))
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

// why is what a refusal says in its body, as far as it has come.
func why(r *bufio.Reader) string {
	b, _ := r.Peek(r.Buffered()) //nolint:errcheck // what is buffered can be had
	_, body, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	if len(body) == 0 {
		return ""
	}
	return fmt.Sprintf(": %.400s", body)
}

// readRESP takes one bulk string of Redis, or an array of them.
func readRESP(r *bufio.Reader) error {
	n, err := respLength(r, '$', '*')
	if err != nil {
		return err
	}
	if n >= 0 {
		_, err = r.Discard(n + 2)
		return err
	}
	for range ^n {
		n, err := respLength(r, '$', '$')
		if err != nil {
			return err
		}
		if _, err := r.Discard(n + 2); err != nil {
			return err
		}
	}
	return nil
}

// respLength reads a header: the length of a bulk string, or the complement of
// an array's, which is negative.
func respLength(r *bufio.Reader, bulk, array byte) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 4 || (line[0] != bulk && line[0] != array) {
		return 0, fmt.Errorf("answer is %.60q", line)
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(line[1:])))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("key is not there: %.60q", line)
	}
	if line[0] != bulk {
		n = ^n
	}
	return n, nil
}

// inTurn sends one prepared request after the other; connections begin at
// different ones.
func inTurn(reqs []string) func(b []byte, conn, n int) []byte {
	return func(b []byte, conn, n int) []byte { return append(b, reqs[(conn*7919+n)%len(reqs)]...) }
}

// httpRequests are GETs of paths, or POSTs of bodies to the one path.
func httpRequests(host string, paths, bodies []string) []string {
	reqs := make([]string, 0, len(paths)+len(bodies))
	if len(bodies) == 0 {
		for _, p := range paths {
			reqs = append(reqs, "GET "+p+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		}
		return reqs
	}
	for _, b := range bodies {
		reqs = append(reqs, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", paths[0], host, len(b), b))
	}
	return reqs
}

// respRequests are GETs of single keys, or MGETs of as many as stand together.
func respRequests(keys [][]string) []string {
	reqs := make([]string, len(keys))
	for i, ks := range keys {
		verb := "GET"
		if len(ks) > 1 {
			verb = "MGET"
		}
		b := fmt.Appendf(nil, "*%d\r\n$%d\r\n%s\r\n", len(ks)+1, len(verb), verb)
		for _, k := range ks {
			b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(k), k)
		}
		reqs[i] = string(b)
	}
	return reqs
}

// fresh puts a number that no other request has in the place of freshMark, which
// has as many bytes: a reservation is made once.
func fresh(reqs []string) (func(b []byte, conn, n int) []byte, error) {
	at := make([]int, len(reqs))
	for i, r := range reqs {
		if at[i] = strings.Index(r, freshMark); at[i] < 0 {
			return nil, fmt.Errorf("load: body %d has no %s to be replaced", i, freshMark)
		}
	}
	boot := uint32(time.Now().UnixNano() >> 20)
	return func(b []byte, conn, n int) []byte {
		i := (conn*7919 + n) % len(reqs)
		from := len(b) + at[i]
		b = append(b, reqs[i]...)
		_ = fmt.Appendf(b[:from], "%08x%04x%012x", boot, conn, n)
		for k, c := range b[from : from+len(freshMark)] {
			if c <= '9' {
				b[from+k] = c - '0' + 'g' // long runs of digits look like card numbers, which are refused
			}
		}
		return b
	}, nil
}

// freshMark is 24 bytes long.
const freshMark = "FRESHFRESHFRESHFRESHFRES"

// loadJob is what the bench tells a load process on its stdin.
type loadJob struct {
	URL         string        `json:"url"`              // http://host:port or redis://host:port
	Paths       []string      `json:"paths,omitempty"`  // GET, of http; with bodies, the one path of POST
	Bodies      []string      `json:"bodies,omitempty"` // POST, of http
	Fresh       bool          `json:"fresh,omitempty"`  // each body holds freshMark
	Keys        [][]string    `json:"keys,omitempty"`   // GET or MGET, of redis
	Connections int           `json:"connections"`
	For         time.Duration `json:"for_ns"`
	Warm        time.Duration `json:"warm_ns"`
}

func (j loadJob) run(ctx context.Context) (loadResult, error) {
	p, err := j.plan()
	if err != nil {
		return loadResult{}, err
	}
	return runLoad(ctx, p)
}

func (j loadJob) plan() (p loadPlan, err error) {
	u, err := url.Parse(j.URL)
	if err != nil || u.Host == "" {
		return p, fmt.Errorf("load: url %q is not like http://127.0.0.1:7400 or redis://127.0.0.1:6379", j.URL)
	}
	if j.Connections < 1 || j.For <= 0 {
		return p, errors.New("load: connections and a duration are needed")
	}
	p = loadPlan{Addr: u.Host, Connections: j.Connections, For: j.For, Warm: j.Warm}
	switch {
	case u.Scheme == "http" && len(j.Paths) > 0:
		reqs := httpRequests(u.Host, j.Paths, j.Bodies)
		p.Request, p.Read = inTurn(reqs), readHTTP
		if j.Fresh {
			p.Request, err = fresh(reqs)
		}
	case u.Scheme == "redis" && len(j.Keys) > 0:
		p.Request, p.Read = inTurn(respRequests(j.Keys)), readRESP
	case u.Scheme == "http" || u.Scheme == "redis":
		err = errors.New("load: paths are needed for http, keys for redis")
	default:
		err = fmt.Errorf("load: scheme %q is neither http nor redis", u.Scheme)
	}
	return p, err
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
