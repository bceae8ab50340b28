package protocol

import (
	"errors"
	"strings"
)

// SKU identifies an article. It is opaque to us, except that GTINs are kept in
// their one 14-digit form, so that a till that scans 4006381333931 and an ERP
// that writes 04006381333931 mean one article.
type SKU string

var (
	errSKUEmpty = errors.New("is empty")
	errSKULong  = errors.New("is longer than 64 bytes")
	errSKUChars = errors.New("holds a control character, or a space at an end")
	// ErrCheckDigit marks a number of GTIN length whose last digit is wrong.
	ErrCheckDigit = errors.New("has a wrong GTIN check digit")
)

// NormalizeSKU validates s and folds GTINs to 14 digits.
//
// All-digit strings of 12, 13 or 14 characters are GTINs (GS1 General
// Specifications §7.9) and must carry a right check digit. Eight digits are a
// GTIN-8 only where the check digit agrees: eight-digit house numbers are
// common, and refusing them would lose sales. Everything else is opaque.
func NormalizeSKU(s string) (SKU, error) {
	switch {
	case s == "":
		return "", errSKUEmpty
	case len(s) > SKUBytesMax:
		return "", errSKULong
	}
	digits := true
	for i := range len(s) {
		c := s[i]
		if c < 0x20 || c == 0x7f || (c == ' ' && (i == 0 || i == len(s)-1)) {
			return "", errSKUChars
		}
		digits = digits && c >= '0' && c <= '9'
	}
	if !digits {
		return SKU(s), nil
	}
	switch len(s) {
	case 12, 13, 14:
		if !CheckDigitOK(s) {
			return "", ErrCheckDigit
		}
	case 8:
		if !CheckDigitOK(s) {
			return SKU(s), nil
		}
	default:
		return SKU(s), nil
	}
	if len(s) == 14 {
		return SKU(s), nil
	}
	return SKU(strings.Repeat("0", 14-len(s)) + s), nil
}

// CheckDigitOK verifies the GS1 modulo-10 check digit of an all-digit string.
func CheckDigitOK(s string) bool {
	if s == "" {
		return false
	}
	return CheckDigit(s[:len(s)-1]) == s[len(s)-1]
}

// CheckDigit computes the GS1 modulo-10 check digit of an all-digit string:
// weights 3 and 1 alternate from the right.
func CheckDigit(s string) byte {
	sum, weight := 0, 3
	for i := len(s) - 1; i >= 0; i-- {
		sum += int(s[i]-'0') * weight
		weight = 4 - weight
	}
	return byte('0' + (10-sum%10)%10)
}
