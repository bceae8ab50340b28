//go:build unix

package web

import (
	"bufio"
	"context"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Fifty people look at 400 stores, each by the stream and by asking every five
// seconds whom to call. What that costs the server is logged; the bound leaves room
// for a busy machine and the race detector.
func TestFiftyViewersCostLittle(t *testing.T) {
	const viewers, seconds = 50, 4
	d := newDemo(400)
	base := serve(t, d)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: viewers}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var events, bytes atomic.Int64
	var wg sync.WaitGroup
	ask := func(path string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
		if err != nil {
			return nil, err
		}
		return client.Do(r)
	}
	for range viewers {
		wg.Go(func() {
			res, err := ask("/ui/stream?boot=demo&since=0")
			if err != nil {
				return
			}
			defer func() { _ = res.Body.Close() }()
			for s := bufio.NewScanner(res.Body); s.Scan(); {
				if len(s.Bytes()) > 6 && s.Text()[:5] == "data:" {
					events.Add(1)
					bytes.Add(int64(len(s.Bytes())))
				}
			}
		})
	}
	for events.Load() < viewers { // everybody has the whole fleet
		if ctx.Err() != nil {
			t.Fatal("the streams did not begin")
		}
		runtime.Gosched()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, e0, b0 := processorTime(t), events.Load(), bytes.Load()
	end := time.After(seconds * time.Second)
	for range viewers * seconds / 5 {
		res, err := ask("/ui/calls")
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal("whom to call:", err)
		}
		_ = res.Body.Close()
	}
	<-end
	spent := processorTime(t) - cpu
	runtime.ReadMemStats(&after)
	n, out := events.Load()-e0, bytes.Load()-b0
	stop()
	wg.Wait()
	t.Logf("%d viewers for %d s: %d events, %d B each, %.2f ms of processor and %d KiB allocated per viewer and second, readers included",
		viewers, seconds, n, out/max(n, 1), spent.Seconds()*1000/viewers/seconds, (after.TotalAlloc-before.TotalAlloc)>>10/viewers/seconds)
	if n < viewers*(seconds-2) {
		t.Errorf("%d events reached %d viewers in %d s", n, viewers, seconds)
	}
	if per := spent / viewers / seconds; per > 30*time.Millisecond {
		t.Errorf("a viewer costs %s of processor a second", per)
	}
}

// processorTime is what this process has used so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
