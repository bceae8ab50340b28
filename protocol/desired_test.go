package protocol

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tillwire/protocol/openapi"
)

func TestCheckDesired(t *testing.T) {
	long := `"` + strings.Repeat("x", NameBytesMax+1) + `"`
	for _, c := range []struct{ name, values, want string }{
		{"nothing", `{}`, ""},
		{"all that is known", `{"heartbeat_s":5,"agent_version":"1.2"}`, ""},
		{"bounds belong to it", `{"heartbeat_s":30}`, ""},
		{"too small", `{"heartbeat_s":4}`, "/heartbeat_s is 4, must be a whole number from 5 to 30"},
		{"too large", `{"heartbeat_s":31}`, "/heartbeat_s is 31, must be a whole number from 5 to 30"},
		{"no number", `{"heartbeat_s":"10"}`, `/heartbeat_s is "10", must be a whole number from 5 to 30`},
		{"no whole number", `{"heartbeat_s":10.5}`, "/heartbeat_s is 10.5, must be a whole number from 5 to 30"},
		{"null", `{"heartbeat_s":null,"agent_version":null}`, "/agent_version is null, must be a text of 1 to 64 bytes; /heartbeat_s is null, must be a whole number from 5 to 30"},
		{"an empty text", `{"agent_version":""}`, `/agent_version is "", must be a text of 1 to 64 bytes`},
		{"a long text", `{"agent_version":` + long + `}`, `/agent_version is ` + long[:64] + `, must be a text of 1 to 64 bytes`},
		{"a value too large to look at", `{"agent_version":"` + strings.Repeat("x", 2000) + `"}`, "/agent_version has 2002 bytes, at most 1024 are allowed"},
		{"a slip", `{"heartbeat":10,"heartbeat_s":10}`, `/heartbeat is not known; did you mean "heartbeat_s"?`},
		{"nothing alike", `{"x":1}`, "/x is not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var values map[string]json.RawMessage
			if err := json.Unmarshal([]byte(c.values), &values); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range CheckDesired(values) {
				got = append(got, e.Pointer+" "+e.Message)
			}
			if s := strings.Join(got, "; "); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
	many := map[string]json.RawMessage{}
	for n := range DesiredValuesMax + 1 {
		many[strings.Repeat("k", n+1)] = json.RawMessage("1")
	}
	if wrong := CheckDesired(many); len(wrong) != 1 || !strings.Contains(wrong[0].Message, "33 values") {
		t.Errorf("too many: %+v", wrong)
	}
}

func TestDesiredValue(t *testing.T) {
	for _, c := range []struct{ key, written, want string }{
		{DesiredHeartbeatS, "10", "10"}, {DesiredHeartbeatS, "soon", `"soon"`}, {DesiredAgentVersion, "1.2", `"1.2"`}, {DesiredAgentVersion, "7", `"7"`},
	} {
		if got := string(DesiredValue(c.key, c.written)); got != c.want {
			t.Errorf("%s=%s: %s, want %s", c.key, c.written, got, c.want)
		}
	}
}

// TestDesiredIsDocumented holds the contract to the table: the same keys, the same
// bounds.
func TestDesiredIsDocumented(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(openapi.Aggregator(), &doc); err != nil {
		t.Fatal(err)
	}
	var at any = doc
	for _, step := range []string{"paths", "/v1/stores/{store}/agents/{agent}/desired", "put", "requestBody", "content", "application/json", "schema", "properties", "values", "properties"} {
		at = at.(map[string]any)[step]
	}
	documented := at.(map[string]any)
	for _, s := range Settings() {
		d, _ := documented[s.Key].(map[string]any)
		if d == nil {
			t.Errorf("%s is not documented", s.Key)
			continue
		}
		delete(documented, s.Key)
		words, _ := d["enum"].([]any)
		same := s.Max == 0 || d["type"] == "integer" && d["minimum"] == float64(s.Min) && d["maximum"] == float64(s.Max)
		if !same || len(words) != len(s.Words) || slices.ContainsFunc(words, func(w any) bool { return !slices.Contains(s.Words, w.(string)) }) {
			t.Errorf("%s is documented as %v, and takes %s", s.Key, d, s.Takes())
		}
	}
	if len(documented) > 0 {
		t.Errorf("documented, but not known: %v", documented)
	}
}
