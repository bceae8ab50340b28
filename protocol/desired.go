package protocol

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Desired is what an agent is to be like (topic dn/desired): a whole document,
// never a change. Versions rise; the agent's heartbeat says which it applied. A key
// that the agent does not know makes it refuse the document, and say so.
type Desired struct {
	V       int                        `json:"v"`
	Version uint64                     `json:"version"`
	Values  map[string]json.RawMessage `json:"values"`
}

// The keys of Desired.Values that this version knows. One that is left out leaves
// the matter to the agent's own configuration.
const (
	DesiredHeartbeatS   = "heartbeat_s"
	DesiredAgentVersion = "agent_version"
)

// Setting is one key of a desired state, and what its value may be.
type Setting struct {
	Key      string
	Help     string
	Min, Max int64    // of a whole number; Max 0: the value is a text
	Words    []string // a text is one of these; none: any of 1 to NameBytesMax bytes
}

// Settings lists the keys, as people and both ends of the line know them. Only what
// a wrong value cannot break for good stands here: whatever an agent is told, it
// still journals, still connects, and can be told otherwise.
func Settings() []Setting {
	return []Setting{
		{Key: DesiredHeartbeatS, Min: 5, Max: 30, Help: "seconds between heartbeats"},
		{Key: DesiredAgentVersion, Help: "version that the host is to run; an agent with update.keys fetches it when it is released and signed, others tell the difference"},
	}
}

// Bounds of a desired state.
const (
	DesiredValuesMax     = 32
	DesiredValueBytesMax = 1024
)

// Takes says what the value may be, in words that follow "must be".
func (s *Setting) Takes() string {
	switch {
	case s.Max != 0:
		return fmt.Sprintf("a whole number from %d to %d", s.Min, s.Max)
	case len(s.Words) != 0:
		return strings.Join(s.Words, ", ")
	}
	return fmt.Sprintf("a text of 1 to %d bytes", NameBytesMax)
}

// check says what is wrong with a value; "" where nothing is.
func (s *Setting) check(v json.RawMessage) string {
	var n int64
	var text string
	switch {
	case len(v) > DesiredValueBytesMax:
		return fmt.Sprintf("has %d bytes, at most %d are allowed", len(v), DesiredValueBytesMax)
	case string(v) == "null":
	case s.Max != 0:
		if json.Unmarshal(v, &n) == nil && n >= s.Min && n <= s.Max {
			return ""
		}
	case json.Unmarshal(v, &text) != nil || text == "" || len(text) > NameBytesMax:
	case len(s.Words) == 0 || slices.Contains(s.Words, text):
		return ""
	}
	return fmt.Sprintf("is %.64s, must be %s", v, s.Takes())
}

// CheckDesired names every value that cannot be applied: a key that is not known, or
// a value out of its bounds. One is enough to refuse the whole: half of a document is
// a state that nobody wanted.
func CheckDesired(values map[string]json.RawMessage) []FieldError {
	if len(values) > DesiredValuesMax {
		return []FieldError{{Message: fmt.Sprintf("has %d values, at most %d are allowed", len(values), DesiredValuesMax)}}
	}
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	all := Settings()
	var wrong []FieldError
	for _, k := range keys {
		what := "is not known"
		if i := slices.IndexFunc(all, func(s Setting) bool { return s.Key == k }); i >= 0 {
			what = all[i].check(values[k])
		} else if near := nearest(k, all); near != "" {
			what += fmt.Sprintf("; did you mean %q?", near)
		}
		if what != "" {
			wrong = append(wrong, FieldError{Pointer: fmt.Sprintf("/%.64s", k), Message: what})
		}
	}
	return wrong
}

// nearest is the key that begins or ends like one that is not known.
func nearest(key string, all []Setting) string {
	for _, s := range all {
		if n := min(len(key), len(s.Key)); n >= 3 && (key[:3] == s.Key[:3] || key[len(key)-3:] == s.Key[len(s.Key)-3:]) {
			return s.Key
		}
	}
	return ""
}

// DesiredValue reads a value as a person writes it: 10, or debug.
func DesiredValue(key, s string) json.RawMessage {
	for _, k := range Settings() {
		if _, err := strconv.ParseInt(s, 10, 64); err == nil && k.Key == key && k.Max != 0 {
			return json.RawMessage(s)
		}
	}
	b, _ := json.Marshal(s) // a string always can
	return b
}

// DesiredState is what the API tells of an agent's desired state.
type DesiredState struct {
	Version        uint64                     `json:"version"` // 0: none was ever wanted
	Values         map[string]json.RawMessage `json:"values"`
	By             string                     `json:"by,omitempty"`
	At             *time.Time                 `json:"at,omitempty"`
	AppliedVersion uint64                     `json:"applied_version"`
	Refused        string                     `json:"refused,omitempty"` // why the agent did not apply the newest
}
