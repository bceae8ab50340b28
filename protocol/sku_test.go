package protocol

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNormalizeSKU(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     SKU
		err      error
	}{
		{"GTIN-13", "4006381333931", "04006381333931", nil},
		{"GTIN-14", "04006381333931", "04006381333931", nil},
		{"GTIN-14 of a case", "10614141000415", "10614141000415", nil},
		{"UPC-A", "036000291452", "00036000291452", nil},
		{"GTIN-8", "73513537", "00000073513537", nil},
		{"eight digits that are none", "73513538", "73513538", nil},
		{"house number", "2100045", "2100045", nil},
		{"eleven digits", "12345678901", "12345678901", nil},
		{"fifteen digits", "123456789012345", "123456789012345", nil},
		{"letters", "4006381333931X", "4006381333931X", nil},
		{"a space within", "A 1", "A 1", nil},
		{"letters of the world", "ÄRTIKEL-1", "ÄRTIKEL-1", nil},
		{"digits of the world are letters", "４００６３８１３３３９３１", "４００６３８１３３３９３１", nil},
		{"as long as may be", strings.Repeat("x", 64), SKU(strings.Repeat("x", 64)), nil},
		{"GTIN-13, wrong digit", "4006381333932", "", ErrCheckDigit},
		{"UPC-A, wrong digit", "036000291453", "", ErrCheckDigit},
		{"GTIN-14, wrong digit", "04006381333932", "", ErrCheckDigit},
		{"nothing", "", "", errSKUEmpty},
		{"too long", strings.Repeat("x", 65), "", errSKULong},
		{"a space before", " A", "", errSKUChars},
		{"a space behind", "A ", "", errSKUChars},
		{"a space alone", " ", "", errSKUChars},
		{"a line end", "A\n", "", errSKUChars},
		{"zero byte", "A\x00B", "", errSKUChars},
		{"delete", "A\x7f", "", errSKUChars},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := NormalizeSKU(c.in); got != c.want || !errors.Is(err, c.err) {
				t.Fatalf("%q, %v, want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

// TestNormalizeSKUOnce: every way of writing one GTIN leads to one SKU, and a
// second normalisation changes nothing.
func TestNormalizeSKUOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := fmt.Sprintf("%07d", rapid.IntRange(0, 9_999_999).Draw(t, "digits"))
		gtin := digits + string(rune(CheckDigit(digits)))
		want := SKU(strings.Repeat("0", 6) + gtin)
		for _, zeros := range []int{0, 4, 5, 6} {
			got, err := NormalizeSKU(strings.Repeat("0", zeros) + gtin)
			if err != nil || got != want {
				t.Fatalf("%d zeros and %s: %q, %v", zeros, gtin, got, err)
			}
		}
		s := rapid.String().Draw(t, "any")
		if sku, err := NormalizeSKU(s); err == nil {
			if again, err := NormalizeSKU(string(sku)); err != nil || again != sku || len(sku) > SKUBytesMax || sku == "" {
				t.Fatalf("%q → %q → %q, %v", s, sku, again, err)
			}
		}
	})
}

// TestCheckDigit has examples of the GS1 General Specifications and of well-known
// articles; every digit misread, and nearly every swap, is found.
func TestCheckDigit(t *testing.T) {
	for s, want := range map[string]byte{
		"629104150021": '3', "400638133393": '1', "03600029145": '2', "7351353": '7', "1061414100041": '5', "37610425002123456": '9', "": '0',
	} {
		if got := CheckDigit(s); got != want {
			t.Errorf("%s: %c, want %c", s, got, want)
		}
	}
	if CheckDigitOK("") || !CheckDigitOK("0") || !CheckDigitOK("6291041500213") {
		t.Error("an empty code has no check digit")
	}
	good := "6291041500213"
	for i := range good {
		for d := byte('0'); d <= '9'; d++ {
			if other := good[:i] + string(rune(d)) + good[i+1:]; CheckDigitOK(other) != (other == good) {
				t.Errorf("%s", other)
			}
		}
	}
}
