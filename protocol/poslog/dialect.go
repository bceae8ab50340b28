package poslog

import "time"

// VoidStyle says what VoidFlag="true" on an item line means.
type VoidStyle uint8

// The styles seen.
const (
	// VoidExtraLine: an extra line with negative quantity takes an earlier one
	// back. To filter it out would overcount.
	VoidExtraLine VoidStyle = iota
	// VoidMarksLine: the line itself is void and counts nowhere.
	VoidMarksLine
)

// Effect of an item line on the shelf.
type Effect uint8

// The effects.
const (
	EffectSale   Effect = iota // goods leave: quantity as signed
	EffectReturn               // goods come back, whatever the quantity's sign
	EffectNone                 // a fee, a gift card: nothing moves
)

// Dialect is one vendor's reading of POSLog.
type Dialect struct {
	Name      string
	Namespace string // found among the root's namespaces; "" = the fallback

	Void      VoidStyle
	Elements  map[string]Effect // item elements within LineItem
	ItemTypes map[string]Effect // ItemType values that override the element
	// UnitsAttr: a weighed line has its weight in Quantity's Units attribute.
	UnitsAttr bool
	// WeightAttr on LineItem marks a weighed line; WeightUOM is its unit, where
	// the file does not say.
	WeightAttr, WeightUOM string

	Times      []string        // elements of Transaction or below with the moment, best first
	Skip       map[string]bool // TransactionStatus values that move nothing
	PostVoid   map[string]bool // TransactionLink ReasonCodes that cancel the linked transaction
	BareLayout string          // time layout without zone
}

var itemElements = map[string]Effect{
	"Sale": EffectSale, "SaleForDelivery": EffectSale, "SaleForPickup": EffectSale,
	"Return": EffectReturn, "ReturnForDelivery": EffectReturn, "ReturnForPickup": EffectReturn,
}

var itemTypes = map[string]Effect{
	"Service": EffectNone, "Fee": EffectNone, "GiftCertificate": EffectNone, "GiftCard": EffectNone, "StoredValue": EffectNone,
}

// dialects, the most special first; the last takes what no other does.
var dialects = []Dialect{
	{
		Name:      "ncr-acs-2.1",
		Namespace: "http://www.ncr.com/rsd/acs/tlog/markup/poslog/2.1",
		Void:      VoidExtraLine,
		Elements:  itemElements,
		// A bottle refund: quantity +1, amount negative, an empty comes in.
		ItemTypes:  map[string]Effect{"acs:NegativeItem": EffectReturn},
		WeightAttr: "weightItem",
		WeightUOM:  "LBR",
		Times:      []string{"EndDateTime", "ReceiptDateTime", "BeginDateTime"},
		Skip:       map[string]bool{"Suspended": true, "SuspendedRetrieved": true, "Voided": true, "Canceled": true},
		PostVoid:   map[string]bool{"PostVoid": true, "PostVoided": true},
		BareLayout: "2006-01-02T15:04:05.999999999",
	},
	{
		Name:       "arts",
		Void:       VoidMarksLine,
		Elements:   itemElements,
		ItemTypes:  itemTypes,
		UnitsAttr:  true,
		Times:      []string{"EndDateTime", "POSLogDateTime", "ReceiptDateTime", "BeginDateTime"},
		Skip:       map[string]bool{"Suspended": true, "SuspendedDeleted": true, "SuspendedRetrieved": true, "Voided": true, "Canceled": true, "Failed": true},
		PostVoid:   map[string]bool{"PostVoid": true, "PostVoided": true, "VoidedTransaction": true},
		BareLayout: "2006-01-02T15:04:05.999999999",
	},
}

// DialectByNamespaces finds the table for a root element's namespaces.
func DialectByNamespaces(spaces []string) *Dialect {
	for i := range dialects {
		d := &dialects[i]
		for _, s := range spaces {
			if s == d.Namespace {
				return d
			}
		}
	}
	return &dialects[len(dialects)-1]
}

// moment reads a time with or without zone. DST gaps and folds follow
// time.ParseInLocation: within the hour that comes twice, one of the two.
func (d *Dialect) moment(s string, zone *time.Location) (t time.Time, zoneless, ok bool) {
	if err := t.UnmarshalText([]byte(s)); err == nil {
		return t, false, true
	}
	t, err := time.ParseInLocation(d.BareLayout, s, zone)
	return t, true, err == nil
}
