package poslog

import (
	"strings"

	"tillwire/protocol"
)

// weighed reads a line whose article is a price- or weight-embedded barcode: many
// tills write such a code as the article and 1 as the quantity. A weight that the
// till states itself stands. The quantity given back is signed as the one given.
func (r *reader) weighed(k *node, code string, l *protocol.Line, q protocol.Quantity) (protocol.Quantity, protocol.EventFlags) {
	n, err := r.o.Schemes.Parse(code)
	if err != nil {
		return q, 0 // another code, or one with a wrong check digit: both are told apart already
	}
	l.RawCode = code
	pieces := q / protocol.Units(1)
	if stated := l.UOM != "" && l.UOM != "EA" || protocol.Units(int64(pieces)) != q; stated {
		if !n.Verified {
			return q, protocol.FlagBadVerifier
		}
		if l.SKU = n.SKU; l.UOM == "" || l.UOM == "EA" {
			l.UOM = n.UOM
		}
		return q, 0
	}
	price, err := protocol.ParseQuantity(strings.TrimSpace(k.value("RegularSalesUnitPrice")))
	if err != nil {
		price = 0 // none, or one finer than a thousandth: nothing can be derived
	}
	one := protocol.Line{RawCode: code}
	flags, err := r.o.Schemes.Apply(&one, price)
	if err != nil || abs(pieces) > piecesMax || abs(pieces)*one.Quantity > protocol.QuantityMax {
		return q, 0 // so many labels were never scanned: it stays what the file says
	}
	if flags&(protocol.FlagBadVerifier|protocol.FlagNoUnitPrice) != 0 {
		return q, flags
	}
	l.SKU, l.UOM = one.SKU, one.UOM
	return pieces * one.Quantity, flags
}
