package protocol

// docField is one field of a document, lineField one of its lines. The tables
// say which kind knows which: the contract in one place.
type (
	docField  uint8
	lineField uint8
)

const (
	docUnknown docField = iota
	docKind
	docLocation
	docSource
	docID
	docSnapshotID
	docRegister
	docOccurredAt
	docAsOf
	docBusinessDate
	docTraceparent
	docLines
	docOrderID
	docHoldID
	docOriginalID
	docOriginalStore
	docVoids
	docVoidsKind
	docAdviceID
	docTransferID
	docCounterparty
	docDirection
	docScope
	docSession
	docZone
	docCountedAt
	docReason
	docFrom
	docTo
	docComplete
	docAction
	docExpectedAt
	docAcknowledged
	docFieldCount
)

const (
	lineUnknown lineField = iota
	lineLine
	lineSKU
	lineQuantity
	lineUOM
	lineDisposition
	lineFrom
	lineTo
	lineCountedAt
	lineZone
	lineOriginalID
	lineOriginalStore
	lineCode
	lineUnitPrice
	lineFieldCount
)

// kindSet has one bit per Kind.
type kindSet uint32

func kinds(ks ...Kind) kindSet {
	var s kindSet
	for _, k := range ks {
		s |= 1 << k
	}
	return s
}

func (s kindSet) has(k Kind) bool { return s&(1<<k) != 0 }

// movements are what a POS may send; documents are those and what feeds alone
// may: snapshots and advices.
var (
	movements = kinds(KindSale, KindReturn, KindVoid, KindCount, KindReceipt, KindAdjustment, KindTransfer, KindStatusChange, KindKit)
	documents = movements | kinds(KindSnapshot, KindAdvice)
)

// docRules: the name of each field, the kinds that know it, and those that
// demand it.
var docRules = [docFieldCount]struct {
	name            string
	allowed, needed kindSet
}{
	docKind:          {"kind", documents, 0},
	docLocation:      {"location", documents, 0}, // feeds only
	docSource:        {"source", documents, 0},   // receipts and feeds only
	docID:            {"document_id", documents, movements | kinds(KindAdvice)},
	docSnapshotID:    {"snapshot_id", kinds(KindSnapshot), 0},
	docRegister:      {"register", documents, 0},
	docOccurredAt:    {"occurred_at", documents, movements | kinds(KindAdvice)},
	docAsOf:          {"as_of", kinds(KindSnapshot), 0},
	docBusinessDate:  {"business_date", documents, 0},
	docTraceparent:   {"traceparent", documents, 0},
	docLines:         {"lines", documents, documents &^ kinds(KindVoid, KindSnapshot)},
	docOrderID:       {"order_id", kinds(KindSale), 0},
	docHoldID:        {"hold_id", kinds(KindSale), 0},
	docOriginalID:    {"original_document_id", kinds(KindReturn), 0},
	docOriginalStore: {"original_store", kinds(KindReturn), 0},
	docVoids:         {"voids", kinds(KindVoid), kinds(KindVoid)},
	docVoidsKind:     {"voids_kind", kinds(KindVoid), 0},
	docAdviceID:      {"advice_id", kinds(KindReceipt), 0},
	docTransferID:    {"transfer_id", kinds(KindTransfer), kinds(KindTransfer)},
	docCounterparty:  {"counterparty", kinds(KindTransfer), kinds(KindTransfer)},
	docDirection:     {"direction", kinds(KindTransfer), kinds(KindTransfer)},
	docScope:         {"scope", kinds(KindCount), 0},
	docSession:       {"session", kinds(KindCount), 0},
	docZone:          {"zone", kinds(KindCount), 0},
	docCountedAt:     {"counted_at", kinds(KindCount), 0},
	docReason:        {"reason", kinds(KindAdjustment), kinds(KindAdjustment)},
	docFrom:          {"from", kinds(KindStatusChange), 0},
	docTo:            {"to", kinds(KindStatusChange), 0},
	docComplete:      {"complete", kinds(KindSnapshot), 0},
	docAction:        {"action", kinds(KindKit), kinds(KindKit)}, // write_off is the aggregator's own word
	docExpectedAt:    {"expected_at", kinds(KindAdvice), 0},
	docAcknowledged:  {"acknowledged", kinds(KindSnapshot), 0},
}

// lineRules: the name of each line field and the kinds that know it.
var lineRules = [lineFieldCount]struct {
	name    string
	allowed kindSet
}{
	lineLine:          {"line", documents},
	lineSKU:           {"sku", documents},
	lineQuantity:      {"quantity", documents},
	lineUOM:           {"uom", documents},
	lineDisposition:   {"disposition", kinds(KindReturn, KindReceipt, KindAdjustment, KindSnapshot)},
	lineFrom:          {"from", kinds(KindStatusChange)},
	lineTo:            {"to", kinds(KindStatusChange)},
	lineCountedAt:     {"counted_at", kinds(KindCount)},
	lineZone:          {"zone", kinds(KindCount)},
	lineOriginalID:    {"original_document_id", kinds(KindReturn)},
	lineOriginalStore: {"original_store", kinds(KindReturn)},
	lineCode:          {"code", kinds(KindSale, KindReturn)},
	lineUnitPrice:     {"unit_price", kinds(KindSale, KindReturn)},
}

var docFieldNames, lineFieldNames = nameTables()

func nameTables() (map[string]docField, map[string]lineField) {
	d := make(map[string]docField, docFieldCount)
	for f := docUnknown + 1; f < docFieldCount; f++ {
		d[docRules[f].name] = f
	}
	l := make(map[string]lineField, lineFieldCount)
	for f := lineUnknown + 1; f < lineFieldCount; f++ {
		l[lineRules[f].name] = f
	}
	return d, l
}

// signed: what leaves and what comes stand in one document.
var signed = kinds(KindAdjustment, KindKit)

// zeroAllowed: real tills write lines of nothing; a count of nothing is news.
var zeroAllowed = kinds(KindSale, KindCount, KindSnapshot)
