package availability

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"tillwire/protocol"
)

var rowPool = sync.Pool{New: func() any { r := make([]row, 0, 64); return &r }}

// AppendJSON appends the JSON of Get's answer without building it: the same
// bytes as encoding/json writes. False, and b unchanged, when no location ever
// had the SKU.
func (m *Model) AppendJSON(b []byte, sku protocol.SKU, at []protocol.StoreID) ([]byte, bool) {
	e := m.find(sku)
	if e == nil {
		return b, false
	}
	buf := rowPool.Get().(*[]row)
	rows := m.rows(e, at, *buf)
	nowUS := m.now().UnixMicro()
	locs := *m.locs.Load()
	if len(rows) > 1 {
		slices.SortFunc(rows, func(x, y row) int {
			if a, b := locs[x.loc].name, locs[y.loc].name; a < b {
				return -1
			} else if a > b {
				return 1
			}
			return 0
		})
	}
	var total protocol.AvailabilityTotals
	b = append(b, `{"sku":`...)
	b = appendString(b, string(sku))
	b = append(b, `,"as_of":`...)
	b = appendTime(b, nowUS)
	b = append(b, `,"totals":`...)
	for i := range rows {
		l := locs[rows[i].loc].answer(&rows[i], nowUS)
		add(&total, &l)
	}
	b = append(appendQuantities(append(b, '{'), &total.Quantities), `,"available":`...)
	b = append(total.Available.AppendTo(b), `},"locations":[`...)
	for i := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		l := locs[rows[i].loc].answer(&rows[i], nowUS)
		b = appendLocation(b, &l)
	}
	*buf = rows[:0]
	rowPool.Put(buf)
	return append(b, "]}"...), true
}

func appendLocation(b []byte, l *protocol.AvailabilityLocation) []byte {
	b = append(b, `{"location":`...)
	b = appendString(b, string(l.Location))
	b = append(b, `,"type":`...)
	b = appendString(b, l.Type)
	b = append(b, ',')
	b = appendQuantities(b, &l.Quantities)
	b = append(b, `,"risk_buffer":`...)
	b = l.RiskBuffer.AppendTo(b)
	b = append(b, `,"available":`...)
	b = l.Available.AppendTo(b)
	b = append(b, `,"as_of":`...)
	b = appendTime(b, l.AsOf.UnixMicro())
	b = append(b, `,"lag_s":`...)
	b = appendSeconds(b, l.LagS)
	b = append(b, `,"provisional":`...)
	return append(strconv.AppendBool(b, l.Provisional), '}')
}

func appendQuantities(b []byte, q *protocol.Quantities) []byte {
	b = q.OnHand.AppendTo(append(b, `"on_hand":`...))
	b = q.Reserved.AppendTo(append(b, `,"reserved":`...))
	b = q.Allocated.AppendTo(append(b, `,"allocated":`...))
	b = q.SafetyStock.AppendTo(append(b, `,"safety_stock":`...))
	b = q.InTransit.AppendTo(append(b, `,"in_transit":`...))
	return q.Unavailable.AppendTo(append(b, `,"unavailable":`...))
}

func appendTime(b []byte, us int64) []byte {
	b = append(b, '"')
	b = time.UnixMicro(us).UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendSeconds writes a lag, which has at most 3 decimals.
func appendSeconds(b []byte, s float64) []byte {
	return protocol.Quantity(math.Round(s * 1000)).AppendTo(b)
}

// appendString quotes what needs no escaping, and leaves the rest to strconv's
// slower care. SKUs and names are nearly always plain.
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
