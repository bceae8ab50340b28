package protocol

import (
	"errors"
	"fmt"
	"strings"
)

// Restricted circulation numbers (RCN) are the barcodes that a house prints on
// what it weighs and prices itself. The digits between prefix and check digit are
// the house's own; the usual forms hold an item reference, and a price or a
// weight, which a digit of its own may verify:
//
//	prefix  item reference  [verifier]  price or weight  check digit
//	  28        12345           6            03997           …          13 digits
//
// Source: GS1 General Specifications, 2.1.14 (variable measure trade items
// scanned at retail point of sale, restricted circulation) and 7.9.

// RCNScheme says how one family of such barcodes is read.
type RCNScheme struct {
	Prefix       string `toml:"prefix" help:"first digits of the barcode: 02, 2, or 20 to 29 and what follows, 1 to 4 digits"`
	ItemDigits   int    `toml:"item_digits" help:"digits of the item reference; prefix and item reference are the SKU"`
	PriceDigits  int    `toml:"price_digits" help:"digits of the price; either this or weight_digits"`
	WeightDigits int    `toml:"weight_digits" help:"digits of the weight or other measure"`
	Verifier     bool   `toml:"verifier" help:"a digit before a price or weight of 4 or 5 digits verifies it"`
	Decimals     int    `toml:"decimals" help:"decimals of the price or weight, 0 to 3"`
	UOM          string `toml:"uom" help:"unit of the quantity, as UN/ECE Recommendation 20 codes it; empty is KGM"`
}

// Schemes are those of one house. Of several that fit a barcode the one with the
// longest prefix is meant.
type Schemes []RCNScheme

// ErrNoScheme says that a code is no barcode of the schemes.
var ErrNoScheme = errors.New("is not a price- or weight-embedded barcode that is configured here")

// rcnDigits is the length of such barcodes. Those of 12 digits (UPC-A, system 2)
// have a zero before them as GTIN-13, whence the prefix 02.
const rcnDigits = 13

// Check tells what is wrong with a scheme.
func (s *RCNScheme) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("check barcode scheme %q: %w", s.Prefix, fmt.Errorf(format, args...))
	}
	value, sum := s.PriceDigits+s.WeightDigits, 0
	if s.Verifier {
		sum = 1
	}
	sum += len(s.Prefix) + s.ItemDigits + value + 1
	switch {
	case !digitsOnly(s.Prefix) || len(s.Prefix) > 4 || !strings.HasPrefix(s.Prefix, "2") && !strings.HasPrefix(s.Prefix, "02"):
		return bad("prefix must be 1 to 4 digits that begin with 02 or 2: GS1 keeps the others for other uses")
	case s.ItemDigits < 1 || s.PriceDigits < 0 || s.WeightDigits < 0:
		return bad("item_digits must be at least 1, price_digits and weight_digits not below zero")
	case (s.PriceDigits == 0) == (s.WeightDigits == 0):
		return bad("needs price_digits or weight_digits, and not both")
	case sum != rcnDigits:
		return bad("prefix, item, verifier, value and the check digit are %d digits together, they must be %d", sum, rcnDigits)
	case s.Verifier && value != 4 && value != 5:
		return bad("verifier is defined for 4 and 5 digits, not for %d", value)
	case s.Decimals < 0 || s.Decimals > 3:
		return bad("decimals must be 0 to 3")
	case s.UOM != "" && !validUOM(s.UOM):
		return bad("uom must be a UN/ECE Recommendation 20 code such as KGM")
	}
	return nil
}

// Check tells what is wrong with schemes: use them only when it is nil.
func (s Schemes) Check() error {
	if len(s) > RCNSchemesMax {
		return fmt.Errorf("check barcode schemes: there are %d, at most %d", len(s), RCNSchemesMax)
	}
	seen := make(map[string]bool, len(s))
	for i := range s {
		if err := s[i].Check(); err != nil {
			return err
		}
		if seen[s[i].Prefix] {
			return fmt.Errorf("check barcode scheme %q: stands twice", s[i].Prefix)
		}
		seen[s[i].Prefix] = true
	}
	return nil
}

// RCN is what a barcode says.
type RCN struct {
	SKU      SKU // prefix and item reference
	Priced   bool
	Value    int64 // price or weight, in units of 10^-Decimals
	Decimals int
	UOM      string // of the quantity
	Verified bool   // false: the verifier is there and wrong
}

// Parse reads a barcode. The error is ErrNoScheme where no scheme fits, and
// ErrCheckDigit where one does and the last digit is wrong. A wrong verifier is
// no error: the item is known, its price is not.
func (s Schemes) Parse(code string) (RCN, error) {
	code = rcnForm(code)
	var fits *RCNScheme
	for i := range s {
		if strings.HasPrefix(code, s[i].Prefix) && (fits == nil || len(s[i].Prefix) > len(fits.Prefix)) {
			fits = &s[i]
		}
	}
	if code == "" || fits == nil {
		return RCN{}, ErrNoScheme
	}
	if err := fits.Check(); err != nil {
		return RCN{}, err
	}
	if !CheckDigitOK(code) {
		return RCN{}, ErrCheckDigit
	}
	at := len(fits.Prefix) + fits.ItemDigits
	sku, err := NormalizeSKU(code[:at]) // eight digits may be a GTIN-8: every way to it must lead to one SKU
	if err != nil {
		return RCN{}, err
	}
	n := RCN{SKU: sku, Priced: fits.PriceDigits > 0, Decimals: fits.Decimals, UOM: fits.UOM, Verified: true}
	if n.UOM == "" {
		n.UOM = "KGM"
	}
	value := code[at : rcnDigits-1]
	if fits.Verifier {
		n.Verified = PriceVerifier(value[1:]) == value[0]
		value = value[1:]
	}
	for i := range len(value) {
		n.Value = n.Value*10 + int64(value[i]-'0')
	}
	return n, nil
}

// rcnForm gives 13 digits, or "" for what cannot be such a barcode.
func rcnForm(code string) string {
	switch {
	case !digitsOnly(code):
		return ""
	case len(code) == rcnDigits-1:
		return "0" + code
	case len(code) == rcnDigits+1 && code[0] == '0':
		return code[1:]
	case len(code) == rcnDigits:
		return code
	}
	return ""
}

func digitsOnly(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Quantity is what was sold: the weight, or the price divided by the regular
// price of a unit at the time of the sale, to the nearest thousandth. ok is false
// where nothing can be derived: no unit price, a label of price zero, or a result
// that is zero or impossible.
func (n *RCN) Quantity(unitPrice Quantity) (q Quantity, ok bool) {
	scale := int64(1) // 10^(3-Decimals)
	for range 3 - n.Decimals {
		scale *= 10
	}
	thousandths := n.Value * scale
	if !n.Priced {
		return Quantity(thousandths), true
	}
	if unitPrice <= 0 || unitPrice > QuantityMax {
		return 0, false
	}
	q = Quantity((thousandths*1000 + int64(unitPrice)/2) / int64(unitPrice)) // both prices in thousandths
	return q, q > 0 && q <= QuantityMax
}

// Apply reads l.RawCode, and sets the line's SKU (where it has none), quantity
// and unit (where it has none) by it. What cannot be believed stays under the
// scanned code as one piece, with a flag that makes an exception of it: the sale
// is kept. The error is Parse's, and the line is untouched then.
func (s Schemes) Apply(l *Line, unitPrice Quantity) (EventFlags, error) {
	n, err := s.Parse(l.RawCode)
	if err != nil {
		return 0, err
	}
	if !n.Verified {
		l.keepRaw()
		return FlagBadVerifier, nil
	}
	q, ok := n.Quantity(unitPrice)
	if !ok {
		l.keepRaw()
		return FlagNoUnitPrice, nil
	}
	l.Quantity = q
	if l.SKU == "" {
		l.SKU = n.SKU
	}
	if l.UOM == "" {
		l.UOM = n.UOM
	}
	if n.Priced {
		return FlagDerivedQuantity, nil
	}
	return 0, nil
}

// keepRaw counts a line as one piece of its scanned code.
func (l *Line) keepRaw() {
	l.SKU, l.Quantity, l.UOM = rawSKU(l.RawCode), Units(1), ""
}

// rawSKU is a scanned code as an article of its own.
func rawSKU(code string) SKU {
	if sku, err := NormalizeSKU(code); err == nil {
		return sku
	}
	return SKU(code)
}

// The products of the weighting factors of GS1 General Specifications 7.9.2, by
// digit: 2- (double, units less tens), 3 (units of the triple), 5+ (five times,
// units and tens), 5- (five times, units less tens).
const (
	factor2minus = "0246891357"
	factor3      = "0369258147"
	factor5plus  = "0516273849"
	factor5minus = "0594837261"
)

// PriceVerifier computes the digit that verifies a price or weight of 4 digits
// (GS1 General Specifications 7.9.3) or 5 (7.9.4); 0 for other lengths.
func PriceVerifier(value string) byte {
	if !digitsOnly(value) {
		return 0
	}
	product := func(i int, factor string) int { return int(factor[value[i]-'0'] - '0') }
	switch len(value) {
	case 4:
		sum := product(0, factor2minus) + product(1, factor2minus) + product(2, factor3) + product(3, factor5minus)
		return byte('0' + sum*3%10)
	case 5:
		sum := product(0, factor5plus) + product(1, factor2minus) + product(2, factor5minus) + product(3, factor5plus) + product(4, factor2minus)
		rest := byte('0' + (10-sum%10)%10)
		return byte('0' + strings.IndexByte(factor5minus, rest)) // the digit whose product 5- is the rest: each occurs once
	}
	return 0
}
