package fleet

import (
	"fmt"
	"math"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

const flowStart = int64(1_800_000_000) // s, on a minute

func minute(n int64) int64 { return (flowStart + n*60) * 1e6 }

func TestFlowsKeepAMinuteAtATime(t *testing.T) {
	var f Flows
	wms := func(lag float64, waits, moved uint64) []Flow { return []Flow{{"connector/wms", lag, waits, moved}} }
	if !f.Due(minute(0)) {
		t.Fatal("the first minute is not due")
	}
	f.Sample(minute(0)+5e6, wms(0, 0, 1000)) // what passed before is nobody's minute
	if got := f.History("connector/wms"); len(got) != 0 || f.Due(minute(0)+59e6) {
		t.Fatalf("after the first look: %+v", got)
	}
	f.Sample(minute(1)+1e6, wms(4.2, 7, 1030))
	f.Sample(minute(1)+30e6, wms(99, 99, 9999)) // of the same minute
	f.Sample(minute(2), wms(0, 0, 1030))
	f.Sample(minute(5), wms(60, 1, 1060)) // two minutes nobody looked: 30 in three
	f.Sample(minute(6), wms(0, 0, 12))    // counts from its start again
	want := []protocol.FlowPoint{
		{AtS: flowStart + 60, LagS: 4.2, Waits: 7, PerMin: 30},
		{AtS: flowStart + 120},
		{AtS: flowStart + 300, LagS: 60, Waits: 1, PerMin: 10},
		{AtS: flowStart + 360, PerMin: 12},
	}
	if d := cmp.Diff(want, f.History("connector/wms")); d != "" {
		t.Error(d)
	}
	f.Sample(minute(4), wms(1, 1, 1)) // the clock was set back
	if got := f.History("connector/wms"); len(got) != len(want) {
		t.Errorf("a minute before the newest was taken: %+v", got)
	}
	f.Sample(minute(7), []Flow{{Name: "erp/tryton", LagS: -3}}) // the feed is configured no more
	f.Sample(minute(8), []Flow{{Name: "erp/tryton", LagS: -3}})
	if got := f.History("connector/wms"); got != nil {
		t.Errorf("what is gone is kept: %+v", got)
	}
	if got := f.History("erp/tryton"); len(got) != 1 || got[0].LagS != 0 {
		t.Errorf("%+v", got)
	}
}

// What is kept is bounded in time and in number, whatever is asked to be kept.
func TestFlowsAreBounded(t *testing.T) {
	if size := unsafe.Sizeof(flowSample{}); size != 6 {
		t.Errorf("a sample is %d bytes; the README says 6", size)
	}
	var f Flows
	one := []Flow{{Name: "connector/wms", Moved: math.MaxUint64, Waits: math.MaxUint64, LagS: math.MaxFloat64}}
	f.Sample(minute(-2), one)
	f.Sample(minute(-1), one)
	if got := f.History("connector/wms"); len(got) != 1 || got[0].LagS < 1e11 || got[0].Waits < 1e12 {
		t.Errorf("the largest that can be: %+v", got)
	}
	for n := range int64(coarseSamples + 40) {
		one[0].LagS = float64(n) / 10
		f.Sample(minute(n), one)
	}
	got := f.History("connector/wms")
	if len(got) != coarseSamples || got[0].AtS != flowStart+40*60 || got[coarseSamples-1].LagS != float64(coarseSamples+39)/10 {
		t.Errorf("%d points from %d, the newest %+v", len(got), got[0].AtS-flowStart, got[len(got)-1])
	}
	f.Sample(minute(1e6), one) // two years later
	if got = f.History("connector/wms"); len(got) != 1 {
		t.Errorf("%d points of before a sleep of years", len(got))
	}
	many := make([]Flow, 2*flowsMax)
	for i := range many {
		many[i].Name = fmt.Sprint("subscription/", i)
	}
	f.Sample(minute(1e6+1), many)
	f.Sample(minute(1e6+2), many)
	if len(f.by) != flowsMax {
		t.Errorf("%d connections are kept", len(f.by))
	}
}

func BenchmarkFlowsSample(b *testing.B) {
	var f Flows
	all := make([]Flow, 64)
	for i := range all {
		all[i].Name = fmt.Sprint("subscription/", i)
	}
	b.ReportAllocs()
	for n := range int64(b.N) {
		f.Sample(minute(n), all)
	}
}
