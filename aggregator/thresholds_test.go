package aggregator_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestThresholds follows a channel's in, low and out while stock is reserved away.
func TestThresholds(t *testing.T) {
	r := start(t, true)
	r.do("POST /v1/feeds/{source}/snapshot", "/v1/feeds/wms/snapshot", `{"snapshot_id":"n1","location":"DC1","as_of":"2026-11-23T10:00:00Z","lines":[{"sku":"A","quantity":10}]}`)
	r.do(routePutPolicy, "/v1/policies/low", `{"policy_id":"low","values":{"low_at":3}}`, asJSON)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.agg.HTTPAddr()+"/v1/availability/stream?events=thresholds&channel=web", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	next := func(name string) string {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == "event: "+name {
				lines.Scan()
				lines.Scan()
				return lines.Text()
			}
		}
		t.Fatalf("no %s: %v", name, lines.Err())
		return ""
	}
	next("reset")
	r.reserve("a", 7, "")
	if s := next("thresholds"); !strings.Contains(s, `"state":"low","was":"in","available":3`) {
		t.Errorf("low: %s", s)
	}
	r.reserve("b", 3, "")
	if s := next("thresholds"); !strings.Contains(s, `"state":"out","was":"low","available":0`) {
		t.Errorf("out: %s", s)
	}
	r.do(routeDelete, "/v1/reservations/a", "")
	if s := next("thresholds"); !strings.Contains(s, `"state":"in","was":"out","available":7`) {
		t.Errorf("in: %s", s)
	}
}
