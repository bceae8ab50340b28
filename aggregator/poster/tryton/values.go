package tryton

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"tillwire/protocol"
)

// Tryton's JSON has classes of its own for what JSON has not.

// date is a day.
func date(day int32) map[string]any {
	y, m, d := time.UnixMicro(int64(day) * 86_400_000_000).UTC().Date()
	return map[string]any{"__class__": "date", "year": y, "month": int(m), "day": d}
}

// dayOf reads a day; 0 where there is none.
func dayOf(raw json.RawMessage) int32 {
	var d struct{ Year, Month, Day int }
	if json.Unmarshal(raw, &d) != nil || d.Year == 0 {
		return 0
	}
	return int32(time.Date(d.Year, time.Month(d.Month), d.Day, 0, 0, 0, 0, time.UTC).Unix() / 86_400)
}

// decimal is an exact number.
func decimal(s string) map[string]any {
	return map[string]any{"__class__": "Decimal", "decimal": s}
}

// decimalOf reads an exact number; "0" where there is none.
func decimalOf(raw json.RawMessage) string {
	var d struct {
		Decimal string `json:"decimal"`
	}
	if json.Unmarshal(raw, &d) != nil || d.Decimal == "" {
		return "0"
	}
	return d.Decimal
}

// truth is a boolean, which some databases give as 0 or 1.
type truth bool

// UnmarshalJSON reads it.
func (t *truth) UnmarshalJSON(b []byte) error {
	*t = string(b) == "true" || string(b) == "1"
	return nil
}

// float is a quantity as Tryton holds it. A float64 holds every thousandth that a
// Quantity can be up to 10^12 units exactly enough to be rounded back.
func float(q protocol.Quantity) json.Number {
	if q < 0 {
		q = -q
	}
	return json.Number(q.String())
}

// quantityOf reads a float back, to the nearest thousandth.
func quantityOf(f float64) (protocol.Quantity, error) {
	q, err := protocol.ParseQuantity(strconv.FormatFloat(f, 'f', 3, 64))
	if err != nil {
		return 0, fmt.Errorf("quantity %g %w", f, err)
	}
	return q, nil
}
