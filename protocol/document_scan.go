package protocol

import "errors"

// rawCode checks what was scanned. Codes with a right GS1 check digit are not
// searched for card numbers: a GTIN can pass Luhn.
func (r *docReader) rawCode(where at, s string) string {
	gtin := len(s) >= 12 && len(s) <= 14 && digitsOnly(s) && CheckDigitOK(s)
	if msg := badText(s, SKUBytesMax); msg != "" {
		r.invalid(where.String(), msg)
	} else if !gtin && FindPAN(s, true) {
		r.fail(CodePANDetected, where.String(), "holds what looks like a payment card number: never send card data")
	} else {
		return s
	}
	return ""
}

// scanned fills in what line i leaves to its scanned code, and tells which fields
// the line has then. What the till states itself always stands.
func (r *docReader) scanned(i int, seen uint16) uint16 {
	const both = 1<<lineSKU | 1<<lineQuantity
	l := &r.e.Lines[i]
	if l.RawCode == "" {
		return seen
	}
	if seen&both == both {
		if rawSKU(l.RawCode) == l.SKU {
			l.RawCode = ""
		}
		return seen
	}
	flags, err := r.fillIn(l, seen)
	switch {
	case errors.Is(err, ErrCheckDigit) && r.src.Lenient:
		flags = FlagBadCheckDigit
		if l.SKU = rawSKU(l.RawCode); seen&(1<<lineQuantity) == 0 {
			l.keepRaw()
		}
	case errors.Is(err, ErrCheckDigit):
		r.fail(CodeBadCheckDigit, linePointer(i, "code"), "has a wrong check digit: scan the article again")
	case err != nil:
		return seen
	}
	r.e.Flags |= flags
	return seen | both // what is wrong with the code was told: nothing is missing
}

// fillIn reads the barcode for what the till left out.
func (r *docReader) fillIn(l *Line, seen uint16) (EventFlags, error) {
	if seen&(1<<lineQuantity) == 0 {
		return r.src.Schemes.Apply(l, r.unitPrice)
	}
	// The till weighed it: only the article is asked of the code.
	n, err := r.src.Schemes.Parse(l.RawCode)
	switch {
	case err != nil:
		return 0, err
	case !n.Verified:
		l.SKU = rawSKU(l.RawCode)
		return FlagBadVerifier, nil
	}
	l.SKU = n.SKU
	if l.UOM == "" {
		l.UOM = n.UOM
	}
	return 0, nil
}

// complain tells what a line lacks.
func (r *docReader) complain(i int, seen uint16) {
	why := "is required on every line"
	if r.e.Lines[i].RawCode != "" {
		why = "is required: the line's code is no price- or weight-embedded barcode that is configured here"
	}
	for _, f := range [...]lineField{lineSKU, lineQuantity} {
		if seen&(1<<f) == 0 {
			r.fail(CodeMissingField, linePointer(i, lineRules[f].name), why)
		}
	}
}
