package protocol

import "strings"

// Payment card numbers (PAN) must not reach a journal. A number is taken for
// one when it has 13 to 19 digits, the prefix and length of a card scheme, and
// a right Luhn digit; or when it stands in the framing of a magnetic track,
// where no further proof is asked.
//
// Tills number documents with long digit strings too, and a sale refused by
// mistake is a loss. Hence in ids (strict) the digits must be unbroken, or
// grouped as on a card (4-4-4-4, 4-6-5, …), and a valid GTIN-13 is let pass. In
// free texts, where masking costs little, any spaces and dashes are looked
// through. Random ids in hexadecimal (UUIDs, object ids, hashes) hold long runs of
// decimal digits now and then; see inHexID.

const (
	panDigitsMin = 13
	panDigitsMax = 19
)

// FindPAN tells whether s holds a card number or track data.
func FindPAN(s string, strict bool) bool {
	if len(s) < panDigitsMin {
		return false
	}
	_, _, found := nextPAN(s, 0, strict)
	return found
}

// MaskPAN replaces the digits of card numbers in a free text, all but the last
// four, by asterisks. Track data loses every digit that follows as well, and so do
// security codes that are named as such.
func MaskPAN(s string) (masked string, found bool) {
	masked = maskCVV(s)
	for FindPAN(masked, false) {
		masked = maskAll(masked) // stars may have broken up an id that had covered for another number
	}
	return masked, masked != s
}

// maskCVV hides the three or four digits behind the word for a card's security code,
// which must be kept nowhere, by nobody.
func maskCVV(s string) string {
	var b []byte
	for i := 0; i+6 <= len(s); i++ {
		if s[i]|0x20 != 'c' || s[i+1]|0x20 != 'v' || s[i+2]|0x20 != 'c' && s[i+2]|0x20 != 'v' || i > 0 && isLetter(s[i-1]) {
			continue
		}
		at := i + 3
		if s[at] == '2' && (s[at+1] < '0' || s[at+1] > '9') {
			at++ // CVV2
		}
		for skipped := 0; skipped < 3 && at < len(s) && strings.IndexByte(" :=#.-", s[at]) >= 0; skipped++ {
			at++
		}
		if n := digitRun(s, at) - at; n == 3 || n == 4 {
			if b == nil {
				b = []byte(s)
			}
			copy(b[at:at+n], "****")
		}
	}
	if b == nil {
		return s
	}
	return string(b)
}

func isLetter(c byte) bool { c |= 0x20; return c >= 'a' && c <= 'z' }

func maskAll(s string) string {
	b := []byte(s)
	for pos := 0; ; {
		start, end, ok := nextPAN(s, pos, false)
		if !ok {
			return string(b)
		}
		keep := 4
		if isTrack(s, start, end) {
			keep, end = 0, len(s)
		}
		for i := end - 1; i >= start; i-- {
			if s[i] < '0' || s[i] > '9' {
				continue
			}
			if keep > 0 {
				keep--
				continue
			}
			b[i] = '*'
		}
		pos = end
	}
}

// nextPAN finds the first card number from pos on: s[start:end].
func nextPAN(s string, pos int, strict bool) (start, end int, found bool) {
	for i := pos; i < len(s); {
		if s[i] < '0' || s[i] > '9' {
			i++
			continue
		}
		runEnd := digitRun(s, i)
		if isTrack(s, i, runEnd) {
			return i, runEnd, true
		}
		if n := runEnd - i; n >= panDigitsMin && n <= panDigitsMax && isCard(s[i:runEnd]) &&
			!(strict && n == 13 && CheckDigitOK(s[i:runEnd])) && !inHexID(s, i, runEnd, strict) && !inUUID(s, i, runEnd) {
			return i, runEnd, true
		}
		if e, ok := groupedPAN(s, i, strict); ok && !inUUID(s, i, e) {
			return i, e, true
		}
		i = runEnd
	}
	return 0, 0, false
}

// inHexID tells whether the digits s[start:end] are a part of an id in hexadecimal.
// The letters that touch them alone do not tell: "card4111…" and "cafe4111…" are a
// word and a number. An id is told by a length in use for such ids, or by digits
// beyond the letters; where a refusal would cost a sale (strict), letters on both
// sides do too.
func inHexID(s string, start, end int, strict bool) bool {
	from, to := start, end
	for from > 0 && isHex(s[from-1]) {
		from--
	}
	for to < len(s) && isHex(s[to]) {
		to++
	}
	switch to - from {
	case 24, 32, 40, 48, 64: // object ids, UUIDs without dashes, SHA-1, SHA-256
		return true
	}
	beyond := strings.ContainsAny(s[from:start], "0123456789") || strings.ContainsAny(s[end:to], "0123456789")
	if strict {
		return to-from >= 16 && (beyond || from < start && end < to)
	}
	return to-from >= 20 && beyond
}

// inUUID tells whether s[start:end] lies in a UUID that stands by itself.
func inUUID(s string, start, end int) bool {
	const size = 36
	for at := max(0, end-size); at <= start && at+size <= len(s); at++ {
		if isUUID(s[at:at+size]) && (at == 0 || !isHex(s[at-1])) && (at+size == len(s) || !isHex(s[at+size])) {
			return true
		}
	}
	return false
}

func isUUID(s string) bool {
	if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	for i := range len(s) {
		if s[i] != '-' && !isHex(s[i]) || s[i] == '-' && i != 8 && i != 13 && i != 18 && i != 23 {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func digitRun(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// isTrack tells whether the digits s[start:end] stand in the framing of track
// 1 (%B…^) or track 2 (;…=).
func isTrack(s string, start, end int) bool {
	if n := end - start; n < 12 || n > panDigitsMax || end >= len(s) || start == 0 {
		return false
	}
	if s[end] == '=' && s[start-1] == ';' {
		return true
	}
	return s[end] == '^' && start >= 2 && (s[start-2:start] == "%B" || s[start-2:start] == "%b")
}

// groupedPAN tries the groups of digits that begin at start, one space or dash
// between two of them.
func groupedPAN(s string, start int, strict bool) (end int, found bool) {
	if strict && start > 1 && s[start-1] == '-' && s[start-2] >= '0' && s[start-2] <= '9' {
		return 0, false // the middle of something longer: a UUID, a numbered date
	}
	var digits [panDigitsMax]byte
	var groups [panDigitsMax]int
	n, g := 0, 0
	var sep byte
	for i := start; ; {
		runEnd := digitRun(s, i)
		if n+runEnd-i > panDigitsMax {
			return 0, false
		}
		n += copy(digits[n:], s[i:runEnd])
		groups[g] = runEnd - i
		g++
		more := runEnd+1 < len(s) && (s[runEnd] == ' ' || s[runEnd] == '-') && s[runEnd+1] >= '0' && s[runEnd+1] <= '9'
		if g > 1 && n >= panDigitsMin && isCard(string(digits[:n])) {
			if !strict || !more && cardGroups(groups[:g]) {
				return runEnd, true
			}
		}
		if !more || strict && sep != 0 && s[runEnd] != sep {
			return 0, false
		}
		sep = s[runEnd]
		i = runEnd + 1
	}
}

// cardGroups tells whether digits are grouped as they are printed on cards.
func cardGroups(g []int) bool {
	if len(g) == 3 && g[0] == 4 && g[1] == 6 && (g[2] == 4 || g[2] == 5) {
		return true
	}
	for _, n := range g[:min(3, len(g))] {
		if n != 4 {
			return false
		}
	}
	return len(g) == 4 && g[3] <= 7 || len(g) == 5 && g[3] == 4 && g[4] <= 3
}

// cardSchemes are issuer prefixes (ISO/IEC 7812) with the lengths in use.
var cardSchemes = []struct {
	low, high string // of equal length, inclusive
	lengths   string // one byte per length
}{
	{"4", "4", "\x0d\x10\x13"},                 // Visa
	{"51", "55", "\x10"},                       // Mastercard
	{"2221", "2720", "\x10"},                   // Mastercard, new range
	{"34", "34", "\x0f"}, {"37", "37", "\x0f"}, // American Express
	{"300", "305", "\x0e\x10\x11\x12\x13"},   // Diners Club
	{"3095", "3095", "\x0e\x10\x11\x12\x13"}, //
	{"36", "36", "\x0e\x0f\x10\x11\x12\x13"}, //
	{"38", "39", "\x0e\x10\x11\x12\x13"},     //
	{"6011", "6011", "\x10\x11\x12\x13"},     // Discover
	{"644", "649", "\x10\x11\x12\x13"},       //
	{"65", "65", "\x10\x11\x12\x13"},         // Discover, RuPay
	{"3528", "3589", "\x10\x11\x12\x13"},     // JCB
	{"62", "62", "\x10\x11\x12\x13"},         // UnionPay
	{"81", "81", "\x10\x11\x12\x13"},         // UnionPay, RuPay
	{"2200", "2204", "\x10\x11\x12\x13"},     // Mir
	{"50", "50", "\x10\x11\x12\x13"},         // Maestro
	{"56", "58", "\x10\x11\x12\x13"},         //
	{"6304", "6304", "\x10\x11\x12\x13"},     //
	{"6759", "6763", "\x10\x11\x12\x13"},     //
	{"5019", "5019", "\x10"},                 // Dankort
	{"60", "60", "\x10"},                     // RuPay
}

func isCard(digits string) bool {
	for i := range cardSchemes {
		c := &cardSchemes[i]
		p := digits[:len(c.low)]
		if p >= c.low && p <= c.high && strings.IndexByte(c.lengths, byte(len(digits))) >= 0 {
			return luhn(digits)
		}
	}
	return false
}

// luhn verifies the ISO/IEC 7812-1 check digit.
func luhn(digits string) bool {
	sum, double := 0, false
	for i := len(digits) - 1; i >= 0; i-- {
		d := int(digits[i] - '0')
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		double = !double
	}
	return sum%10 == 0
}
