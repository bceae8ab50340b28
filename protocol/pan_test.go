package protocol

import (
	"fmt"
	"strings"
	"testing"
)

func TestFindPAN(t *testing.T) {
	for s, want := range map[string][2]bool{ // in ids, in texts
		"4111111111111111":                     {true, true},
		"POS-4111111111111111x":                {true, true},
		"4111 1111 1111 1111":                  {true, true},
		"ref 4111-1111-1111-1111.":             {true, true},
		"4222222222222":                        {true, true}, // Visa of 13
		"378282246310005":                      {true, true}, // Amex
		"3782 822463 10005":                    {true, true},
		"30569309025904":                       {true, true}, // Diners
		"3056 930902 5904":                     {true, true},
		"6011111111111117":                     {true, true},
		"5555555555554444":                     {true, true},
		"2223003122003222":                     {true, true},
		"3530111333300000":                     {true, true},
		"6200000000000005":                     {true, true},
		"4000000000000000006":                  {true, true}, // Visa of 19
		"%B4111111111111111^DOE/J^2512":        {true, true},
		"%B123456789012^X^25":                  {true, true}, // track framing needs no proof
		";4111111111111111=25121010000000?":    {true, true},
		"41 11 11 11 11 11 11 11":              {false, true}, // odd groups: texts only
		"4111 1111-1111 1111":                  {false, true},
		"4111111111111112":                     {false, false}, // Luhn
		"1111111111111117":                     {false, false}, // no scheme
		"411111111111111":                      {false, false}, // no such length
		"94111111111111111":                    {false, false}, // a longer number
		"4006381333931":                        {false, false}, // a GTIN
		"S0042-R03-000187":                     {false, false},
		"31-114-2017-10-01":                    {false, false},
		"550e8400-e29b-41d4-a716-446655440000": {false, false},
		"20261123101502000187":                 {false, false},
		"1-4111-1111-1111-1111":                {false, true}, // till-and-counter numbers look so
		"":                                     {false, false},
	} {
		if got := [2]bool{FindPAN(s, true), FindPAN(s, false)}; got != want {
			t.Errorf("%q: got %v, want %v (id, text)", s, got, want)
		}
	}
}

func TestMaskPAN(t *testing.T) {
	for s, want := range map[string]string{
		"nothing":                                   "nothing",
		"a 4111111111111111 b":                      "a ************1111 b",
		"4111-1111-1111-1111, 378282246310005":      "****-****-****-1111, ***********0005",
		"x ;4111111111111111=25121010000000123? y9": "x ;****************=*****************? y*",
	} {
		got, found := MaskPAN(s)
		if got != want || found != (got != s) {
			t.Errorf("%q: got %q %v, want %q", s, got, found, want)
		}
		if FindPAN(got, false) {
			t.Errorf("%q still holds a card number", got)
		}
	}
}

// TestTillNumbersPass: the long ids that tills really write are hardly ever
// taken for cards; each such refusal would be a sale lost.
func TestTillNumbersPass(t *testing.T) {
	hits := 0
	for i := range 20_000 {
		for _, id := range []string{
			fmt.Sprintf("%d-%d-2026-11-%02d", i%40+1, i, i%28+1),
			fmt.Sprintf("202611%02d%04d%06d", i%28+1, i%400, i),
			fmt.Sprintf("S%04d-R%02d-%06d", i%400, i%9, i),
			fmt.Sprintf("%d", 1795425302123+i*997),
		} {
			if FindPAN(id, true) {
				hits++
				t.Logf("taken for a card: %s", id)
			}
		}
	}
	if hits > 0 {
		t.Errorf("%d of 80000 ids were taken for cards", hits)
	}
}

func FuzzMaskPAN(f *testing.F) {
	f.Add("4111 1111 1111 1111;4111111111111111=25")
	f.Fuzz(func(t *testing.T, s string) {
		got, found := MaskPAN(s)
		if len(got) != len(s) || found != FindPAN(s, false) || !found && got != s {
			t.Fatalf("%q became %q %v", s, got, found)
		}
		if strings.Count(got, "*") < strings.Count(s, "*") {
			t.Fatal("stars vanished")
		}
		if FindPAN(got, false) {
			t.Fatalf("%q still holds a card number", got)
		}
	})
}
