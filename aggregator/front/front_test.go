package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const testHeader = 300 * time.Millisecond

// serving is a front before a net/http that says who it is.
func serving(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := start(ln, func(b []byte, r *Request) ([]byte, bool) {
		if string(r.SKU) == "long" {
			return append(fmt.Appendf(b, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", answerBytes), make([]byte, answerBytes)...), true
		}
		if string(r.SKU) == "unknown" || strings.Contains(string(r.Body), "unknown") {
			return b, false
		}
		if r.Body != nil {
			return fmt.Appendf(b, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nfront %s", len(r.Body)+6, r.Body), true
		}
		body := fmt.Sprintf("front %s %s", r.SKU, r.Location)
		return fmt.Appendf(b, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body), true
	}, timeouts{header: testHeader, write: time.Second, idle: time.Minute})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "net/http %s %s %s", r.Method, r.URL, body)
	}), ReadHeaderTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(f) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t)
	})
	return ln.Addr().String()
}

// endOfPieces closes the sending side.
const endOfPieces = "\x00end"

// talk sends pieces one after the other and reads n answers' bodies.
func talk(t *testing.T, addr string, n int, pieces ...string) []string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	for i, p := range pieces {
		if i > 0 {
			time.Sleep(20 * time.Millisecond) // let the piece before arrive alone
		}
		if p == endOfPieces {
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := c.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	var bodies []string
	in := bufio.NewReader(c)
	for range n {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("after %q: %v", bodies, err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(b))
	}
	return bodies
}

const tail = " HTTP/1.1\r\nHost: x\r\n\r\n"

// ask is a query for many SKUs.
func ask(body string, headers ...string) string {
	h := ""
	for _, s := range headers {
		h += s + "\r\n"
	}
	return fmt.Sprintf("POST /v1/availability/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", len(body), h, body)
}

func get(path string) string { return "GET " + path + tail }

func TestWhoAnswers(t *testing.T) {
	addr := serving(t)
	for _, c := range []struct {
		name, want string
		pieces     []string
	}{
		{"a SKU", "front A ", []string{get("/v1/availability/A")}},
		{"a SKU at a location", "front A S1", []string{get("/v1/availability/A?location=S1")}},
		{"with the usual headers", "front A ", []string{"GET /v1/availability/A HTTP/1.1\r\nhost: x\r\nUser-Agent: curl/8\r\nAccept: */*\r\nConnection: Keep-Alive\r\nAccept-Encoding: gzip\r\n\r\n"}},
		{"torn into pieces", "front ABC ", []string{"GE", "T /v1/availa", "bility/AB", "C HTTP/1.1\r\nHo", "st: x\r\n\r", "\n"}},
		{"a SKU that the caller does not know", "net/http GET /v1/availability/unknown ", []string{get("/v1/availability/unknown")}},
		{"another call in a SKU's place", "net/http GET /v1/availability/changes ", []string{get("/v1/availability/changes")}},
		{"a call below a SKU", "net/http GET /v1/availability/A/explain ", []string{get("/v1/availability/A/explain")}},
		{"an escape", "net/http GET /v1/availability/A%42 ", []string{get("/v1/availability/A%42")}},
		{"two parameters", "net/http GET /v1/availability/A?location=S1&channel=w ", []string{get("/v1/availability/A?location=S1&channel=w")}},
		{"dots", "net/http GET /v1/availability/.. ", []string{get("/v1/availability/..")}},
		{"another path", "net/http GET / ", []string{get("/")}},
		{"a body", "net/http GET /v1/availability/A hi", []string{"GET /v1/availability/A HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"}},
		{"a POST in pieces", "net/http POST /v1/x hello", []string{"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Le", "ngth: 5\r\n\r\nhe", "llo"}},
		{"many SKUs", "front {}", []string{ask("{}")}},
		{"many SKUs in pieces", "front {\"a\"}", []string{"POS", "T /v1/availability/query HTTP/1.1\r\n", "Host: x\r\ncontent-type: application/json\r\nContent-Length: 5\r\n\r", "\n{\"", "a\"}"}},
		{"many SKUs, refused by the caller", "net/http POST /v1/availability/query unknown", []string{ask("unknown")}},
		{"many SKUs beyond the buffer", "net/http POST /v1/availability/query " + strings.Repeat("y", bufferBytes), []string{ask(strings.Repeat("y", bufferBytes))}},
		{"many SKUs, asked twice", "net/http POST /v1/availability/query?a=b {}", []string{strings.Replace(ask("{}"), "query", "query?a=b", 1)}},
		{"many SKUs, no length", "net/http POST /v1/availability/query ", []string{"POST /v1/availability/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n"}},
		{"many SKUs of another type", "net/http POST /v1/availability/query {}", []string{strings.Replace(ask("{}"), "application/json", "text/plain", 1)}},
		{"many SKUs, compressed", "net/http POST /v1/availability/query {}", []string{ask("{}", "Content-Encoding: gzip")}},
		{"many SKUs in chunks", "net/http POST /v1/availability/query {}", []string{"POST /v1/availability/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"}},
		{"many SKUs, two lengths", "400 Bad Request", []string{ask("{}", "Content-Length: 3")}},
		{"the end asked for", "net/http GET /v1/availability/A ", []string{"GET /v1/availability/A HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"}},
		{"HTTP/1.0", "net/http GET /v1/availability/A ", []string{"GET /v1/availability/A HTTP/1.0\r\nHost: x\r\n\r\n"}},
		{"no host", "400 Bad Request: missing required Host header", []string{"GET /v1/availability/A HTTP/1.1\r\nX: y\r\n\r\n"}},
		{"two hosts", "400 Bad Request: too many Host headers", []string{"GET /v1/availability/A HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"}},
		{"half a request and the end", "400 Bad Request", []string{"GET /v1/availability/A HTTP/1.1\r\nHost: x", endOfPieces}},
		{"bare line feeds", "net/http GET /v1/availability/A ", []string{"GET /v1/availability/A HTTP/1.1\nHost: x\n\n"}},
		{"a bad line before the end", "400 Bad Request", []string{"GET /v1/availability/A HTTP/1.1\r\nbad line\r\n"}},
		{"a folded header", "400 Bad Request", []string{"GET /v1/availability/A HTTP/1.1\r\nHost: x\r\n y\r\n\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := talk(t, addr, 1, c.pieces...)[0]
			if got != c.want && !(strings.HasPrefix(c.want, "400") && strings.HasPrefix(got, "400")) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPipelinedRequestsKeepTheirOrder(t *testing.T) {
	addr := serving(t)
	got := talk(t, addr, 5, get("/v1/availability/A")+get("/v1/availability/B")+get("/x")+get("/v1/availability/C"), get("/y"))
	want := []string{"front A ", "front B ", "net/http GET /x ", "net/http GET /v1/availability/C ", "net/http GET /y "}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("answer %d is %q, want %q", i, got[i], want[i])
		}
	}
}

func TestHeadersBeyondTheBufferAreForNetHTTP(t *testing.T) {
	addr := serving(t)
	got := talk(t, addr, 1, "GET /v1/availability/A HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("y", 2*bufferBytes)+"\r\n\r\n")
	if got[0] != "net/http GET /v1/availability/A " {
		t.Errorf("got %q", got[0])
	}
}

func TestATricklingRequestEndsInTime(t *testing.T) {
	addr := serving(t)
	c := dial(t, addr)
	begin := time.Now()
	var err error
	for i := 0; err == nil && time.Since(begin) < 10*testHeader; i++ {
		if i == 0 {
			_, err = c.Write([]byte("GET /v1/availability/A HTTP/1.1\r\nHost: x\r\nX: "))
		} else {
			_, err = c.Write([]byte("y"))
		}
		time.Sleep(testHeader / 10) // each byte well within the time, all together not
	}
	if err == nil {
		t.Errorf("a request that trickles is still read after %s, allowed are %s", time.Since(begin), testHeader)
	}
}

func TestAnIdleConnectionIsKept(t *testing.T) {
	addr := serving(t)
	c := dial(t, addr)
	in := bufio.NewReader(c)
	for i, piece := range []string{get("/v1/availability/A"), get("/v1/availability/A") + "GET /v1/avail", "ability/B" + tail, get("/v1/availability/A")} {
		if i != 2 { // the third ends a request that has begun
			time.Sleep(testHeader * 3 / 2 * time.Duration(min(i, 1)))
		}
		if _, err := c.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAFloodThatReadsNothing: requests whose answers nobody takes hold neither
// memory for all of them nor the connection for ever.
func TestAFloodThatReadsNothing(t *testing.T) {
	addr := serving(t)
	c := dial(t, addr)
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	flood := []byte(strings.Repeat(get("/v1/availability/long"), 100))
	for {
		if _, err := c.Write(flood); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("still connected")
		} else if err != nil {
			return
		}
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestManyClientsAndClose: clients of both kinds, torn and pipelined, while the
// front closes under them.
func TestManyClientsAndClose(t *testing.T) {
	defer goleak.VerifyNone(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	f := New(ln, func(b []byte, _ *Request) ([]byte, bool) { return append(b, answer...), true })
	srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(f) }()
	var wg sync.WaitGroup
	var answered atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			two := get("/v1/availability/A") + get("/v1/availability/B")
			got := make([]byte, 2*len(answer))
			for n := 0; ; n++ {
				cut := (n + i) % len(two)
				if _, err := c.Write([]byte(two[:cut])); err != nil {
					return
				}
				if _, err := c.Write([]byte(two[cut:])); err != nil {
					return
				}
				if _, err := io.ReadFull(c, got); err != nil {
					return // closed, and not in the midst of an answer
				}
				if string(got) != answer+answer {
					t.Errorf("got %q", got)
					return
				}
				if answered.Add(1); i%4 == 3 && n == 20 {
					_, _ = c.Write([]byte(get("/other"))) // net/http's from here on
					return
				}
			}
		})
	}
	for answered.Load() < 500 {
		runtime.Gosched()
	}
	stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	wg.Wait()
}

func TestConnectionsEndWithClose(t *testing.T) {
	defer goleak.VerifyNone(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := New(ln, func(b []byte, _ *Request) ([]byte, bool) { return b, false })
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("GET /x")); err != nil { // nobody accepts it
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
}

// FuzzParse: whatever comes, parse neither panics nor takes what net/http would
// not read as the same request.
func FuzzParse(f *testing.F) {
	f.Add([]byte(get("/v1/availability/A?location=S1")))
	f.Add([]byte(ask(`{"skus":["A"]}`, "Authorization: Bearer t")))
	f.Add([]byte("GET /v1/availability/A HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nContent-Length: 3\r\n\r\nabc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, size, v := parse(b)
		if v != mine {
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(b[:size]))))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b[:size], err)
		}
		for n := range size { // torn anywhere, it is waited for
			if _, _, v := parse(b[:n]); v != partial {
				t.Fatalf("%q: its first %d bytes are judged %d", b[:size], n, v)
			}
		}
		want, method := "/v1/availability/"+string(r.SKU), http.MethodGet
		if r.bulk {
			want, method = "/v1/availability/query", http.MethodPost
		}
		body, err := io.ReadAll(req.Body)
		if err != nil || string(body) != string(r.Body) || r.bulk && !strings.EqualFold(req.Header.Get("Content-Type"), "application/json") {
			t.Fatalf("%q: net/http reads the body %q, %v", b[:size], body, err)
		}
		if req.Method != method || req.URL.Path != want || req.URL.Query().Get("location") != string(r.Location) ||
			req.Host != string(r.Host) || req.Close || req.Header.Get("Authorization") != string(r.Authorization) || req.Header.Get("Content-Encoding") != "" {
			t.Fatalf("%q: net/http reads %s %s host %q, we read %q at %q host %q", b[:size], req.Method, req.URL, req.Host, r.SKU, r.Location, r.Host)
		}
	})
}

// TestAnAnswerAfterALongPause: the time for an answer begins with its request, not
// with the pause before it.
func TestAnAnswerAfterALongPause(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := start(ln, func(b []byte, _ *Request) ([]byte, bool) {
		return append(b, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"...), true
	}, timeouts{header: time.Second, write: 200 * time.Millisecond, idle: time.Minute})
	defer func() { _ = f.Close() }()
	c := dial(t, ln.Addr().String())
	in := bufio.NewReader(c)
	for i := range 2 {
		if i > 0 {
			time.Sleep(500 * time.Millisecond)
		}
		if _, err := c.Write([]byte(get("/v1/availability/A"))); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		_ = resp.Body.Close()
	}
}
