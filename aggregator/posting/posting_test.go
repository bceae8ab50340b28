package posting

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

var subject = Subject{Store: "S0042", SKU: "4006381333931", Day: "2026-11-23", Kind: protocol.KindSale}

func TestKeyTellsSubjectsApart(t *testing.T) {
	shape := regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{16}$`)
	seen := map[Key]string{}
	for name, change := range map[string]func(*Subject){
		"itself": func(*Subject) {},
		"store":  func(s *Subject) { s.Store = "S0043" },
		"sku":    func(s *Subject) { s.SKU = "4006381333932" },
		"day":    func(s *Subject) { s.Day = "2026-11-24" },
		"kind":   func(s *Subject) { s.Kind = protocol.KindReturn },
		"round":  func(s *Subject) { s.Round = 1 },
		"border": func(s *Subject) { s.Store, s.SKU = "S00424", "006381333931" },
	} {
		s := subject
		change(&s)
		k := s.Key()
		if !shape.MatchString(string(k)) {
			t.Errorf("%s: key %q has not the shape that ERPs take", name, k)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s share key %s", name, other, k)
		}
		if again := s.Key(); again != k {
			t.Errorf("%s: key is %s, then %s", name, k, again)
		}
		seen[k] = name
	}
}

func TestDate(t *testing.T) {
	for _, c := range []struct {
		name, day, closed, open string
		late                    Late
		want                    Dated
	}{
		{"nothing is closed", "2026-11-21", "", "", LatePark, Dated{Day: "2026-11-21"}},
		{"open day", "2026-11-23", "2026-11-22", "2026-11-23", LateRedate, Dated{Day: "2026-11-23"}},
		{"last closed day", "2026-11-22", "2026-11-22", "2026-11-23", LateRedate, Dated{Day: "2026-11-23", Redated: true}},
		{"closed, to be parked", "2026-11-21", "2026-11-22", "2026-11-23", LatePark, Dated{Parked: true}},
		{"closed, and no day is open", "2026-11-21", "2026-11-22", "2026-11-22", LateRedate, Dated{Parked: true}},
	} {
		if diff := cmp.Diff(c.want, Date(c.day, c.closed, c.open, c.late)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func ExampleSubject_Key() {
	fmt.Println(len(subject.Key()))
	// Output: 16
}
