package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var quick = timeouts{whole: 200 * time.Millisecond, write: 150 * time.Millisecond, idle: time.Minute, slack: 20 * time.Millisecond}

// serving is a front before a net/http that says who it is.
func serving(t *testing.T, answer Answer) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := start(ln, answer, quick)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "net/http %s %s %s", r.Method, r.URL, body)
	}), ReadHeaderTimeout: 2 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(f) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		goleak.VerifyNone(t)
	})
	return ln.Addr().String()
}

// echo answers with what was recognised; it refuses a path that says so.
func echo(_ context.Context, b []byte, r *Request) ([]byte, bool) {
	if strings.HasSuffix(string(r.Path), "refused") {
		return b, false
	}
	body := fmt.Sprintf("front %s %s %s %s", r.Path, r.Authorization, r.Traceparent, r.Body)
	return fmt.Appendf(b, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body), true
}

func post(path, body string, headers ...string) string {
	h := ""
	for _, s := range headers {
		h += s + "\r\n"
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", path, len(body), h, body)
}

type talker struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *talker {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &talker{t, c, bufio.NewReader(c)}
}

func (k *talker) say(s string) {
	k.t.Helper()
	if _, err := k.c.Write([]byte(s)); err != nil {
		k.t.Fatal(err)
	}
}

// hear reads one answer's body.
func (k *talker) hear() string {
	k.t.Helper()
	resp, err := http.ReadResponse(k.r, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(b)
}

func TestWhoAnswers(t *testing.T) {
	addr := serving(t, echo)
	const sales = "/v1/sales"
	bare := func(headers string) string { return "POST /v1/sales HTTP/1.1\r\n" + headers + "\r\n{}" }
	for _, c := range []struct {
		name, want string
		pieces     []string
	}{
		{"a document", "front /v1/sales   {}", []string{post(sales, "{}")}},
		{"the usual headers", "front /v1/sales Bearer t 00-a {}", []string{post(sales, "{}", "user-agent: till/1", "Accept: */*", "Connection: Keep-Alive", "AUTHORIZATION: Bearer t", "traceparent:  00-a ", "Accept-Encoding: gzip")}},
		{"names in other case", "front /v1/sales   {}", []string{bare("hOST: x\r\ncontent-TYPE: Application/JSON\r\ncontent-length: 2\r\n")}},
		{"torn into pieces", "front /v1/sales   {\"a\":1}", []string{"PO", "ST /v1/sa", "les HTTP/1.1\r\nHo", "st: x\r\nContent-Type: application/json\r\nContent-Length: 7\r", "\n\r\n{\"a", "\":1}"}},
		{"refused by the caller", "net/http POST /v1/refused {}", []string{post("/v1/refused", "{}")}},
		{"another method", "net/http GET /v1/sales ", []string{"GET /v1/sales HTTP/1.1\r\nHost: x\r\n\r\n"}},
		{"a query", "net/http POST /v1/sales?a=b {}", []string{post(sales+"?a=b", "{}")}},
		{"an escape", "net/http POST /v1/s%61les {}", []string{post("/v1/s%61les", "{}")}},
		{"another type", "net/http POST /v1/sales {}", []string{bare("Host: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n")}},
		{"a type with its charset", "net/http POST /v1/sales {}", []string{bare("Host: x\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n")}},
		{"no type", "net/http POST /v1/sales {}", []string{bare("Host: x\r\nContent-Length: 2\r\n")}},
		{"two types", "net/http POST /v1/sales {}", []string{post(sales, "{}", "Content-Type: application/json")}},
		{"no body", "net/http POST /v1/sales ", []string{"POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n"}},
		{"an empty body", "net/http POST /v1/sales ", []string{post(sales, "")}},
		{"chunks", "net/http POST /v1/sales {}", []string{"POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"}},
		{"a browser's page", "net/http POST /v1/sales {}", []string{post(sales, "{}", "Origin: http://evil.example")}},
		{"a browser", "net/http POST /v1/sales {}", []string{post(sales, "{}", "Sec-Fetch-Site: cross-site")}},
		{"a compressed body", "net/http POST /v1/sales {}", []string{post(sales, "{}", "Content-Encoding: gzip")}},
		{"the end asked for", "net/http POST /v1/sales {}", []string{post(sales, "{}", "Connection: close")}},
		{"two tokens", "net/http POST /v1/sales {}", []string{post(sales, "{}", "Authorization: Bearer a", "Authorization: Bearer b")}},
		{"two lengths", "400 Bad Request", []string{post(sales, "{}", "Content-Length: 3")}},
		{"a negative length", "400 Bad Request", []string{bare("Host: x\r\nContent-Type: application/json\r\nContent-Length: -2\r\n")}},
		{"no host", "400 Bad Request", []string{bare("Content-Type: application/json\r\nContent-Length: 2\r\n")}},
		{"two hosts", "400 Bad Request", []string{post(sales, "{}", "Host: y")}},
		{"a folded header", "400 Bad Request", []string{post(sales, "{}", " folded: x")}},
		{"a bad line before the end", "400 Bad Request", []string{"POST /v1/sales HTTP/1.1\r\nbad line\r\n"}},
		{"a body beyond the buffer", "net/http POST /v1/sales " + strings.Repeat("y", 2*bufferBytes), []string{post(sales, strings.Repeat("y", 2*bufferBytes))}},
		{"a head beyond the buffer", "net/http POST /v1/sales {}", []string{post(sales, "{}", "X: "+strings.Repeat("y", 2*bufferBytes))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := dial(t, addr)
			for i, p := range c.pieces {
				if i > 0 {
					time.Sleep(10 * time.Millisecond) // let the piece before arrive alone
				}
				k.say(p)
			}
			if got := k.hear(); got != c.want && !(strings.HasPrefix(c.want, "400") && strings.HasPrefix(got, "400")) {
				t.Errorf("got %.100q, want %.100q", got, c.want)
			}
		})
	}
}

func TestPipelinedDocumentsKeepTheirOrder(t *testing.T) {
	k := dial(t, serving(t, echo))
	k.say(post("/v1/sales", "1") + post("/v1/sales", "2") + post("/v1/refused", "3") + post("/v1/sales", "4"))
	for _, want := range []string{"front /v1/sales   1", "front /v1/sales   2", "net/http POST /v1/refused 3", "net/http POST /v1/sales 4"} {
		if got := k.hear(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// An answer gets its whole time to be written, however long the connection was idle
// before and the journal took.
func TestAnIdleConnectionIsKept(t *testing.T) {
	k := dial(t, serving(t, func(ctx context.Context, b []byte, r *Request) ([]byte, bool) {
		time.Sleep(2 * quick.write)
		return echo(ctx, b, r)
	}))
	for i := range 3 {
		k.say(post("/v1/sales", "{}"))
		if got := k.hear(); got != "front /v1/sales   {}" {
			t.Fatalf("document %d: %q", i, got)
		}
		time.Sleep(2 * quick.write)
	}
}

// What does not become whole in time is net/http's to wait for.
func TestATricklingDocumentIsHandedOver(t *testing.T) {
	k := dial(t, serving(t, echo))
	whole := post("/v1/sales", strings.Repeat("y", 20))
	k.say(whole[:len(whole)-10])
	time.Sleep(2 * quick.whole)
	k.say(whole[len(whole)-10:])
	if got := k.hear(); !strings.HasPrefix(got, "net/http POST /v1/sales yyy") {
		t.Errorf("got %q", got)
	}
}

func TestMoreConnectionsThanServedHere(t *testing.T) {
	addr := serving(t, echo)
	var here, there int
	for range connsMax + 10 {
		k := dial(t, addr)
		k.say(post("/v1/sales", "{}"))
		if strings.HasPrefix(k.hear(), "front") {
			here++
		} else {
			there++
		}
	}
	if here != connsMax || there != 10 {
		t.Errorf("%d served here and %d by net/http, want %d and 10", here, there, connsMax)
	}
}

// TestCloseUnderLoad: whoever was answered was answered whole; what is being
// journaled is waited for; nothing is left running.
func TestCloseUnderLoad(t *testing.T) {
	defer goleak.VerifyNone(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var begun, answered atomic.Int64
	f := New(ln, func(_ context.Context, b []byte, _ *Request) ([]byte, bool) {
		begun.Add(1)
		time.Sleep(time.Millisecond)
		return append(b, "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"...), true
	})
	srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(f) }()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			r := bufio.NewReader(c)
			for {
				if _, err := c.Write([]byte(post("/v1/sales", "{}"))); err != nil {
					return
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					return
				}
				if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "ok" {
					t.Errorf("%q, %v", b, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for answered.Load() < 200 {
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
	if b, a := begun.Load(), answered.Load(); b != a {
		t.Errorf("%d documents were begun, %d answered", b, a)
	}
}

// A caller that waits for a journal that does not answer is let go in the end.
func TestCloseEndsWhatIsStuck(t *testing.T) {
	defer goleak.VerifyNone(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stuck := make(chan struct{})
	f := New(ln, func(ctx context.Context, b []byte, _ *Request) ([]byte, bool) {
		close(stuck)
		<-ctx.Done()
		return append(b, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"...), true
	})
	k := dial(t, ln.Addr().String())
	k.say(post("/v1/sales", "{}"))
	<-stuck
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if got := k.hear(); got != "" {
		t.Errorf("answer %q", got)
	}
	if _, err := f.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
}

// FuzzParse: whatever comes, parse neither panics nor takes what net/http would
// not read as the same request.
func FuzzParse(f *testing.F) {
	f.Add([]byte(post("/v1/sales", "{}", "Authorization: Bearer t", "Traceparent: 00-a")))
	f.Add([]byte("POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 03\r\n\r\nabcd"))
	f.Add([]byte("POST /v1/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, size, v := parse(b)
		if v != mine {
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(b[:size]))))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b[:size], err)
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Fatalf("net/http cannot read the body of %q: %v", b[:size], err)
		}
		for n := range size { // torn anywhere, it is waited for
			if _, _, v := parse(b[:n]); v != partial {
				t.Fatalf("%q: its first %d bytes are judged %d", b[:size], n, v)
			}
		}
		h := req.Header
		if req.Method != http.MethodPost || req.URL.Path != string(r.Path) || req.URL.RawQuery != "" || req.Host != string(r.Host) || req.Close ||
			string(body) != string(r.Body) || h.Get("Authorization") != string(r.Authorization) || h.Get("Traceparent") != string(r.Traceparent) ||
			!strings.EqualFold(h.Get("Content-Type"), "application/json") || h["Origin"] != nil || h.Get("Content-Encoding") != "" {
			t.Fatalf("%q: net/http reads %s %s %v %q, we read %+v", b[:size], req.Method, req.URL, h, body, r)
		}
	})
}
