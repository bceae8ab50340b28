package availability

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"tillwire/protocol"
)

// AppendJSON appends the JSON of Get's answer without building it: the same
// bytes as encoding/json writes. False, and b unchanged, when no location ever
// had the SKU.
func (m *Model) AppendJSON(b []byte, sku protocol.SKU, at []protocol.StoreID) ([]byte, bool) {
	return m.AppendJSONFor(b, sku, at, "")
}

// AppendJSONFor is AppendJSON as a channel sees it.
func (m *Model) AppendJSONFor(b []byte, sku protocol.SKU, at []protocol.StoreID, channel string) ([]byte, bool) {
	v := m.look(at, channel)
	defer v.done()
	return m.appendJSON(b, v, sku)
}

// AppendJSONList appends the answers for several SKUs of one moment, with commas
// between them, and to unknown the places of those that no location ever had.
func (m *Model) AppendJSONList(b []byte, skus []protocol.SKU, at []protocol.StoreID, channel string, unknown []int) ([]byte, []int) {
	v := m.look(at, channel)
	defer v.done()
	first := true
	for i, sku := range skus {
		n := len(b)
		if !first {
			b = append(b, ',')
		}
		var ok bool
		if b, ok = m.appendJSON(b, v, sku); !ok {
			b, unknown = b[:n], append(unknown, i)
			continue
		}
		first = false
	}
	return b, unknown
}

func (m *Model) appendJSON(b []byte, v *look, sku protocol.SKU) ([]byte, bool) {
	if !m.read(v, sku) {
		return b, false
	}
	b = append(b, `{"sku":`...)
	b = appendString(b, string(sku))
	b = append(b, `,"as_of":`...)
	b = v.now.append(b, v.nowUS)
	b = v.appendTotals(append(b, `,"totals":`...))
	b = append(b, `,"locations":[`...)
	for i := range v.shares {
		if i > 0 {
			b = append(b, ',')
		}
		b = v.appendShare(b, &v.shares[i])
	}
	b = append(b, ']')
	if v.channel != "" {
		b = appendString(append(b, `,"channel":`...), v.channel)
	}
	if v.parts != nil {
		b = appendParts(append(b, `,"kit":true,"components":[`...), v.parts)
	}
	return append(b, '}'), true
}

// headOf begins a location's part.
func headOf(name protocol.StoreID, kind string) string {
	b := appendString([]byte(`{"location":`), string(name))
	return string(append(appendString(append(b, `,"type":`...), kind), ','))
}

func (v *look) appendTotals(b []byte) []byte {
	var t protocol.AvailabilityTotals
	for i := range v.shares {
		add(&t, &v.shares[i].Promise)
	}
	b = appendQuantities(append(b, '{'), &t.Quantities)
	b = t.Available.AppendTo(append(b, `,"available":`...))
	b = appendUnlessZero(b, `,"risk_buffer":`, t.RiskBuffer)
	b = appendUnlessZero(b, `,"fenced":`, t.Fenced)
	b = appendUnlessZero(b, `,"incoming":`, t.Incoming)
	return append(b, '}')
}

func (v *look) appendShare(b []byte, x *share) []byte {
	b = append(b, x.head...)
	q := x.quantities()
	b = appendQuantities(b, &q)
	b = appendQuantity(append(b, `,"risk_buffer":`...), x.RiskBuffer)
	b = appendQuantity(append(b, `,"available":`...), x.Available)
	b = append(b, `,"as_of":`...)
	b = v.asOf.append(b, x.AsOfUS)
	b = append(b, `,"lag_s":`...)
	if x.LagS != v.lagS || v.lagText == nil {
		v.lagS, v.lagText = x.LagS, appendSeconds(v.lagText[:0], x.LagS)
	}
	b = append(b, v.lagText...)
	b = strconv.AppendBool(append(b, `,"provisional":`...), x.Provisional)
	b = appendUnlessZero(b, `,"fenced":`, x.FencedForOthers)
	b = appendUnlessZero(b, `,"incoming":`, x.Incoming)
	if x.Dark {
		b = append(b, `,"dark":true`...)
	}
	if by := &x.UnavailableBy; *by != [protocol.DispositionsUnsellable]protocol.Quantity{} {
		b = append(b, `,"unavailable_by":`...)
		n := len(b)
		b = appendUnlessZero(b, `,"damaged":`, by[0])
		b = appendUnlessZero(b, `,"quarantine":`, by[1])
		b = appendUnlessZero(b, `,"unknown":`, by[2])
		b[n] = '{'
		b = append(b, '}')
	}
	if x.Alpha != 0 {
		if x.Alpha != v.alpha { // most locations have the same; 0.5 to 1 has no exponent in encoding/json either
			v.alpha, v.alphaText = x.Alpha, strconv.AppendFloat(v.alphaText[:0], x.Alpha, 'f', -1, 64)
		}
		b = append(append(b, `,"service_level":`...), v.alphaText...)
	}
	return append(b, '}')
}

func appendQuantities(b []byte, q *protocol.Quantities) []byte {
	b = appendQuantity(append(b, `"on_hand":`...), q.OnHand)
	b = appendQuantity(append(b, `,"reserved":`...), q.Reserved)
	b = appendQuantity(append(b, `,"allocated":`...), q.Allocated)
	b = appendQuantity(append(b, `,"safety_stock":`...), q.SafetyStock)
	b = appendQuantity(append(b, `,"in_transit":`...), q.InTransit)
	return appendQuantity(append(b, `,"unavailable":`...), q.Unavailable)
}

// appendQuantity is q.AppendTo, faster for what most quantities are: 0 to 9.
func appendQuantity(b []byte, q protocol.Quantity) []byte {
	if q == 0 {
		return append(b, '0')
	}
	if uint64(q) < 10_000 && q%1000 == 0 {
		return append(b, byte('0'+q/1000))
	}
	return q.AppendTo(b)
}

func appendUnlessZero(b []byte, key string, q protocol.Quantity) []byte {
	if q == 0 {
		return b
	}
	return appendQuantity(append(b, key...), q)
}

func appendParts(b []byte, parts []protocol.KitComponent) []byte {
	for i := range parts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"sku":`...), string(parts[i].SKU))
		b = append(parts[i].Quantity.AppendTo(append(b, `,"quantity":`...)), '}')
	}
	return append(b, ']')
}

// appendTime writes a moment as RFC 3339 does, in UTC. Years 1970 to 2105, which
// is what cells can hold, are worked out here; others are left to package time.
func appendTime(b []byte, us int64) []byte {
	b = append(b, '"')
	if us < 0 || us > math.MaxUint32*int64(usPerS) {
		return append(time.UnixMicro(us).UTC().AppendFormat(b, time.RFC3339Nano), '"')
	}
	s, frac := us/usPerS, us%usPerS
	day, second := s/86400, s%86400
	// Days to a date by H. Hinnant's arithmetic: years begin in March.
	z := day + 719468
	era := z / 146097
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	year, month := yoe+era*400, mp+3
	if month > 12 {
		year, month = year+1, month-12
	}
	b = append2(append2(b, year/100), year%100)
	b = append2(append(b, '-'), month)
	b = append2(append(b, '-'), doy-(153*mp+2)/5+1)
	b = append2(append(b, 'T'), second/3600)
	b = append2(append(b, ':'), second/60%60)
	b = append2(append(b, ':'), second%60)
	if frac != 0 {
		b = append(b, '.')
		b = append2(append2(append2(b, frac/10000), frac/100%100), frac%100)
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return append(b, 'Z', '"')
}

// append writes a moment, which is mostly the one that was written last.
func (t *moment) append(b []byte, us int64) []byte {
	if us != t.us || t.text == nil {
		t.us, t.text = us, appendTime(t.text[:0], us)
	}
	return append(b, t.text...)
}

func append2(b []byte, n int64) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// appendSeconds writes a lag, which has at most 3 decimals.
func appendSeconds(b []byte, s float64) []byte {
	return protocol.Quantity(math.Round(s * 1000)).AppendTo(b)
}

// appendString quotes what needs no escaping, and leaves the rest to
// encoding/json's slower care. SKUs and names are nearly always plain.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil { // a string always marshals
		return append(b, '"', '"')
	}
	return append(b, q...)
}
