package poslog

import (
	"errors"
	"strconv"
	"strings"

	"tillwire/protocol"
)

// item is one item line with its signed movement off the shelf.
type item struct {
	line    protocol.Line
	sold    protocol.Quantity // > 0 leaves, < 0 comes back
	dropped bool              // all of it was taken back within the transaction
}

// items reads the item lines of a transaction, lets line voids cancel what they
// take back, and sorts the rest into goods sold and goods returned.
func (r *reader) items(retail *node) (sold, back []protocol.Line, flags protocol.EventFlags, errs []protocol.FieldError) {
	var items []item
	number := 0
	for _, li := range retail.kids {
		if li.name != "LineItem" {
			continue
		}
		number++
		for _, k := range li.kids {
			effect, known := r.d.Elements[k.name]
			if !known {
				continue
			}
			if e, special := r.d.ItemTypes[k.attr("ItemType")]; special {
				effect = e
			}
			void := li.flag("VoidFlag") || k.flag("VoidFlag")
			if effect == EffectNone || void && r.d.Void == VoidMarksLine {
				continue
			}
			it, f, fe := r.item(li, k, effect, number)
			if fe != nil {
				errs = append(errs, *fe)
				continue
			}
			flags |= f
			if void {
				it = cancel(items, it, effect)
			}
			if !it.dropped {
				items = append(items, it)
			}
			if len(items) > linesMax {
				return nil, nil, 0, []protocol.FieldError{{Pointer: "/Transaction/RetailTransaction", Message: "has too many lines"}}
			}
		}
	}
	for _, it := range items {
		l := it.line
		switch {
		case it.dropped:
		case it.sold < 0:
			l.Quantity = -it.sold
			back = append(back, l)
		default:
			l.Quantity = it.sold
			sold = append(sold, l)
		}
	}
	return sold, back, flags, errs
}

// item reads one item element.
func (r *reader) item(li, k *node, effect Effect, number int) (it item, flags protocol.EventFlags, fe *protocol.FieldError) {
	at := func(name, msg string) *protocol.FieldError {
		return &protocol.FieldError{Pointer: "/Transaction/RetailTransaction/LineItem[" + strconv.Itoa(number) + "]/" + name, Message: msg}
	}
	l := protocol.Line{Line: lineNumber(li, number)}
	scanned := ""
	if id := k.kid("POSIdentity"); id != nil {
		scanned = id.value("POSItemID")
	}
	code := k.value("ItemID")
	if code == "" {
		code = scanned
	}
	sku, err := protocol.NormalizeSKU(code)
	switch {
	case errors.Is(err, protocol.ErrCheckDigit):
		sku, flags = protocol.SKU(code), protocol.FlagBadCheckDigit
	case err != nil:
		return it, 0, at("ItemID", err.Error())
	}
	l.SKU = sku
	if scanned != code && len(scanned) <= protocol.SKUBytesMax {
		l.RawCode = scanned
	}
	q, fe := r.quantity(li, k, &l, at)
	if fe != nil {
		return it, 0, fe
	}
	q, derived := r.weighed(k, code, &l, q)
	flags |= derived
	if effect == EffectReturn {
		// Some vendors write the quantity of a return negative, some positive.
		// A voided return is told from a return by VoidFlag, not by its sign.
		q = -max(q, -q)
	}
	it.line, it.sold = l, q
	return it, flags, nil
}

// lineNumber is the file's own, where it is usable.
func lineNumber(li *node, number int) int {
	if n, err := strconv.Atoi(li.value("SequenceNumber")); err == nil && n > 0 && n <= 999_999 {
		return n
	}
	return number
}

// quantity reads amount and unit.
func (r *reader) quantity(li, k *node, l *protocol.Line, at func(name, msg string) *protocol.FieldError) (protocol.Quantity, *protocol.FieldError) {
	qn := k.kid("Quantity")
	if qn == nil {
		return protocol.Units(1), nil // ARTS: left out means one
	}
	text := qn.text
	if u := qn.attr("UnitOfMeasureCode"); validUnit(u) {
		l.UOM = u
	}
	if u := qn.attr("Units"); r.d.UnitsAttr && u != "" && l.UOM != "" && l.UOM != "EA" {
		text = u
	}
	if r.d.WeightAttr != "" && l.UOM == "" && li.flag(r.d.WeightAttr) {
		l.UOM = r.d.WeightUOM
	}
	q, err := protocol.ParseQuantity(strings.TrimPrefix(text, "+"))
	if err != nil {
		return 0, at("Quantity", err.Error())
	}
	return q, nil
}

func validUnit(u string) bool {
	if u == "" || len(u) > 3 {
		return false
	}
	return strings.Trim(u, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// cancel lets a void line take back earlier lines of the same article, the
// newest first. What finds no partner stays as a line of its own, so that the
// sum holds whatever a till writes.
func cancel(items []item, v item, effect Effect) item {
	want := v.sold // < 0 for a void sale line
	if effect == EffectReturn || want > 0 {
		// A void of a return gives a positive movement, and a vendor that
		// writes voids of sales with a positive quantity means a negative one.
		want = -want
	}
	for i := len(items) - 1; i >= 0 && want != 0; i-- {
		it := &items[i]
		if it.dropped || it.line.SKU != v.line.SKU || it.sold > 0 == (want > 0) || it.sold == 0 {
			continue
		}
		if abs(it.sold) <= abs(want) {
			want += it.sold
			it.dropped = true
		} else {
			it.sold += want
			want = 0
		}
	}
	v.sold, v.dropped = want, want == 0
	return v
}

func abs(q protocol.Quantity) protocol.Quantity { return max(q, -q) }
