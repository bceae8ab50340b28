package telemetry

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/rs/zerolog"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"tillwire/protocol"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func document(n byte) *Document {
	return &Document{
		EventID: protocol.EventID{n}, Kind: protocol.KindSale, DocumentID: "S1-R3-000187", Traceparent: parent,
		Origin: protocol.Origin{Store: "S1", Agent: "server"}, Epoch: 1, Seq: uint64(n), OccurredUS: 1_000_000, RecordUS: 3_000_000, MergedUS: 2_500_000,
	}
}

func TestSampled(t *testing.T) {
	for tp, want := range map[string]bool{parent: true, parent[:53] + "00": false, parent[:53] + "03": true, "": false, "00-nonsense": false} {
		if Sampled(tp) != want {
			t.Errorf("%q: %v, want %v", tp, !want, want)
		}
	}
}

// What is sent is OTLP by the definition of OpenTelemetry itself, which refuses
// fields that it does not know.
func TestACollectorUnderstands(t *testing.T) {
	got := make(chan []byte, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer x" {
			b = nil
		}
		got <- b
	}))
	defer srv.Close()
	x := New(Options{Endpoint: srv.URL + "/v1/traces", Headers: map[string]string{"Authorization": "Bearer x"}, Version: "v1", Log: zerolog.Nop()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	x.Tell(document(1))
	b := <-got
	for n, _, _ := x.Counts(); n == 0; n, _, _ = x.Counts() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var data tracev1.TracesData
	if err := protojson.Unmarshal(b, &data); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	spans := data.ResourceSpans[0].ScopeSpans[0].Spans
	if len(spans) != 2 || spans[0].Name != "journal sale" || spans[1].Kind != tracev1.Span_SPAN_KIND_CONSUMER {
		t.Fatalf("%v", spans)
	}
	for _, s := range spans {
		if s.EndTimeUnixNano < s.StartTimeUnixNano { // two clocks may contradict each other
			t.Errorf("%s ends before it begins", s.Name)
		}
	}
	if string(spans[1].ParentSpanId) != string(spans[0].SpanId) {
		t.Error("the merge does not hang below the journal")
	}
}

func TestASlowCollectorCostsNothing(t *testing.T) {
	x := New(Options{Endpoint: "http://127.0.0.1:1", Log: zerolog.Nop()})
	for n := range queueMax + 100 {
		x.Tell(document(byte(n)))
	}
	if _, dropped, _ := x.Counts(); dropped != 100 {
		t.Errorf("%d dropped, want 100", dropped)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	for {
		if _, _, failed := x.Counts(); failed == queueMax {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
}
