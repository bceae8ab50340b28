package protocol

import (
	"strings"
	"testing"
)

func FuzzSplitDocuments(f *testing.F) {
	for _, s := range []string{`[{"a":1},{}]`, "{}\n{\n\n{}", `[`, ` [{"a":"]"}] x`, `[{"a":1,"a":2}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		docs, p := SplitDocuments(b)
		if (p == nil) == (len(docs) == 0) {
			t.Fatalf("neither documents nor a problem: %q", b)
		}
		rest := string(b)
		for _, d := range docs { // each is a piece of the body, in order
			i := strings.Index(rest, string(d))
			if i < 0 {
				t.Fatalf("%q is not in %q", d, b)
			}
			rest = rest[i+len(d):]
		}
	})
}

func TestSplitDocuments(t *testing.T) {
	docs, p := SplitDocuments([]byte(" [ {\"a\": \"[]\"} , 7,{\"b\":1,\"b\":2}]\n"))
	if p != nil || len(docs) != 3 || string(docs[0]) != `{"a": "[]"}` || string(docs[1]) != "7" || string(docs[2]) != `{"b":1,"b":2}` {
		t.Errorf("%q %v", docs, p)
	}
}
