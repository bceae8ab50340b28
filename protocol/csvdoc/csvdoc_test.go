package csvdoc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

// told is a file's documents in short, refused ones by their codes.
func told(t *testing.T, file string, o Options) (out []string) {
	t.Helper()
	o.Zone = time.UTC
	r, reason := New(strings.NewReader(file), o)
	if reason != nil {
		t.Fatal(reason)
	}
	for {
		d, ok := r.Next()
		if !ok {
			return out
		}
		w := fmt.Sprintf("%s %q", d.ID, file[d.From:d.To])
		if len(d.Bad) == 0 {
			w = fmt.Sprintf("%s %s %s", d.Events[0].Store, d.Kind, d.ID)
			for _, l := range d.Events[0].Lines {
				w += fmt.Sprintf(" %s×%s", l.SKU, l.Quantity)
			}
		}
		for _, b := range d.Bad {
			if b.Problem == "" || b.Remedy == "" {
				t.Errorf("no words: %+v", b)
			}
			w += fmt.Sprintf(" %d:%s:%s", b.Line, b.Field, b.Code)
		}
		out = append(out, w)
	}
}

// refused tells whether anything of a file is.
func refused(file []byte, o Options) bool {
	r, reason := New(bytes.NewReader(file), o)
	if reason != nil {
		return true
	}
	for d, ok := r.Next(); ok; d, ok = r.Next() {
		if len(d.Bad) > 0 {
			return true
		}
	}
	return false
}

func TestEndings(t *testing.T) {
	const head, one, two = "document_id,occurred_at,sku,quantity\n", "1,2026-11-23T10:00:00Z,A,1\n", "2,2026-11-23T10:00:00Z,B,12\n"
	first, second := "S1 sale 1 A×1", "S1 sale 2 B×12"
	end := Mapping{Trailer: "END"}
	for _, c := range []struct {
		name, file string
		m          Mapping
		want       []string
	}{
		{"a line break", head + one + two, Mapping{}, []string{first, second}},
		{"none", head + one + strings.TrimSuffix(two, "2\n"), Mapping{}, []string{first, `2 "2,2026-11-23T10:00:00Z,B,1" 0::half_file`}},
		{"none, as agreed", head + one + strings.TrimSuffix(two, "\n"), Mapping{OpenEnd: true}, []string{first, second}},
		{"carriage returns", strings.ReplaceAll(head+one+two, "\n", "\r\n"), Mapping{}, []string{first, second}},
		{"a last line", head + one + two + "END\n", end, []string{first, second}},
		{"a last line without break", head + one + two + "END,2", end, []string{first, second}},
		{"the last line is missing", head + one + two, end, []string{first, `2 "` + strings.ReplaceAll(two, "\n", `\n`) + `" 0::half_file`}},
		{"it counts otherwise", head + one + "END,2\n", end, []string{`1 "` + strings.ReplaceAll(one, "\n", `\n`) + `" 0::half_file`}},
		{"it is not the last", head + "END,0\n" + one, end, []string{` "END,0\n` + strings.ReplaceAll(one, "\n", `\n`) + `" 0::half_file`}},
		{"nothing", head, Mapping{}, nil},
		{"nothing, and no last line", head, end, []string{` "" 0::half_file`}},
		{"a line that cannot be read", head + one + "x\n" + two, Mapping{}, []string{
			`1 "` + strings.ReplaceAll(one, "\n", `\n`) + `x\n" 3::wrong_cells`, `2 "x\n` + strings.ReplaceAll(two, "\n", `\n`) + `" 3::wrong_cells`,
		}},
		{"nothing else", head + "x\ny\n", Mapping{}, []string{` "x\ny\n" 3::wrong_cells`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, told(t, c.file, Options{Mapping: c.m, Store: "S1"})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	const file = "document_id,location,occurred_at,sku,quantity\n" +
		"1,0042,2026-11-23T10:00:00Z,A,1\n1,,2026-11-23T10:00:00Z,B,1\n1,S1,2026-11-23T10:00:00Z,A,2\n1,77,2026-11-23T10:00:00Z,A,3\n2,,2026-11-23T10:00:00Z,A,4\n"
	unknown := `1 "1,77,2026-11-23T10:00:00Z,A,3\n" 5:location:unknown_place`
	feed := Options{Feed: true, Store: "S1", Places: map[string]protocol.StoreID{"0042": "S42"}}
	if d := cmp.Diff([]string{"S42 sale 1 A×1 B×1", "S1 sale 1 A×2", unknown, "S1 sale 2 A×4"}, told(t, file, feed)); d != "" {
		t.Error(d)
	}
	feed.Store = ""
	if got := told(t, file, feed); !strings.HasSuffix(got[1], "unknown_place") || !strings.HasSuffix(got[3], "unknown_place") {
		t.Error(got)
	}
	if got := told(t, file, Options{Store: "S1"}); !strings.HasSuffix(got[0], "unknown_place") || got[1] != "S1 sale 1 A×2" {
		t.Errorf("a shop takes another's: %q", got)
	}
}

func TestKindsOfFeedsAndTills(t *testing.T) {
	const file = "kind,document_id,occurred_at,sku,quantity\nadvice,1,2026-11-23T10:00:00Z,X,1\nsnapshot,2,2026-11-23T10:00:00Z,X,0\n"
	if got := told(t, file, Options{Store: "S1"}); !strings.Contains(got[0], "invalid_field") || !strings.Contains(got[1], "invalid_field") {
		t.Errorf("a till advises and states: %q", got)
	}
	want := []string{"S1 advice 1 X×1", "S1 snapshot 2 X×0"}
	if d := cmp.Diff(want, told(t, file, Options{Store: "S1", Feed: true})); d != "" {
		t.Error(d)
	}
}

// FuzzRead: a file ends, a document is whole or refused with words, and its bytes lie
// within the file, one document's behind the other's but for what refuses both.
func FuzzRead(f *testing.F) {
	f.Add([]byte("document_id,register,occurred_at,sku,quantity\n1,R1,2026-11-23 10:00:00,4006381333931,2\n2,R1,2026-11-23T10:01:00+01:00,\"B, large\",1\nEND,2\n"))
	f.Add([]byte("document_id;sku\n1;\"a\n2;b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, reason := New(strings.NewReader(string(b)), Options{Mapping: Mapping{Trailer: "END"}, Store: "S1", Zone: time.UTC})
		if reason != nil {
			if reason.Remedy == "" {
				t.Fatal("no remedy")
			}
			return
		}
		from := r.header
		for range len(b) + 2 {
			d, ok := r.Next()
			if !ok {
				return
			}
			if (len(d.Events) == 0) == (len(d.Bad) == 0) {
				t.Fatalf("half a document: %+v", d)
			}
			if d.From < from || d.To < d.From || d.To > int64(len(b)) {
				t.Fatalf("a document stands in [%d, %d) of %d bytes, the one before began at %d", d.From, d.To, len(b), from)
			}
			from = d.From
			if len(d.Bad) > 0 && !refused(r.Alone(b, &d), r.o) {
				t.Fatalf("alone it is taken: %+v", d)
			}
		}
		t.Fatal("the file does not end")
	})
}
