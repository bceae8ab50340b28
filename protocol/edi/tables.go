package edi

// What a message of a type is about; what is not listed here is not read.
const (
	x12Receipt   = "944" // Warehouse Stock Transfer Receipt Advice
	x12Shipment  = "945" // Warehouse Shipping Advice
	x12Inventory = "846" // Inventory Inquiry/Advice

	edifactDespatch  = "DESADV"
	edifactReceipt   = "RECADV"
	edifactInventory = "INVRPT"
)

// itemCodes are the qualifiers of article numbers, the best first. GTINs go before
// what a house numbers itself.
var itemCodes = []string{
	"UK", "EN", "SRV", "UP", "UA", "EO", "GTIN", // GTIN-14, EAN-13, EDIFACT's GTIN, UPC-A, UPC of a case, EAN-8
	"SK", "SA", "VN", "VP", "BP", "IN", "MG", "MF", "ZZ",
}

// units of the two syntaxes, as UN/ECE Recommendation 20 writes them; others are kept
// as they stand.
var units = map[string]string{
	"": "", "EA": "EA", "PCE": "EA", "C62": "EA", "H87": "EA", "PC": "EA", "UN": "EA", "KG": "KGM", "LB": "LBR", "GR": "GRM", "OZ": "ONZ",
}

// amount says what a quantity's qualifier tells of the stock.
type amount uint8

const (
	amountNone     amount = iota // it says something else: ordered, back-ordered, at most …
	amountOnHand                 // what lies there
	amountSellable               // what may be sold: taken where nothing tells what lies there
	amountMoved                  // what was received, or left
	amountRefused                // what came, and was not accepted
)

// quantities are the qualifiers of QTY, X12's in messages of X12 and EDIFACT's else.
// One that is in neither is refused: it may be what counts.
var quantities = map[string]map[string]amount{
	x12Inventory: {
		"17": amountOnHand, "33": amountSellable,
		"01": amountNone, "02": amountNone, "18": amountNone, "20": amountNone, "29": amountNone, "37": amountNone, "38": amountNone,
		"57": amountNone, "63": amountNone, "73": amountNone, "74": amountNone, "AA": amountNone, "QH": amountNone, "QO": amountNone, "V3": amountNone,
	},
	edifactDespatch: {"12": amountMoved, "21": amountNone, "59": amountNone, "45E": amountNone, "192": amountNone, "83": amountNone, "113": amountNone},
	edifactReceipt: {
		"194": amountMoved, "48": amountMoved, "195": amountRefused, "196": amountRefused, "12": amountNone, "21": amountNone, "59": amountNone,
		"113": amountNone, "119": amountNone, "121": amountNone, "123": amountNone, "124": amountNone, "193": amountNone, "192": amountNone,
	},
	edifactInventory: {
		"145": amountOnHand, "17": amountOnHand, "33": amountSellable, "198": amountSellable, "12": amountNone, "21": amountNone, "46": amountNone,
		"48": amountNone, "59": amountNone, "83": amountNone, "146": amountNone, "147": amountNone, "156": amountNone, "157": amountNone, "192": amountNone,
	},
}

// conditions are the receiving conditions of W13 that say how goods came; "" says
// only that fewer or more came.
var conditions = map[string]string{"01": "damaged", "02": "", "03": "", "07": "quarantine"}

// Roles of parties, the best first.
var (
	x12Here   = []string{"WH", "SF"} // whose stock a 945 and an 846 speak of
	x12Into   = []string{"WH", "ST"} // where a 944's goods came
	x12From   = []string{"SF"}       // … and from where
	x12To     = []string{"ST", "BT"} // whereto a 945's goods went
	ediFrom   = []string{"SF", "CZ"} // ship from, consignor
	ediTo     = []string{"ST", "DP", "CN", "UC"}
	ediStock  = []string{"WH", "ST", "GM", "DP", "SF"}
	ediMoment = []string{"11", "50", "310", "35", "137"} // despatched, received, …, written
	ediDue    = []string{"17", "132", "64", "2", "35", "358"}
)

// dateForms are the formats of DTM, as Go writes times; true where they tell the time
// of day.
var dateForms = map[string]struct {
	layout string
	clock  bool
}{
	"102": {"20060102", false}, "101": {"060102", false}, "203": {"200601021504", true}, "201": {"0601021504", true}, "204": {"20060102150405", true},
	"": {"20060102", false},
}

// purposes of a message: BGM's function and BIA's purpose.
const (
	purposeCancel = "1"
)

var purposes = map[string]bool{"": true, "9": true, "7": true, "00": true, "07": true, "1": true, "01": true}
