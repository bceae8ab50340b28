package aggregator_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"tillwire/aggregator"
)

var moments = regexp.MustCompile(`"(as_of|lag_s)":("[^"]*"|[0-9.]+)`)

// raw asks on a connection of its own, which is the front's until it gives it
// away: a pooled one may be net/http's already. Only the front leaves blanks
// before the length, which tells who answered.
func (r *running) raw(path, host string, headers ...string) (a answer, front bool) {
	r.t.Helper()
	return r.rawCall("GET "+path, host, "", headers...)
}

// rawCall is raw with a method and a body.
func (r *running) rawCall(call, host, body string, headers ...string) (a answer, front bool) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.agg.HTTPAddr())
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if r.key != "" {
		headers = append(headers, "Authorization: Bearer "+r.key)
	}
	if body != "" {
		headers = append(headers, "Content-Type: application/json", "Content-Length: "+strconv.Itoa(len(body)))
	}
	lines := append([]string{call + " HTTP/1.1", "Host: " + host}, headers...)
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"+body); err != nil {
		r.t.Fatal(err)
	}
	var seen bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &seen)), nil)
	if err != nil {
		r.t.Fatalf("%s: %v", call, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a = answer{resp.StatusCode, resp.Header, b}
	if body == "" {
		r.hold(routeAvail, a)
	}
	return a, strings.Contains(seen.String(), "Content-Length:  ")
}

// TestSameAnswers asks both ways: through the front, and through net/http (a
// header that the front leaves to it). Only the moment may differ, and what is
// left of the rate.
func TestSameAnswers(t *testing.T) {
	for name, dev := range map[string]bool{"dev": true, "with keys": false} {
		t.Run(name, func(t *testing.T) {
			r := start(t, dev)
			r.key = issue(t, r, "ops", "ann")
			r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "4006381333931", 5.5)+","+receipt("r2", "B-1", 3)+`]}`)
			for _, c := range []struct {
				path  string
				front bool
			}{
				{"/v1/availability/4006381333931", true},
				{"/v1/availability/04006381333931?location=DC1", true},
				{"/v1/availability/B-1?location=nowhere", true},
				{"/v1/availability/B-1", true},
				{"/v1/availability/B-1?location=DC1,S1", false},
				{"/v1/availability/B%2D1", false},
				{"/v1/availability/B-1?group=North", false},
				{"/v1/availability/unknown", false},
				{"/v1/availability/4006381333932", false}, // a wrong check digit
			} {
				fast, front := r.raw(c.path, r.agg.HTTPAddr())
				long, both := r.raw(c.path, r.agg.HTTPAddr(), "Te: x")
				if front != c.front || both {
					t.Errorf("%s: answered by the front: %t, want %t; the long way: %t", c.path, front, c.front, both)
				}
				if fast.status != long.status || moments.ReplaceAllString(string(fast.body), "") != moments.ReplaceAllString(string(long.body), "") {
					t.Errorf("%s:\nfront    %d %s\nnet/http %d %s", c.path, fast.status, fast.body, long.status, long.body)
				}
				if f, l := names(fast.header), names(long.header); f != l {
					t.Errorf("%s: headers\nfront    %s\nnet/http %s", c.path, f, l)
				}
			}
		})
	}
}

// TestSameAnswersToQueries is TestSameAnswers for many SKUs at once.
func TestSameAnswersToQueries(t *testing.T) {
	const call = "POST /v1/availability/query"
	for name, dev := range map[string]bool{"dev": true, "with keys": false} {
		t.Run(name, func(t *testing.T) {
			r := start(t, dev)
			r.key = issue(t, r, "ops", "ann")
			r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "4006381333931", 5.5)+","+receipt("r2", "B-1", 3)+`]}`)
			for _, c := range []struct {
				body  string
				front bool
			}{
				{`{"skus":["4006381333931","B-1"]}`, true},
				{`{"skus":["B-1"],"locations":["DC1","S1"]}`, true},
				{`{"skus":["B-1","unknown","4006381333931","none <&>"],"channel":"web"}`, true},
				{`{"skus":["unknown"],"locations":["nowhere"]}`, true},
				{`{"skus":["4006381333932"]}`, false}, // a wrong check digit
				{`{"skus":[]}`, false},
				{`{"skus":["B-1"],"more":true}`, false},
				{`{"skus":["B\u002d1"]}`, false},
				{`{"skus":["B-1"]`, false},
			} {
				fast, front := r.rawCall(call, r.agg.HTTPAddr(), c.body)
				long, both := r.rawCall(call, r.agg.HTTPAddr(), c.body, "Te: x")
				if front != c.front || both {
					t.Errorf("%s: answered by the front: %t, want %t; the long way: %t", c.body, front, c.front, both)
				}
				if fast.status != long.status || moments.ReplaceAllString(string(fast.body), "") != moments.ReplaceAllString(string(long.body), "") {
					t.Errorf("%s:\nfront    %d %s\nnet/http %d %s", c.body, fast.status, fast.body, long.status, long.body)
				}
				if f, l := names(fast.header), names(long.header); f != l {
					t.Errorf("%s: headers\nfront    %s\nnet/http %s", c.body, f, l)
				}
			}
			if dev { // no keys are asked
				return
			}
			for key, want := range map[string]int{issue(t, r, "feed", "wms"): http.StatusForbidden, "": http.StatusUnauthorized, r.key + "x": http.StatusUnauthorized} {
				r.key = key
				if a, front := r.rawCall(call, r.agg.HTTPAddr(), `{"skus":["B-1"]}`); a.status != want || front {
					t.Errorf("key %q: %d, by the front: %t; want %d", key, a.status, front, want)
				}
			}
			r.key = issue(t, r, "ops", "ann")
			if a, front := r.rawCall(call, "evil.example", `{"skus":["B-1"]}`); a.status != http.StatusMisdirectedRequest || front {
				t.Errorf("another host: %d, by the front: %t", a.status, front)
			}
		})
	}
}

// TestTheFrontRefusesNobodyLess: what the API refuses is refused on the front's
// connections too, after the same was allowed to another.
func TestTheFrontRefusesNobodyLess(t *testing.T) {
	r := start(t, false)
	r.key = issue(t, r, "ops", "ann")
	r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r2", "B-1", 3)+`]}`)
	good, feed := r.key, issue(t, r, "feed", "wms")
	for _, c := range []struct {
		name, key, host string
		status          int
		front           bool
	}{
		{"a good key", good, r.agg.HTTPAddr(), http.StatusOK, true},
		{"a forged key", "twk1.ops.mallory.1.x", r.agg.HTTPAddr(), http.StatusUnauthorized, false},
		{"a good key with a letter more", good + "x", r.agg.HTTPAddr(), http.StatusUnauthorized, false},
		{"no key", "", r.agg.HTTPAddr(), http.StatusUnauthorized, false},
		{"a feed's key", feed, r.agg.HTTPAddr(), http.StatusForbidden, false},
		{"another host", good, "evil.example", http.StatusMisdirectedRequest, false},
		{"the good key again", good, r.agg.HTTPAddr(), http.StatusOK, true},
	} {
		r.key = c.key
		if a, front := r.raw("/v1/availability/B-1", c.host); a.status != c.status || front != c.front {
			t.Errorf("%s: %d, by the front: %t; want %d, %t", c.name, a.status, front, c.status, c.front)
		}
	}
}

func issue(t *testing.T, r *running, role, name string) string {
	t.Helper()
	key, err := aggregator.IssueKey(r.cfg, role, name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// names lists the headers, with their values where those must be the same.
func names(h http.Header) string {
	var out []string
	for k, v := range h {
		switch k {
		case "Date", "Ratelimit", "Content-Length": // the moment, its length, and what the calls before left
			out = append(out, k)
		default:
			out = append(out, k+": "+strings.Join(v, ", "))
		}
	}
	sort.Strings(out)
	return strings.Join(out, "; ")
}
