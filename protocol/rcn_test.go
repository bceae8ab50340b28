package protocol

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// house are schemes such as they are in use: price with verifier (GB), price of
// five digits without (DE), weight, UPC-A of system 2, one prefix within another.
var house = Schemes{
	{Prefix: "20", ItemDigits: 5, PriceDigits: 4, Verifier: true, Decimals: 2},
	{Prefix: "28", ItemDigits: 5, PriceDigits: 5, Decimals: 2},
	{Prefix: "29", ItemDigits: 5, WeightDigits: 5, Decimals: 3},
	{Prefix: "02", ItemDigits: 5, PriceDigits: 4, Verifier: true, Decimals: 2},
	{Prefix: "289", ItemDigits: 5, WeightDigits: 4, Decimals: 0, UOM: "H87"},
	{Prefix: "27", ItemDigits: 4, WeightDigits: 5, Verifier: true, Decimals: 3},
}

// rcn seals a barcode with its check digit.
func rcn(digits string) string { return digits + string(rune(CheckDigit(digits))) }

// TestPriceVerifier has the two examples that the GS1 General Specifications
// calculate (28.75 and 146.85), and others by hand from the weights.
func TestPriceVerifier(t *testing.T) {
	for value, want := range map[string]byte{
		"2875": '9', "14685": '6', // 4+5+1+3 = 13, ×3 = 39; 5+8+7+4+9 = 33, 40-33 = 7, which 5- makes of 6
		"0000": '0', "00000": '0',
		"0001":  '5', // 5- of 1 is 5, ×3 = 15
		"1000":  '6', // 2- of 1 is 2, ×3 = 6
		"0010":  '9', // 3 of 1 is 3, ×3 = 9
		"9999":  '6', // 7+7+7+1 = 22, ×3 = 66
		"00001": '4', // 2- of 1 is 2, 10-2 = 8, which 5- makes of 4
		"00100": '1', // 5- of 1 is 5, 10-5 = 5, which 5- makes of 1
	} {
		if got := PriceVerifier(value); got != want {
			t.Errorf("%s: %c, want %c", value, got, want)
		}
	}
	for _, s := range []string{"", "123", "123456", "12a4", "١٢٣٤"} {
		if PriceVerifier(s) != 0 {
			t.Errorf("%q has a verifier", s)
		}
	}
	// What it is for: one digit misread is always found.
	for _, digits := range []int{4, 5} {
		for v := range 2000 {
			value := fmt.Sprintf("%0*d", digits, v*47%10_000)
			for i := range digits {
				for d := byte('0'); d <= '9'; d++ {
					if other := value[:i] + string(rune(d)) + value[i+1:]; d != value[i] && PriceVerifier(other) == PriceVerifier(value) {
						t.Fatalf("%s and %s have one verifier", value, other)
					}
				}
			}
		}
	}
}

func TestParseRCN(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       RCN
		err        error
	}{
		{"price with verifier", rcn("201234592875"), RCN{"2012345", true, 2875, 2, "KGM", true}, nil},
		{"price with a wrong verifier", rcn("201234582875"), RCN{"2012345", true, 2875, 2, "KGM", false}, nil},
		{"price of five digits", rcn("281234503997"), RCN{"2812345", true, 3997, 2, "KGM", true}, nil},
		{"weight", rcn("291234500455"), RCN{"2912345", false, 455, 3, "KGM", true}, nil},
		{"weight with verifier", rcn("271234614685"), RCN{"271234", false, 14685, 3, "KGM", true}, nil},
		{"pieces under the longer prefix", rcn("289123450012"), RCN{rawSKU("28912345"), false, 12, 0, "H87", true}, nil},
		{"UPC-A of 12 digits", rcn("021234592875")[1:], RCN{"0212345", true, 2875, 2, "KGM", true}, nil},
		{"as GTIN-14", "0" + rcn("281234503997"), RCN{"2812345", true, 3997, 2, "KGM", true}, nil},
		{"check digit", "2812345039970", RCN{}, ErrCheckDigit},
		{"another article", "4006381333931", RCN{}, ErrNoScheme},
		{"a prefix without scheme", rcn("211234503997"), RCN{}, ErrNoScheme},
		{"not digits", "28123450399x7", RCN{}, ErrNoScheme},
		{"too short", "28123", RCN{}, ErrNoScheme},
		{"GTIN-14 of another level", "1" + rcn("281234503997"), RCN{}, ErrNoScheme},
		{"nothing", "", RCN{}, ErrNoScheme},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := house.Parse(c.code)
			if got != c.want || !errors.Is(err, c.err) {
				t.Fatalf("%s: %+v, %v", c.code, got, err)
			}
		})
	}
	if _, err := Schemes(nil).Parse(rcn("281234503997")); !errors.Is(err, ErrNoScheme) {
		t.Error(err)
	}
	if _, err := (Schemes{{Prefix: "28", ItemDigits: 9, PriceDigits: 9}}).Parse(rcn("281234503997")); err == nil {
		t.Error("a scheme that was not checked reads beyond the code")
	}
}

func TestApplyRCN(t *testing.T) {
	for _, c := range []struct {
		name      string
		line      Line
		unitPrice Quantity
		want      Line
		flags     EventFlags
		err       error
	}{
		{"39.97 at 87.85 per kg", Line{RawCode: rcn("281234503997")}, 87_850, Line{SKU: "2812345", Quantity: 455, UOM: "KGM"}, FlagDerivedQuantity, nil},
		{"rounded up", Line{RawCode: rcn("281234500001")}, 6_667, Line{SKU: "2812345", Quantity: 1, UOM: "KGM"}, FlagDerivedQuantity, nil}, // 1.4999
		{"a half is rounded up", Line{RawCode: rcn("281234500003")}, 12_000, Line{SKU: "2812345", Quantity: 3, UOM: "KGM"}, FlagDerivedQuantity, nil},
		{"the till's own SKU and unit stay", Line{SKU: "HAM", UOM: "GRM", RawCode: rcn("281234503997")}, 87_850, Line{SKU: "HAM", Quantity: 455, UOM: "GRM"}, FlagDerivedQuantity, nil},
		{"weight needs no price", Line{RawCode: rcn("291234500455")}, 0, Line{SKU: "2912345", Quantity: 455, UOM: "KGM"}, 0, nil},
		{"pieces", Line{RawCode: rcn("289123450012")}, 0, Line{SKU: rawSKU("28912345"), Quantity: Units(12), UOM: "H87"}, 0, nil},
		{"bad verifier", Line{RawCode: rcn("201234582875")}, 87_850, Line{SKU: SKU("0" + rcn("201234582875")), Quantity: 1000}, FlagBadVerifier, nil},
		{"bad verifier of a weight", Line{RawCode: rcn("271234514685"), UOM: "KGM"}, 0, Line{SKU: SKU("0" + rcn("271234514685")), Quantity: 1000}, FlagBadVerifier, nil},
		{"no unit price", Line{RawCode: rcn("281234503997")}, 0, Line{SKU: SKU("0" + rcn("281234503997")), Quantity: 1000}, FlagNoUnitPrice, nil},
		{"a label of price zero", Line{RawCode: rcn("281234500000")}, 5_000, Line{SKU: SKU("0" + rcn("281234500000")), Quantity: 1000}, FlagNoUnitPrice, nil},
		{"a unit price that leaves nothing", Line{RawCode: rcn("281234500001")}, QuantityMax, Line{SKU: SKU("0" + rcn("281234500001")), Quantity: 1000}, FlagNoUnitPrice, nil},
		{"a unit price beyond all", Line{RawCode: rcn("281234500001")}, QuantityMax + 1, Line{SKU: SKU("0" + rcn("281234500001")), Quantity: 1000}, FlagNoUnitPrice, nil},
		{"not ours", Line{RawCode: "4006381333931", Quantity: 7}, 1000, Line{Quantity: 7}, 0, ErrNoScheme},
		{"check digit", Line{RawCode: "2812345039970", Quantity: 7}, 1000, Line{Quantity: 7}, 0, ErrCheckDigit},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := c.line
			c.want.RawCode = l.RawCode
			flags, err := house.Apply(&l, c.unitPrice)
			if l.SKU != c.want.SKU || l.Quantity != c.want.Quantity || l.UOM != c.want.UOM || l.RawCode != c.want.RawCode || flags != c.flags || !errors.Is(err, c.err) {
				t.Fatalf("%+v flags %v, %v; want %+v", l, flags.Names(), err, c.want)
			}
		})
	}
}

func TestCheckRCNSchemes(t *testing.T) {
	if err := house.Check(); err != nil {
		t.Fatal(err)
	}
	good := house[0]
	for says, change := range map[string]func(*RCNScheme){
		"02 or 2":               func(s *RCNScheme) { s.Prefix, s.ItemDigits = "40", 5 },
		"1 to 4 digits":         func(s *RCNScheme) { s.Prefix, s.ItemDigits = "20123", 2 },
		"prefix must":           func(s *RCNScheme) { s.Prefix = "" },
		"prefix must be":        func(s *RCNScheme) { s.Prefix = "2x" },
		"at least 1":            func(s *RCNScheme) { s.ItemDigits = 0 },
		"not below zero":        func(s *RCNScheme) { s.WeightDigits = -1 },
		"and not both":          func(s *RCNScheme) { s.WeightDigits = 1 },
		"needs price_digits":    func(s *RCNScheme) { s.PriceDigits = 0 },
		"are 14 digits":         func(s *RCNScheme) { s.ItemDigits = 6 },
		"not for 6":             func(s *RCNScheme) { s.PriceDigits, s.ItemDigits = 6, 3 },
		"decimals":              func(s *RCNScheme) { s.Decimals = 4 },
		"decimals must be 0":    func(s *RCNScheme) { s.Decimals = -1 },
		"UN/ECE Recommendation": func(s *RCNScheme) { s.UOM = "kilo" },
	} {
		s := good
		change(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), s.Prefix) {
			t.Errorf("%+v: %v, want it to say %q", s, err, says)
		}
		if err := (Schemes{s}).Check(); err == nil {
			t.Errorf("%+v passes among others", s)
		}
	}
	if err := (Schemes{good, good}).Check(); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Error(err)
	}
	if err := make(Schemes, RCNSchemesMax+1).Check(); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Error(err)
	}
}

// FuzzRCN: no code and no price panics; what is derived is possible, and what is
// not believed stays under the scanned code.
func FuzzRCN(f *testing.F) {
	f.Add(rcn("201234592875"), int64(87_850))
	f.Add(rcn("201234582875"), int64(0))
	f.Add(rcn("291234500455"), int64(-1))
	f.Add(rcn("021234592875")[1:], int64(1))
	f.Fuzz(func(t *testing.T, code string, price int64) {
		l := Line{RawCode: code}
		flags, err := house.Apply(&l, Quantity(price))
		switch {
		case err != nil:
			if l.SKU != "" || l.Quantity != 0 || flags != 0 {
				t.Fatalf("refused, and changed: %+v", l)
			}
		case l.SKU == "" || l.Quantity < 0 || l.Quantity > QuantityMax || l.RawCode != code:
			t.Fatalf("%+v", l)
		case flags&(FlagBadVerifier|FlagNoUnitPrice) != 0 && (l.SKU != rawSKU(code) || l.Quantity != Units(1)):
			t.Fatalf("not believed, and counted as %+v", l)
		}
	})
}
