package protocol

import "slices"

// goldenEvent is one record of the golden journal.
type goldenEvent struct {
	Name  string
	Event Event
}

// goldenEvents are the records of one short journal, in order: the first six as
// they always were, then one of each kind that they lack.
func goldenEvents() []goldenEvent {
	sale := func(kind Kind, id string, lines ...Line) Event {
		return Event{
			ID: MakeEventID("S0042", kind, id), Kind: kind, Store: "S0042", DocumentID: id, Register: "R03",
			EventTime: Stamp{US: goldenStartUS, OffsetMin: 60}, BusinessDate: "2026-11-23", Lines: lines,
		}
	}
	basket := sale(
		KindSale, "S0042-R03-000187",
		Line{Line: 1, SKU: "04006381333931", Quantity: Units(2), UOM: "EA"},
		Line{Line: 2, SKU: "2100045", Quantity: 455, UOM: "KGM", RawCode: "2100045004553"},
	)
	basket.Flags, basket.Traceparent = FlagDerivedQuantity, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	back := sale(KindReturn, "S0042-R03-000188", Line{Line: 1, SKU: "04006381333931", Quantity: Units(1), UOM: "EA", Disposition: DispositionDamaged})
	back.OriginalDocument, back.OriginalStore = "S0007-R01-000001", "S0007"
	void := sale(KindVoid, "S0042-R03-000189")
	void.Voids, void.VoidsKind = "S0042-R03-000187", KindSale
	count := sale(KindCount, "C-1", Line{Line: 1, SKU: "04006381333931", Quantity: 0, CountedAt: Stamp{goldenStartUS + 1, 60}, Cut: 3, Zone: "A"})
	count.Scope, count.Session, count.Zone = ScopeZone, "night", "A"
	lost := sale(KindAdjustment, "A-1", Line{Line: 1, SKU: "2100045", Quantity: -1250, UOM: "KGM"})
	lost.Reason, lost.EventTime = "expiry", Stamp{US: -1, OffsetMin: -720} // a clock that was never set
	all := sale(KindTransfer, "T-1", Line{
		Line: 999_999, SKU: "ÄRTIKEL-1", Quantity: QuantityMax, UOM: "XBX", Disposition: DispositionSellable, From: DispositionQuarantine,
		To: DispositionUnknown, CountedAt: Stamp{1, -1}, Cut: 1<<63 + 1, Zone: "backroom", RawCode: "a code so long that this line's length needs two bytes: 0123456789",
	})
	all.OrderID, all.HoldID, all.OriginalDocument, all.OriginalStore = "web-1", "hold-1", "doc-0", "S0001"
	all.Voids, all.VoidsKind, all.Source, all.AdviceID, all.TransferID = "doc-1", KindHold, "wms", "asn-1", "T-77"
	all.Counterparty, all.Direction, all.Scope, all.Session, all.Zone = "DC1", DirectionIn, ScopeFull, "s", "z"
	all.Reason, all.Complete, all.Action = "found", true, "accept"
	all.Traceparent, all.Flags = basket.Traceparent, FlagMasked|FlagBadCheckDigit|FlagZoneless
	return append([]goldenEvent{
		{"sale", basket}, {"return", back}, {"void", void}, {"count", count}, {"adjustment", lost}, {"every-field", all},
	}, laterEvents(sale)...)
}

// laterEvents are those behind the first six: the chain of the six must stay.
func laterEvents(doc func(Kind, string, ...Line) Event) []goldenEvent {
	one := Line{Line: 1, SKU: "04006381333931", Quantity: Units(12), UOM: "EA"}
	receipt := doc(KindReceipt, "GR-1", one)
	receipt.Source, receipt.AdviceID = "wms", "asn-1"
	out := doc(KindTransfer, "TO-1", one)
	out.TransferID, out.Counterparty, out.Direction = "T-78", "S0007", DirectionOut
	moved := one
	moved.From, moved.To = DispositionSellable, DispositionDamaged
	status := doc(KindStatusChange, "SC-1", moved)
	stated := one
	stated.Stance = StanceDrift
	snapshot := doc(KindSnapshot, "N-1", one, stated)
	snapshot.Lines[1].Line, snapshot.Lines[1].SKU = 2, "2100045"
	snapshot.Source, snapshot.Complete, snapshot.Register = "wms", true, ""
	snapshot.Acks = []JournalAck{
		{Origin: Origin{"S0042", "server"}, Epoch: 1, Seq: 187},
		{Origin: Origin{"S0042", "till-03"}, Seq: 1<<63 + 2},
	}
	hold := doc(KindHold, HoldDocumentID("web-100234", HoldPicked))
	hold.HoldID, hold.Action = "web-100234", HoldPicked
	advice := doc(KindAdvice, "asn-1", one)
	advice.Source, advice.ExpectedAt, advice.Register = "wms", Stamp{goldenStartUS + 86_400_000_000, -300}, ""
	part := Line{Line: 2, SKU: "2100045", Quantity: -250, UOM: "KGM"}
	kit := doc(KindKit, "K-1", Line{Line: 1, SKU: "BASKET-1", Quantity: Units(1), UOM: "EA"}, part)
	kit.Action = "build"
	clock := doc(KindClock, "clock:00000001")
	clock.Register, clock.BusinessDate, clock.ClockOffsetUS, clock.ClockErrorUS = "", "", -2_500, 900
	seen := Line{Line: 1, SKU: "2100045", Quantity: 4250, UOM: "KGM", CountedAt: Stamp{goldenStartUS + 2, 60}, Cut: 9}
	seen.Cuts = []SiblingCut{{Agent: "till-02", Epoch: 1, Seq: 12}, {Agent: "till-03", Epoch: 300, Seq: 1<<63 + 3}, {Agent: "till-04"}}
	next := seen // counted a little later: till-03 had sold by then
	next.Line, next.SKU, next.CountedAt.US = 2, "04006381333931", seen.CountedAt.US+1
	next.Cuts = slices.Clone(seen.Cuts)
	next.Cuts[1].Seq++
	siblings := doc(KindCount, "C-2", seen, next)
	siblings.Scope = ScopeSKU
	late := doc(KindSale, "S0042-R03-000190", Line{Line: 1, SKU: "02012345828759", Quantity: Units(1), RawCode: "2012345828759"})
	late.ClockOffsetUS, late.ClockErrorUS, late.Flags = 120_000_000, 1_000_000, FlagBadVerifier|FlagNoUnitPrice
	own := func(kind Kind, id, body string) Event {
		return Event{
			ID: MakeEventID(ChainStore, kind, id), Kind: kind, Store: ChainStore, DocumentID: id,
			EventTime: Stamp{US: goldenStartUS}, Body: []byte(body),
		}
	}
	return slices.Concat([]goldenEvent{
		{"receipt", receipt},
		{"transfer", out},
		{"status-change", status},
		{"snapshot", snapshot},
		{"hold", hold},
		{"advice", advice},
		{"kit", kit},
		{"clock", clock},
		{"count-siblings", siblings},
		{"sale-late", late},
	}, []goldenEvent{ // of the aggregator's own journals: never on the link, but in exports
		{"reservation", own(KindReservation, "r:1", `{"id":"web-100234","state":"held"}`)},
		{"item", own(KindItem, "i:1", `{"sku":"BASKET-1","kit":[{"sku":"2100045","quantity":0.25}],"version":1}`)},
		{"policy", own(KindPolicy, "p:1", `{"policy_id":"web","scope":{"channel":"web"},"values":{"fence":2},"version":1}`)},
		{"decision", own(KindDecision, "d:1", `{"id":"wms/DC1/2100045","decision":"adopt"}`)},
	})
}
