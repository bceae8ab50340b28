package aggregator_test

import (
	"net/http"
	"regexp"
	"sort"
	"strings"
	"testing"

	"tillwire/aggregator"
)

var moments = regexp.MustCompile(`"(as_of|lag_s)":("[^"]*"|[0-9.]+)`)

// TestSameAnswers asks both ways: through the front, and through net/http (a
// header that the front leaves to it). Only the moment may differ, and what is
// left of the rate.
func TestSameAnswers(t *testing.T) {
	for name, dev := range map[string]bool{"dev": true, "with keys": false} {
		t.Run(name, func(t *testing.T) {
			r := start(t, dev)
			key, err := aggregator.IssueKey(r.cfg, "ops", "ann")
			if err != nil {
				t.Fatal(err)
			}
			r.key = key
			r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "4006381333931", 5.5)+","+receipt("r2", "B-1", 3)+`]}`)
			slow := func(q *http.Request) { q.Header.Set("Te", "x") }
			for _, path := range []string{
				"/v1/availability/4006381333931", "/v1/availability/04006381333931?location=DC1", "/v1/availability/B-1?location=nowhere",
				"/v1/availability/B-1", "/v1/availability/unknown", "/v1/availability/4006381333932",
			} {
				fast, long := r.do(routeAvail, path, ""), r.do(routeAvail, path, "", slow)
				if fast.status != long.status || moments.ReplaceAllString(string(fast.body), "") != moments.ReplaceAllString(string(long.body), "") {
					t.Errorf("%s:\nfront    %d %s\nnet/http %d %s", path, fast.status, fast.body, long.status, long.body)
				}
				if f, l := names(fast.header), names(long.header); f != l {
					t.Errorf("%s: headers\nfront    %s\nnet/http %s", path, f, l)
				}
			}
			r.key = "twk1.ops.mallory.1.x"
			if got := r.do(routeAvail, "/v1/availability/B-1", ""); !dev && got.status != http.StatusUnauthorized {
				t.Errorf("a forged key: %d", got.status)
			}
			r.key = ""
			if got := r.do(routeAvail, "/v1/availability/B-1", "", func(q *http.Request) { q.Host = "evil.example" }); got.status != http.StatusMisdirectedRequest {
				t.Errorf("another host: %d", got.status)
			}
			feed, err := aggregator.IssueKey(r.cfg, "feed", "wms")
			if err != nil {
				t.Fatal(err)
			}
			r.key = feed
			if got := r.do(routeAvail, "/v1/availability/B-1", ""); !dev && got.status != http.StatusForbidden {
				t.Errorf("a feed's key: %d", got.status)
			}
		})
	}
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
