package aggregator_test

import (
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/aggregator"
)

// A feed that sends, a receiver that is told and an ERP that is posted to have curves,
// on the pages of a running aggregator.
func TestFlowsOfConnectionsAreDrawn(t *testing.T) {
	erp := httptest.NewServer(&bridge{booked: map[string]string{}})
	defer erp.Close()
	var ahead atomic.Int64 // minutes
	r := start(t, true)
	r.stop()
	began := time.Now()
	r.now = func() time.Time { // a minute begins with the test, and ends when the test says so
		return began.Truncate(time.Minute).Add(time.Since(began) + time.Duration(ahead.Load())*time.Minute)
	}
	r.cfg.ERPs = []aggregator.ERPConfig{{
		Name: "erp", Kind: aggregator.ERPHTTP, URL: erp.URL, Window: "interval", Every: aggregator.Duration(time.Second),
		Stores: []aggregator.ERPStoreConfig{{Store: "DC1", Warehouse: "P100"}},
	}}
	r.open()
	x := r.receive()
	sub := r.do(routeSubscribe, "/v1/subscriptions", `{"url":"`+x.srv.URL+`","name":"shop"}`).field(t, "id").(string)
	r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r0", "4006381333931", 5)+`]}`)
	v := r.visitor()
	next := func(until func() bool) { // a minute passes, and is kept
		t.Helper()
		ahead.Add(1)
		wait(t, "the minute is kept", until)
	}
	points := func(of string) int {
		_, body := v.get("/ui/flow?of=" + of)
		_, list, _ := strings.Cut(body, `"per_min":[`)
		list, _, _ = strings.Cut(list, "]")
		if list == "" {
			return 0
		}
		return strings.Count(list, ",") + 1
	}
	for points("connector/wms") == 0 { // the first minute only counts
		next(func() bool { return true })
		time.Sleep(time.Second)
	}
	kept := points("connector/wms")
	r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "4006381333931", 5)+`,`+receipt("r2", "4006381333931", 5)+`,`+receipt("r3", "4006381333931", 5)+`]}`)
	next(func() bool { return points("connector/wms") > kept })
	for _, of := range []string{"subscription/" + sub, "erp/erp"} {
		if n := points(of); n < 2 {
			t.Errorf("%s has %d points", of, n)
		}
	}
	_, body := v.get("/channels")
	_, body, _ = strings.Cut(body, `data-row="c-wms"`)
	body, _, _ = strings.Cut(body, "</tr>")
	for _, want := range []string{`class="spark lag"`, `class="spark rate"`, "most 3.0 a minute", "never behind"} {
		if !strings.Contains(body, want) {
			t.Errorf("the feed's row has no %q: %s", want, body)
		}
	}
	if _, body = v.get("/postings"); strings.Count(body, `class="spark `) != 3 {
		t.Error("the ERP has no curves")
	}
}
