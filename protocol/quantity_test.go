package protocol

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseQuantity(t *testing.T) {
	for in, want := range map[string]Quantity{
		"0": 0, "-0": 0, "0.000": 0, "0.0000000": 0, "1": 1000, "2": 2000, "-1.5": -1500, "0.455": 455, "0.001": 1, "-0.001": -1,
		"1e3": 1_000_000, "1E3": 1_000_000, "1e+3": 1_000_000, "455e-3": 455, "0.0455e1": 455, "45.5E-2": 455, "1000e-6": 1,
		"0e30": 0, "0e-30": 0, "1000000000": QuantityMax, "-1000000000": -QuantityMax, "1e9": QuantityMax, "1.50000": 1500,
		"0.00000000000000000000000000001e29": 1000,
	} {
		if got, err := ParseQuantity(in); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", in, got, err, want)
		}
	}
	for in, want := range map[string]error{
		"": errQuantitySyntax, "-": errQuantitySyntax, ".5": errQuantitySyntax, "+1": errQuantitySyntax, "--1": errQuantitySyntax, "1,5": errQuantitySyntax,
		"1 ": errQuantitySyntax, " 1": errQuantitySyntax, "0x10": errQuantitySyntax, "1_000": errQuantitySyntax, "NaN": errQuantitySyntax, "Inf": errQuantitySyntax,
		"1e": errQuantitySyntax, "e3": errQuantitySyntax, "1e2e3": errQuantitySyntax, "1.2.3": errQuantitySyntax, "1e1.5": errQuantitySyntax, "null": errQuantitySyntax,
		`"1"`: errQuantitySyntax, "１": errQuantitySyntax, "x1e-30": errQuantitySyntax, "1e31": errQuantitySyntax, "1e-31": errQuantitySyntax,
		"1" + strings.Repeat("0", 41): errQuantitySyntax, "0.0001": errQuantityScale, "1e-4": errQuantityScale, "1.0005": errQuantityScale,
		"1000000000.001": errQuantityRange, "-1000000001": errQuantityRange, "1e10": errQuantityRange, "9223372036854775808": errQuantityRange,
		"18446744073709551617": errQuantityRange, "1e30": errQuantityRange,
	} {
		if got, err := ParseQuantity(in); !errors.Is(err, want) {
			t.Errorf("%q: %d, %v, want %v", in, got, err, want)
		}
	}
}

func TestQuantityText(t *testing.T) {
	for q, want := range map[Quantity]string{
		0: "0", 1: "0.001", -1: "-0.001", 10: "0.01", 100: "0.1", 455: "0.455", -1500: "-1.5", 1000: "1", Units(12): "12", QuantityMax: "1000000000",
		math.MinInt64: "-9223372036854775.808", math.MaxInt64: "9223372036854775.807",
	} {
		if q.String() != want {
			t.Errorf("%d: %s, want %s", int64(q), q, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		q := Quantity(rapid.Int64Range(int64(-QuantityMax), int64(QuantityMax)).Draw(t, "q"))
		b, err := json.Marshal(struct{ Q Quantity }{q})
		var back struct{ Q Quantity }
		if err != nil || json.Unmarshal(b, &back) != nil || back.Q != q {
			t.Fatalf("%s: %d, %v", b, back.Q, err)
		}
	})
	for _, s := range []string{`"1"`, `null`, `true`, `1.0001`, `{}`} {
		q := Quantity(7)
		if err := q.UnmarshalJSON([]byte(s)); err == nil || q != 7 {
			t.Errorf("%s is taken for %s", s, q)
		}
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// FuzzParseQuantity compares with exact arithmetic: a JSON number of reasonable
// length is accepted when, and only when, it is a multiple of a thousandth within
// the range, and then as that.
func FuzzParseQuantity(f *testing.F) {
	for _, s := range []string{"0", "-0.455", "1e3", "455e-3", "1000000000", "1e-4", "1.2.3", "", "9223372036854775808", "0.00000000000000000000000000001e29"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseQuantity(s)
		if err == nil && (q > QuantityMax || q < -QuantityMax) {
			t.Fatalf("%q: %d", s, q)
		}
		if err == nil {
			if back, err := ParseQuantity(q.String()); err != nil || back != q {
				t.Fatalf("%q: %s is read as %d, %v", s, q, back, err)
			}
		}
		mant, exp, _ := strings.Cut(strings.ToLower(s), "e")
		if !jsonNumber.MatchString(s) || len(mant) > 40 || len(exp) > 3 {
			return
		}
		exact, ok := new(big.Rat).SetString(s)
		if !ok {
			return
		}
		exact.Mul(exact, big.NewRat(1000, 1))
		possible := exact.IsInt() && exact.Num().CmpAbs(big.NewInt(int64(QuantityMax))) <= 0
		if err == nil && (!possible || exact.Num().Int64() != int64(q)) {
			t.Fatalf("%s is read as %d thousandths, it is %s", s, q, exact)
		}
		if err != nil && possible && !errors.Is(err, errQuantitySyntax) { // exponents beyond ±30 are not looked at
			t.Fatalf("%s is refused: %v", s, err)
		}
	})
}
