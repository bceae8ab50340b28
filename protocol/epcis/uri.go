package epcis

import (
	"strings"

	"tillwire/protocol"
)

// word reduces a CBV word to its bare form: "receiving", also from
// urn:epcglobal:cbv:bizstep:receiving, https://ref.gs1.org/cbv/BizStep-receiving
// and cbv:BizStep-receiving. Words of other vocabularies stay what they are.
func word(s, urnType, webType string) string {
	if bare, ok := strings.CutPrefix(s, "urn:epcglobal:cbv:"+urnType+":"); ok {
		return bare
	}
	for _, web := range []string{"https://ref.gs1.org/cbv/", "https://gs1.org/voc/", "cbv:", "gs1:"} {
		if bare, ok := strings.CutPrefix(s, web+webType+"-"); ok {
			return bare
		}
	}
	return s
}

// articleOf is the GTIN in an EPC, in a class or pattern, or in a Digital Link.
// known is false for identifiers that are no trade items.
func articleOf(uri string) (gtin string, known bool) {
	if len(uri) > uriBytesMax {
		return "", false
	}
	for _, scheme := range []string{"urn:epc:id:sgtin:", "urn:epc:idpat:sgtin:", "urn:epc:class:lgtin:"} {
		if rest, ok := strings.CutPrefix(uri, scheme); ok {
			return gtinOf(strings.SplitN(rest, ".", 3))
		}
	}
	v := linkValue(uri, "01")
	if len(v) == 0 || len(v) > 14 || !digits(v) {
		return "", false
	}
	return strings.Repeat("0", 14-len(v)) + v, true
}

// gtinOf puts a GTIN-14 together: indicator, company prefix, item reference,
// check digit (GS1 EPC Tag Data Standard, SGTIN).
func gtinOf(parts []string) (string, bool) {
	if len(parts) < 2 {
		return "", false
	}
	company, item := parts[0], parts[1]
	if len(company)+len(item) != 13 || item == "" || !digits(company+item) {
		return "", false
	}
	body := item[:1] + company + item[1:]
	return body + string(protocol.CheckDigit(body)), true
}

// placeOf names the place in an SGLN or in a Digital Link of a GLN: the number
// alone, or number-extension where there is one (other than 0, which means
// none).
func placeOf(uri string) (string, bool) {
	if len(uri) > uriBytesMax {
		return "", false
	}
	gln, ext := linkValue(uri, "414"), linkValue(uri, "254")
	if rest, ok := strings.CutPrefix(uri, "urn:epc:id:sgln:"); ok {
		parts := strings.SplitN(rest, ".", 3)
		if len(parts) < 2 || len(parts[0])+len(parts[1]) != 12 || !digits(parts[0]+parts[1]) {
			return "", false
		}
		gln = parts[0] + parts[1]
		gln += string(protocol.CheckDigit(gln))
		if len(parts) == 3 {
			ext = parts[2]
		}
	} else if len(gln) != 13 || !digits(gln) {
		return "", false
	}
	if ext != "" && ext != "0" {
		gln += "-" + ext
	}
	return gln, protocol.CheckName(gln) == nil
}

// linkValue is what stands behind an application identifier in a Digital Link
// of any domain.
func linkValue(uri, ai string) string {
	rest, ok := strings.CutPrefix(uri, "https://")
	if !ok {
		if rest, ok = strings.CutPrefix(uri, "http://"); !ok {
			return ""
		}
	}
	rest, _, _ = strings.Cut(rest, "?")
	_, path, ok := strings.Cut("/"+rest, "/"+ai+"/")
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(path, "/")
	return value
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
