package protocol

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goldenControl is one message of each kind, every field set.
type goldenControl struct {
	Hello       Hello     `json:"hello"`
	Welcome     Welcome   `json:"welcome"`
	Refused     Welcome   `json:"welcome_refused"`
	Ack         Ack       `json:"ack"`
	Gap         Ack       `json:"ack_gap"`
	Heartbeat   Heartbeat `json:"heartbeat"`
	Will        Will      `json:"will"`
	FirstHello  Hello     `json:"hello_first"`
	FreshRebase Welcome   `json:"welcome_rebase"`
	Holds       Holds     `json:"holds"`
	HoldsStored Heartbeat `json:"heartbeat_holds"`
}

func goldenMessages() goldenControl {
	rows, _ := goldenJournal()
	const boot, install = "b7ad6b7169203331", "0af7651916cd43dd8448eb211c80319c"
	ack := Ack{
		V: Version, Epoch: 7, Lease: 300, MergedSeq: 6, ChainMerged: rows[5].Chain, SafeSeq: 5, Credit: CreditMax, PaceMS: 20,
		EchoUS: goldenStartUS + 9_000_000, RecvUS: goldenStartUS + 9_012_000, SendUS: goldenStartUS + 9_040_000,
	}
	gap := ack
	gap.MergedSeq, gap.ChainMerged, gap.SafeSeq, gap.Nack, gap.Expected = 3, rows[2].Chain, 3, NackGap, 4
	return goldenControl{
		FirstHello: Hello{
			V: Version, InstallID: install, BootID: boot, Tail: 1, Agent: "0.1.0", BootReason: "first", SentUS: goldenStartUS,
		},
		Hello: Hello{
			V: Version, InstallID: install, BootID: boot, Epoch: 7, Tail: 1, Head: 6, ChainHead: rows[5].Chain, Agent: "0.1.0", Generation: 2,
			MergedSeq: 3, ChainMerged: rows[2].Chain, BootReason: "clean", ConfigVer: 4, SentUS: goldenStartUS,
		},
		Welcome: Welcome{
			V: Version, Node: "0", BootID: boot, Epoch: 7, Lease: 300, MergedSeq: 3, ChainMerged: rows[2].Chain, SafeSeq: 3, Credit: 1,
			StartAfterMS: 250, PaceMS: 20, Generation: 2, ServerUS: goldenStartUS + 30_000,
		},
		FreshRebase: Welcome{
			V: Version, Node: "0", BootID: boot, Epoch: 8, Lease: 301, Rebase: true, Credit: 1, Generation: 2, ServerUS: goldenStartUS + 30_000,
		},
		Refused: Welcome{V: Version, BootID: boot, ServerUS: goldenStartUS + 30_000, Refused: "protocol version is 2, this aggregator speaks 1"},
		Ack:     ack, Gap: gap,
		Heartbeat: Heartbeat{
			V: Version, Epoch: 7, Lease: 300, BootID: boot, SentUS: goldenStartUS, Head: 6, Merged: 3, Safe: 3, Tail: 1,
			OldestUnackedUS: rows[3].RecordUS, BacklogEvents: 3, BacklogBytes: 420, DrainPerS: 12.5, LastPOSUS: rows[5].RecordUS,
			Registers: []RegisterSeen{{"R03", rows[5].RecordUS}}, LastError: "frames are not answered", DiskFreeBytes: math.MaxUint32 + 1,
			JournalBytes: 131_072, FsyncP99US: 900, ClockOffsetMS: -2, ClockErrorMS: 1, AgentVersion: "0.1.0", ConfigVersion: 4,
			BootReason: "clean", UptimeS: 61, Counters: map[string]uint64{"link_timeouts": 1, "link_resent": 200},
		},
		Will:  Will{V: Version, Lease: 300, BootID: boot},
		Holds: goldenHolds(),
		HoldsStored: Heartbeat{
			V: Version, Epoch: 7, Lease: 300, BootID: boot, SentUS: goldenStartUS, Head: 6, Merged: 6, Safe: 6, Tail: 7, AgentVersion: "0.1.0",
			HoldsRev: 12, UptimeS: 61,
		},
	}
}

func goldenHolds() Holds {
	pick := []HoldLine{{"04006381333931", Units(2)}, {"2100045", 455}}
	return Holds{
		V: Version, Rev: 12, Parts: 1, Held: []HoldLine{{"04006381333931", Units(3)}, {"2100045", 455}},
		Tasks: []HoldTask{{
			HoldID: "web-100234", State: ReservationPending, Fulfilment: FulfilmentPickup, Channel: "web", OrderID: "O-100234",
			CreatedUS: goldenStartUS, Lines: pick,
		}},
	}
}

func TestGoldenControl(t *testing.T) {
	want := goldenMessages()
	if d := cmp.Diff(golden(t, "control.json", want), want); d != "" {
		t.Fatalf("the file (-) and this code (+) differ:\n%s", d)
	}
	// What the codec writes is the file's JSON, but for white space.
	for m, into := range map[any]any{
		&want.Hello: &Hello{}, &want.Welcome: &Welcome{}, &want.Ack: &Ack{}, &want.Gap: &Ack{}, &want.Heartbeat: &Heartbeat{},
		&want.Will: &Will{}, &want.FirstHello: &Hello{}, &want.Refused: &Welcome{}, &want.Holds: &Holds{}, &want.HoldsStored: &Heartbeat{},
		&want.FreshRebase: &Welcome{},
	} {
		b, err := EncodeControl(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := DecodeControl(b, into); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(into, m); d != "" {
			t.Errorf("%T: %s", m, d)
		}
	}
}

func TestDecodeControl(t *testing.T) {
	padded := func(n int) string { return `{"v":1,"boot_id":"` + strings.Repeat("x", n-20) + `"}` }
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"as it should be", `{"v":1,"lease":2,"boot_id":"b"}`, true},
		{"a newer peer says more", `{"v":1,"lease":2,"later":{"x":[1]}}`, true},
		{"as large as may be", padded(ControlBytesMax), true},
		{"larger", padded(ControlBytesMax + 1), false},
		{"nothing", ``, false},
		{"not JSON", `lease=2`, false},
		{"cut short", `{"v":1,"lease"`, false},
		{"two messages", `{"v":1}{"v":1}`, false},
		{"a list", `[{"v":1}]`, false},
		{"text for a number", `{"lease":"2"}`, false},
		{"below zero", `{"lease":-1}`, false},
		{"beyond 64 bits", `{"lease":18446744073709551616}`, false},
		{"all 64 bits", `{"lease":18446744073709551615}`, true},
		{"a fraction", `{"lease":1.5}`, false},
		{"ten thousand lists", strings.Repeat("[", 20_000), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w Will
			if err := DecodeControl([]byte(c.in), &w); (err == nil) != c.ok {
				t.Fatalf("ok %v, error %v", c.ok, err)
			}
		})
	}
	var a Ack
	if err := DecodeControl([]byte(`{"v":1,"chain_merged":"00"}`), &a); err == nil {
		t.Fatal("a chain of one byte")
	}
}

// asyncAPI is what this test reads of asyncapi.json.
type asyncAPI struct {
	AsyncAPI string `json:"asyncapi"`
	Channels map[string]struct {
		Address    string                    `json:"address"`
		Messages   map[string]ref            `json:"messages"`
		Parameters map[string]map[string]any `json:"parameters"`
	} `json:"channels"`
	Operations map[string]struct {
		Action   string         `json:"action"`
		Channel  ref            `json:"channel"`
		Bindings map[string]any `json:"bindings"`
	} `json:"operations"`
	Components struct {
		Messages map[string]struct {
			ContentType string           `json:"contentType"`
			Payload     json.RawMessage  `json:"payload"`
			Examples    []map[string]any `json:"examples"`
		} `json:"messages"`
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type ref struct {
	Ref string `json:"$ref"`
}

type schema struct {
	Type                 string            `json:"type"`
	Format               string            `json:"format"`
	Ref                  string            `json:"$ref"`
	Description          string            `json:"description"`
	Properties           map[string]schema `json:"properties"`
	Required             []string          `json:"required"`
	Items                *schema           `json:"items"`
	AdditionalProperties any               `json:"additionalProperties"`
	Enum                 []string          `json:"enum"`
	Const                any               `json:"const"`
	Minimum              *float64          `json:"minimum"`
}

func readAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	var doc asyncAPI
	dec := json.NewDecoder(bytes.NewReader(AsyncAPI()))
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestAsyncAPIChannels: the document has the channels of this code, each way,
// and no other; every reference leads somewhere.
func TestAsyncAPIChannels(t *testing.T) {
	doc := readAsyncAPI(t)
	if !strings.HasPrefix(doc.AsyncAPI, "3.") {
		t.Fatalf("AsyncAPI %s", doc.AsyncAPI)
	}
	seen := map[Channel]bool{}
	for name, c := range doc.Channels {
		topic := strings.NewReplacer("{store}", "S0042", "{agent}", "server", "{node}", "0").Replace(c.Address)
		o, ch, node, ok := ParseTopic(topic)
		if !ok || Topic(o, ch, node) != topic {
			t.Errorf("%s: address %s is none of ours", name, c.Address)
			continue
		}
		seen[ch] = true
		for _, p := range []string{"store", "agent", "node"} {
			if _, told := c.Parameters[p]; told != strings.Contains(c.Address, "{"+p+"}") {
				t.Errorf("%s: parameter %s", name, p)
			}
		}
		for m, r := range c.Messages {
			if _, ok := doc.Components.Messages[strings.TrimPrefix(r.Ref, "#/components/messages/")]; !ok {
				t.Errorf("%s: message %s leads to %s", name, m, r.Ref)
			}
		}
	}
	for _, ch := range channels {
		if !seen[ch] {
			t.Errorf("channel %s is missing", ch)
		}
	}
	for name, op := range doc.Operations {
		c, ok := doc.Channels[strings.TrimPrefix(op.Channel.Ref, "#/channels/")]
		if !ok {
			t.Errorf("operation %s leads to %s", name, op.Channel.Ref)
			continue
		}
		if want := map[bool]string{true: "send", false: "receive"}[strings.Contains(c.Address, "/up/")]; op.Action != want {
			t.Errorf("operation %s: the agent's action is %s, want %s", name, op.Action, want)
		}
	}
	if len(doc.Operations) != len(channels) {
		t.Errorf("%d operations for %d channels", len(doc.Operations), len(channels))
	}
}

// TestAsyncAPISchemas holds each control message's schema against its struct:
// names, types, which fields may be left out.
func TestAsyncAPISchemas(t *testing.T) {
	doc := readAsyncAPI(t)
	for name, v := range map[string]any{
		"Renew": Renew{}, "Renewed": Renewed{}, "UpdateState": UpdateState{}, "Hello": Hello{}, "Welcome": Welcome{}, "Ack": Ack{}, "Heartbeat": Heartbeat{}, "Will": Will{}, "RegisterSeen": RegisterSeen{},
		"Desired": Desired{}, "Command": Command{}, "BundlePart": BundlePart{}, "Holds": Holds{}, "HoldTask": HoldTask{}, "HoldLine": HoldLine{},
	} {
		s, ok := doc.Components.Schemas[name]
		if !ok {
			t.Errorf("schema %s is missing", name)
			continue
		}
		var fields, required []string
		for f := range reflect.TypeOf(v).Fields() {
			key, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields = append(fields, key)
			if opts == "" {
				required = append(required, key)
			}
			p := s.Properties[key]
			if got, want := schemaType(p), jsonType(f.Type); got != want {
				t.Errorf("%s.%s: the document says %q, the code %q", name, key, got, want)
			}
			if p.Description == "" && p.Ref == "" {
				t.Errorf("%s.%s is not described", name, key)
			}
		}
		slices.Sort(fields)
		if d := cmp.Diff(slices.Sorted(maps.Keys(s.Properties)), fields); d != "" {
			t.Errorf("%s: document (-), code (+):\n%s", name, d)
		}
		slices.Sort(required)
		if d := cmp.Diff(slices.Sorted(slices.Values(s.Required)), required); d != "" {
			t.Errorf("%s, required: document (-), code (+):\n%s", name, d)
		}
	}
	want := []string{
		string(NackGap), string(NackChain), string(NackSuperseded), string(NackUpgrade), string(NackMalformed), string(NackNoSession), string(NackBusy), string(NackQuarantined),
	}
	if d := cmp.Diff(doc.Components.Schemas["Ack"].Properties["nack"].Enum, want); d != "" {
		t.Errorf("reasons: document (-), code (+):\n%s", d)
	}
}

// schemaType puts a schema into words; a chain is a schema of its own.
func schemaType(s schema) string {
	switch {
	case s.Ref != "":
		return strings.TrimPrefix(s.Ref, "#/components/schemas/")
	case s.Type == "array" && s.Items != nil:
		return "array of " + schemaType(*s.Items)
	case s.Type == "object":
		return "object"
	case s.Type == "integer" && s.Minimum != nil && *s.Minimum == 0:
		return "integer from 0"
	}
	return s.Type
}

func jsonType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Chain]():
		return "Chain"
	case reflect.TypeFor[Quantity]():
		return "number"
	case reflect.TypeFor[[]byte]():
		return "string" // base64
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Uint64:
		return "integer from 0"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Map:
		return "object"
	case reflect.Slice:
		return "array of " + t.Elem().Name()
	case reflect.Pointer:
		return t.Elem().Name()
	default:
		return "?" + t.String()
	}
}

// TestAsyncAPIExamples: the examples are the golden messages.
func TestAsyncAPIExamples(t *testing.T) {
	doc := readAsyncAPI(t)
	g := goldenMessages()
	for name, want := range map[string]any{"hello": g.Hello, "welcome": g.Welcome, "ack": g.Ack, "heartbeat": g.Heartbeat, "will": g.Will, "holds": g.Holds} {
		m := doc.Components.Messages[name]
		if len(m.Examples) == 0 || m.ContentType != "application/json" {
			t.Errorf("%s has no example, or is no JSON", name)
			continue
		}
		b, _ := json.Marshal(m.Examples[0]["payload"])
		w, _ := json.Marshal(want)
		var got, exp any
		if json.Unmarshal(b, &got) != nil || json.Unmarshal(w, &exp) != nil {
			t.Fatal("JSON")
		}
		if d := cmp.Diff(got, exp); d != "" {
			t.Errorf("%s: document (-), code (+):\n%s", name, d)
		}
	}
	if m := doc.Components.Messages["frame"]; m.ContentType == "" || m.ContentType == "application/json" {
		t.Errorf("a frame is %q", m.ContentType)
	}
}
