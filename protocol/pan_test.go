package protocol

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
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

		"card4111111111111111":                 {true, true}, // a word and a number, whatever letters it ends with
		"cafe4111111111111111":                 {true, true},
		"4111111111111111Visa":                 {true, true},
		"card378282246310005":                  {true, true},
		"pan=4111111111111111,abc":             {true, true},
		"9f4111111111111111ab":                 {false, false}, // hexadecimal: digits beyond the letters
		"a4111111111111111b":                   {false, true},  // nobody knows
		"64ef4111111111111111abcd":             {false, false}, // an object id
		"ord_abcd4111111111111111ef01":         {false, false},
		"550e8400-e29b-41d4-a716-a41111111111": {false, false},
		"deada411-1111-4111-8111-abcdef012345": {false, false}, // groups of digits within a UUID
		"web/deada411-1111-4111-8111-abcdef01": {false, false}, // no UUID, no card either
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
		"CVV: 123":                                  "CVV: ***",
		"cvc2=1234, cvv 99, CVV12345 cvv2":          "cvc2=****, cvv 99, CVV12345 cvv2",
		"4111111111111111 cvv123":                   "************1111 cvv***",
		"recvc 123":                                 "recvc 123",
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
		if len(got) != len(s) || !found && FindPAN(s, false) || found != (got != s) {
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

// TestRandomIDsPass: ids in hexadecimal are hardly ever taken for cards, and cards
// are still found, whatever stands around them.
func TestRandomIDsPass(t *testing.T) {
	rnd := rand.New(rand.NewPCG(42, 7))
	const rounds = 40_000
	var long, short int
	for range rounds {
		var b [32]byte
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		h := hex.EncodeToString(b[:])
		for _, strict := range []bool{true, false} {
			for _, id := range []string{
				h[:24], h[:32], h[:40], h, "res_" + h[:24], "web-" + strings.ToUpper(h[:32]), "o" + h[40:],
				h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:32],
			} {
				if FindPAN(id, strict) {
					long++
					t.Logf("taken for a card (strict %v): %s", strict, id)
				}
			}
			for _, id := range []string{h[:16], "o" + h[16:32], h[32:52]} { // some of these are nothing but 16 digits
				if FindPAN(id, strict) {
					short++
				}
			}
		}
	}
	if long > 0 || short > 6 {
		t.Errorf("%d of %d long ids and %d of %d short ones are taken for cards", long, 16*rounds, short, 6*rounds)
	}
}

func TestCardsAreFoundInAnyCompany(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	words := []string{"card", "Visa", "cafe", "no", "pan:", "bad", "Karte ", "#", "(", "", "", "decade", "ref=", "PAN-"}
	prefixes := []string{"4", "51", "55", "2221", "37", "6011", "3530", "62"}
	missed := 0
	for range 20_000 {
		number := prefixes[rnd.IntN(len(prefixes))]
		size := 16
		if strings.HasPrefix(number, "37") {
			size = 15
		}
		for len(number) < size-1 {
			number += string(rune('0' + rnd.IntN(10)))
		}
		for d := '0'; d <= '9'; d++ {
			if luhn(number + string(d)) {
				number += string(d)
				break
			}
		}
		text := words[rnd.IntN(len(words))] + number + []string{"", "", " exp 12/29", "Visa", ".", "x"}[rnd.IntN(6)]
		for _, strict := range []bool{true, false} {
			if !FindPAN(text, strict) {
				missed++
				t.Logf("missed (strict %v): %s", strict, text)
			}
		}
	}
	if missed > 0 {
		t.Errorf("%d cards missed", missed)
	}
}
