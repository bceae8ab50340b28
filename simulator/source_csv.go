package simulator

import (
	"fmt"
	"strings"
	"time"

	"tillwire/protocol"
)

var (
	cjColumns  = []string{"ts_local", "store", "basket", "product", "qty"}
	uciColumns = []string{"invoice", "stock_code", "quantity", "ts"}
)

// Zones of the files. A time that happens twice in autumn is told with the
// offset that Go picks; stock does not depend on which.
const (
	cjZone  = "America/New_York"
	uciZone = "Europe/London"
)

var zones = map[string]*time.Location{cjZone: mustZone(cjZone), uciZone: mustZone(uciZone)}

// mustZone cannot fail: time/tzdata is linked in.
func mustZone(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		panic("simulator: " + err.Error()) //nolint:forbidigo // time/tzdata is linked in
	}
	return loc
}

// cjLine reads a line of the Complete Journey sample. Zero quantities are
// kept: the till rang them up. A negative one would be goods brought back.
func cjLine(c columns, row []string) (tapeLine, error) {
	l := tapeLine{store: protocol.StoreID("CJ-" + row[c["store"]]), receipt: row[c["basket"]], kind: kindSale, sku: row[c["product"]]}
	if err := l.number(row[c["qty"]], row[c["ts_local"]], zones[cjZone]); err != nil {
		return l, err
	}
	l.effect = -l.quantity
	if l.quantity < 0 {
		l.kind, l.quantity = kindReturn, -l.quantity
	}
	return l, l.check()
}

// uciStore is the one web shop of the UCI file.
const uciStore protocol.StoreID = "UCI-1"

// uciLine reads a line of the UCI Online Retail file. An invoice that starts
// with C is a cancellation: goods come back. Any other negative line is a
// write-off: goods leave the shelf unsold.
func uciLine(c columns, row []string) (tapeLine, error) {
	l := tapeLine{store: uciStore, receipt: row[c["invoice"]], kind: kindSale, sku: row[c["stock_code"]]}
	if err := l.number(row[c["quantity"]], row[c["ts"]], zones[uciZone]); err != nil {
		return l, err
	}
	switch {
	case l.quantity >= 0:
		l.effect = -l.quantity
	case strings.HasPrefix(l.receipt, "C"):
		l.kind, l.quantity = kindReturn, -l.quantity
		l.effect = l.quantity
	default:
		l.kind, l.reason, l.effect = kindAdjustment, "damage", l.quantity
	}
	return l, l.check()
}

func (l *tapeLine) number(quantity, ts string, zone *time.Location) error {
	var err error
	if l.quantity, err = protocol.ParseQuantity(quantity); err != nil {
		return fmt.Errorf("quantity %q %w", quantity, err)
	}
	if l.at, err = time.ParseInLocation("2006-01-02T15:04:05", ts, zone); err != nil {
		return fmt.Errorf("time %q is not like 2017-03-01T10:15:00", ts)
	}
	return nil
}

func (l *tapeLine) check() error {
	if err := protocol.CheckName(string(l.store)); err != nil {
		return fmt.Errorf("store %q %w", l.store, err)
	}
	if l.receipt == "" || l.sku == "" {
		return fmt.Errorf("receipt %q or article %q is empty", l.receipt, l.sku)
	}
	return nil
}
