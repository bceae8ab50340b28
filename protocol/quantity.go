package protocol

import (
	"errors"
	"strconv"
	"strings"
)

// Quantity is a signed amount in thousandths of a unit of measure, so that
// 0.455 kg is exactly 455. JSON shows it as a number with at most 3 decimals.
type Quantity int64

// QuantityMax bounds one line (one thousand million units). It leaves room for
// nine thousand million such lines before an int64 sum could overflow.
const QuantityMax Quantity = 1_000_000_000 * 1000

// Units makes a Quantity of whole units.
func Units(n int64) Quantity { return Quantity(n * 1000) }

var (
	errQuantitySyntax = errors.New("is not a decimal number")
	errQuantityScale  = errors.New("has more than 3 decimals")
	errQuantityRange  = errors.New("is beyond ±1000000000 units")
)

// ParseQuantity reads a JSON number. Exponents are accepted as JSON allows
// them, as long as the value is a multiple of a thousandth.
func ParseQuantity(s string) (Quantity, error) {
	mant, exp := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(s[i+1:])
		if err != nil || e < -30 || e > 30 {
			return 0, errQuantitySyntax
		}
		mant, exp = s[:i], e
	}
	neg := strings.HasPrefix(mant, "-")
	mant = strings.TrimPrefix(mant, "-")
	whole, frac, _ := strings.Cut(mant, ".")
	if whole == "" || len(whole)+len(frac) > 40 {
		return 0, errQuantitySyntax
	}
	digits := whole + frac
	point := len(whole) + exp + 3 // position of the thousandths' end in digits
	var v int64
	for i := range max(len(digits), point) {
		d := byte('0')
		if i < len(digits) {
			d = digits[i]
		}
		if d < '0' || d > '9' {
			return 0, errQuantitySyntax
		}
		if i >= point {
			if d != '0' {
				return 0, errQuantityScale
			}
			continue
		}
		if v = v*10 + int64(d-'0'); v > int64(QuantityMax) {
			return 0, errQuantityRange
		}
	}
	if neg {
		v = -v
	}
	return Quantity(v), nil
}

// String formats the shortest decimal form, e.g. "2", "-0.455".
func (q Quantity) String() string { return string(q.AppendTo(nil)) }

// AppendTo appends the shortest decimal form to b.
func (q Quantity) AppendTo(b []byte) []byte {
	u := uint64(q)
	if q < 0 {
		b = append(b, '-')
		u = -u
	}
	b = strconv.AppendUint(b, u/1000, 10)
	f := u % 1000
	if f == 0 {
		return b
	}
	b = append(b, '.', byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// MarshalJSON writes the number.
func (q Quantity) MarshalJSON() ([]byte, error) { return q.AppendTo(nil), nil }

// UnmarshalJSON reads a number; strings and null are refused.
func (q *Quantity) UnmarshalJSON(b []byte) error {
	v, err := ParseQuantity(string(b))
	if err != nil {
		return err
	}
	*q = v
	return nil
}
