package simulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/simulator/yardstick"
)

// http: a sale from the till's POST to 201, beside its two parts alone: a bare
// net/http server with the same decoder, and the journal with as many writers.
//
// The slower part is the limit where the parts use different things: one writer
// waits for the disk while the CPU rests. Where both are bound by the same cores
// a request costs what it costs in each, so the sum of both times is the limit;
// that one is the second row. The load generator takes its share in the bare
// net/http part too, so neither row is charged for it.
func (b *bench) http(ctx context.Context) error {
	for _, n := range writerCounts {
		var p50, p99 []float64
		ours := func(ctx context.Context) (float64, error) {
			r, err := b.agentPosts(ctx, n)
			p50, p99 = append(p50, micros(r.P50)), append(p99, micros(r.P99))
			return r.PerS, err
		}
		bare := func(ctx context.Context) (float64, error) {
			r, err := b.barePosts(ctx, n)
			return r.PerS, err
		}
		alone := func(ctx context.Context) (float64, error) {
			r, err := b.journalRun(ctx, n)
			return r.PerS, err
		}
		cols, err := b.turns(ctx, ours, bare, alone)
		if err != nil {
			return err
		}
		name := "sale to 201, " + plural(n, "connection")
		row := beside(name, "/s", cols[0], "the slower of bare net/http + decode and the journal alone",
			combine(cols[1], cols[2], func(x, y float64) float64 { return min(x, y) }))
		row.aimRatio(0.9)
		row.note("p50 %s µs, p99 %s µs; load generator on the same cores", figure(spread(p50).Median), figure(spread(p99).Median))
		b.row(row)
		if b.alone {
			continue
		}
		sum := beside(name+", both parts in turn", "/s", cols[0], "both parts one after the other: 1/(1/net-http + 1/journal)",
			combine(cols[1], cols[2], oneAfterTheOther))
		sum.note("bare net/http %s/s, journal alone %s/s", figure(spread(cols[1]).Median), figure(spread(cols[2]).Median))
		b.row(sum)
	}
	return nil
}

// salePost makes a fresh sale for every request.
func salePost(host string) func(buf []byte, conn, n int) []byte {
	boot := strconv.FormatInt(time.Now().UnixNano(), 36)
	now := tillTime(time.Now())
	return func(buf []byte, conn, n int) []byte {
		body := fmt.Appendf(nil, `{"document_id":"%s-R%02d-%06d","register":"R%02d","occurred_at":"%s","business_date":"2026-11-23","lines":[`, boot, conn, n, conn, now)
		for i := range 3 {
			if i > 0 {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, `{"line":%d,"sku":"%s","quantity":%d,"uom":"EA"}`, i+1, sampleArticles[(conn*31+n*7+i*13)%len(sampleArticles)].SKU, i+1)
		}
		body = append(body, "]}"...)
		buf = fmt.Appendf(buf, "POST /v1/sales HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", host, len(body))
		return append(buf, body...)
	}
}

func (b *bench) posts(ctx context.Context, addr string, connections int) (loadResult, error) {
	return runLoad(ctx, loadPlan{
		Addr: addr, Connections: connections, For: b.slice, Warm: b.slice / 10, Request: salePost(addr), Read: readHTTP,
	})
}

// agentPosts measures a real agent whose link is down, as in an outage.
func (b *bench) agentPosts(ctx context.Context, connections int) (res loadResult, err error) {
	dir, err := b.fresh("agent")
	if err != nil {
		return res, err
	}
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		return res, err
	}
	dead := func(context.Context, string, string) (net.Conn, error) { return nil, errLinkDown }
	a, err := newAgent(agentPlan{Store: "S0042", Dir: filepath.Join(dir, "agent"), Broker: "127.0.0.1:1", Dial: dead, Codec: codec, Log: zerolog.Nop()})
	if err != nil {
		return res, err
	}
	f := &fleet{failed: make(chan struct{}), client: &http.Client{}, cancelHead: func() {}}
	runCtx, cancel := context.WithCancel(ctx)
	f.cancelAgents = cancel
	f.run(runCtx, &f.agents, "agent", a)
	if err := f.await(ctx, a); err != nil {
		return res, errors.Join(err, f.stop())
	}
	res, err = b.posts(ctx, a.HTTPAddr(), connections)
	return res, errors.Join(err, f.stop())
}

// barePosts measures net/http and the decoder alone.
func (b *bench) barePosts(ctx context.Context, connections int) (res loadResult, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return res, err
	}
	srv := &http.Server{Handler: yardstick.BareHTTP("S0042"), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	res, err = b.posts(ctx, l.Addr().String(), connections)
	closeErr := srv.Close()
	if serveErr := <-done; !errors.Is(serveErr, http.ErrServerClosed) {
		closeErr = errors.Join(closeErr, serveErr)
	}
	return res, errors.Join(err, closeErr)
}
