package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzQueryBody: what the short way reads of a body, encoding/json reads too.
func FuzzQueryBody(f *testing.F) {
	for _, s := range []string{
		`{"skus":["4006381333931","B-1"],"locations":["DC1"],"channel":"web"}`, ` { "locations" : [ "S1" , "S2" ] , "skus" : [ "A" ] } `,
		`{"skus":["A"],"skus":["B"]}`, `{"skus":[]}`, `{"skus":["\u0041"]}`, `{"skus":["A"]}x`, `{"skus":["A",]}`, `{"Skus":["A"]}`, `{"skus":["ü"]}`, `{"skus":null}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var q asked
		if !q.read(string(b)) {
			return
		}
		var want queryRequest
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&want); err != nil || dec.More() {
			t.Fatalf("%q is read, but encoding/json says %v, more %t", b, err, dec.More())
		}
		if strings.Join(q.words, "\n") != strings.Join(want.SKUs, "\n") || strings.Join(q.places, "\n") != strings.Join(want.Locations, "\n") || q.channel != want.Channel {
			t.Fatalf("%q is read as %q %q %q, by encoding/json as %+v", b, q.words, q.places, q.channel, want)
		}
	})
}

func TestQueryBodies(t *testing.T) {
	many := `{"skus":["A"` + strings.Repeat(`,"A"`, fastSKUs) + `]}`
	for body, want := range map[string]bool{
		`{"skus":["A"]}`: true,
		"\n{\t\"skus\": [ \"A\" ],\r\n\"locations\":[\"S1\"], \"channel\":\"web\" } ": true,
		`{"locations":["S1"]}`: false, `{"skus":["A"],"locations":[]}`: false, `{"skus":["A"],"more":1}`: false, `{"skus":["A"]`: false,
		`{"skus":["A"],}`: false, `{"skus":[["A"]]}`: false, `{"skus":["A\"]}`: false, `["A"]`: false, `{"skus":["A"],"locations":["S1"],"locations":["S2"]}`: false,
		many: false, strings.Replace(many, `,"A"`, "", 1): true, "": false, "{": false, "{}": false,
	} {
		var q asked
		if got := q.read(body); got != want {
			t.Errorf("%.60q is read: %t, want %t", body, got, want)
		}
	}
}
