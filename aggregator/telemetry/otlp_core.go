package telemetry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"

	"tillwire/protocol"
)

// These are the parts of OTLP 1.x in its JSON form that we send (opentelemetry-proto,
// trace/v1; ids in hex, numbers of 64 bits as text).
type (
	tracesData struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	span struct {
		TraceID      string      `json:"traceId"`
		SpanID       string      `json:"spanId"`
		ParentSpanID string      `json:"parentSpanId"`
		Name         string      `json:"name"`
		Kind         int         `json:"kind"`
		Start        string      `json:"startTimeUnixNano"`
		End          string      `json:"endTimeUnixNano"`
		Attributes   []attribute `json:"attributes"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String *string `json:"stringValue,omitempty"`
		Int    *string `json:"intValue,omitempty"`
	}
)

// Kinds of spans, as OTLP numbers them.
const (
	spanServer   = 2
	spanConsumer = 5
)

func text(key, s string) attribute { return attribute{key, value{String: &s}} }

func number(key string, n uint64) attribute {
	s := strconv.FormatUint(n, 10)
	return attribute{key, value{Int: &s}}
}

// Document is what is told of one merged document.
type Document struct {
	EventID     protocol.EventID
	Kind        protocol.Kind
	DocumentID  string
	Traceparent string
	Origin      protocol.Origin
	Epoch, Seq  uint64
	OccurredUS  int64 // the register's clock
	RecordUS    int64 // the agent's clock
	MergedUS    int64 // ours
}

// Sampled tells whether a traceparent (version-traceid-parentid-flags) asks for it.
func Sampled(traceparent string) bool {
	if !protocol.ValidTraceparent(traceparent) || len(traceparent) < 55 {
		return false
	}
	flags, err := strconv.ParseUint(traceparent[53:55], 16, 8)
	return err == nil && flags&1 == 1
}

// spans are two: from the register to the journal, and from there into the ledger.
// Their ids follow from the event, so that what is told twice is one span.
func (d *Document) spans() [2]span {
	trace, parent := d.Traceparent[3:35], d.Traceparent[36:52]
	journal := spanID(d.EventID, "journal")
	about := []attribute{
		text("tillwire.store", string(d.Origin.Store)), text("tillwire.agent", string(d.Origin.Agent)), text("tillwire.document_id", d.DocumentID),
		text("tillwire.event_id", d.EventID.String()), number("tillwire.epoch", d.Epoch), number("tillwire.seq", d.Seq),
	}
	merge := append([]attribute{text("messaging.system", "mqtt"), text("messaging.operation.type", "process")}, about...)
	return [2]span{
		{trace, journal, parent, "journal " + d.Kind.String(), spanServer, nanos(min(d.OccurredUS, d.RecordUS)), nanos(d.RecordUS), about},
		{trace, spanID(d.EventID, "merge"), journal, "merge " + d.Kind.String(), spanConsumer, nanos(min(d.RecordUS, d.MergedUS)), nanos(d.MergedUS), merge},
	}
}

func nanos(us int64) string { return strconv.FormatInt(us*1000, 10) }

func spanID(id protocol.EventID, what string) string {
	sum := sha256.Sum256(append(id[:], what...))
	return hex.EncodeToString(sum[:8])
}

// encode writes a batch.
func encode(docs []Document, version string) ([]byte, error) {
	s := scopeSpans{Scope: scope{Name: "tillwire", Version: version}}
	for i := range docs {
		two := docs[i].spans()
		s.Spans = append(s.Spans, two[:]...)
	}
	return json.Marshal(tracesData{[]resourceSpans{{
		Resource:   resource{[]attribute{text("service.name", "tillwire-aggregator"), text("service.version", version)}},
		ScopeSpans: []scopeSpans{s},
	}}})
}
