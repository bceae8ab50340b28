package protocol

import "time"

// Event is one canonical business document as it is journaled: a basket is one
// event with lines, atomic. Event bytes hold what the POS said; when the agent
// recorded it stands in the Record around them.
type Event struct {
	ID           EventID
	Kind         Kind
	Store        StoreID // the location whose stock moves
	DocumentID   string  // the POS's own id, unique per store and kind
	Register     string  // optional
	EventTime    Stamp   // what the POS's clock said
	BusinessDate string  // YYYY-MM-DD, as the POS says; "" when not stated
	Traceparent  string  // W3C trace context, optional
	Lines        []Line

	OrderID          string // collected click-and-collect order
	HoldID           string // hold that the document consumes or answers
	OriginalDocument string // returns: the sale's document id
	OriginalStore    StoreID
	Voids            string // voids: the document id cancelled
	VoidsKind        Kind   // voids: its kind; KindInvalid = look for any
	Source           string // receipts, feeds: the sending system
	AdviceID         string // receipts: the advance notice
	TransferID       string
	Counterparty     StoreID
	Direction        Direction
	Scope            Scope
	Session          string // counts: lines of one session add up
	Zone             string
	Reason           string // adjustments
	Complete         bool   // snapshots: SKUs not named are zero
	Action           string // holds: accept, reject, picked, collected; kits: build, break; transfers: write_off
	Flags            EventFlags

	ExpectedAt    Stamp        // advices: when the goods are expected
	ClockOffsetUS int64        // clocks: aggregator − agent; documents posted late: agent − register, as learnt from the register's earlier ones
	ClockErrorUS  int64        // bound of the error of ClockOffsetUS; 0 = the offset is not known
	Acks          []JournalAck // snapshots: what the stating system had processed of which journal
	Body          []byte       // reservations, items, policies, decisions: their own JSON
}

// EventFlags mark what was derived or repaired on the way in.
type EventFlags uint32

// Flags; bits are on the wire.
const (
	FlagDerivedQuantity EventFlags = 1 << iota // quantity from a price-embedded barcode
	FlagMasked                                 // a card number was masked in a text field
	FlagBadCheckDigit                          // legacy source: an SKU kept under its raw code
	FlagZoneless                               // legacy source: local time without zone
	FlagBadVerifier                            // a price-embedded barcode's price verifier is wrong; kept under the raw code
	FlagNoUnitPrice                            // a price-embedded barcode came without regular unit price; kept under the raw code
	FlagClockSetBack                           // the agent's clock was set back: the document's times tell nothing, see PostedLate
)

// Line is one article of a document. Quantity is as the document's kind counts
// it: positive on sales, returns, receipts, transfers, counts; signed on
// adjustments, and on a kit's lines (the set positive, its parts negative).
type Line struct {
	Line        int // the document's own line number
	SKU         SKU
	Quantity    Quantity
	UOM         string // UN/ECE Recommendation 20 code: EA, KGM, …; "" = EA
	Disposition Disposition
	From, To    Disposition // status changes
	CountedAt   Stamp       // counts: when this line was counted; zero = event time
	Cut         uint64      // counts: highest seq of the own journal off the shelf by then
	Zone        string
	RawCode     string       // what was scanned, where it differs from SKU
	Cuts        []SiblingCut // counts: cuts over the store's other journals, where the counter could see them
	Stance      Stance       // snapshots
}

// SiblingCut is the highest seq of another journal of the store whose goods were
// off the shelf when a line was counted.
type SiblingCut struct {
	Agent AgentID
	Epoch uint64
	Seq   uint64
}

// JournalAck is the highest seq of a journal that a stating system had processed.
type JournalAck struct {
	Origin Origin
	Epoch  uint64 // 0 = the first
	Seq    uint64
}

// Stamp is a moment with the zone offset in which it was told.
type Stamp struct {
	US        int64 // microseconds since 1970-01-01 UTC
	OffsetMin int16 // minutes east of UTC
}

// StampOf keeps t to the microsecond.
func StampOf(t time.Time) Stamp {
	if t.IsZero() {
		return Stamp{}
	}
	_, off := t.Zone()
	return Stamp{US: t.UnixMicro(), OffsetMin: int16(off / 60)}
}

// Time gives the moment back in its own zone.
func (s Stamp) Time() time.Time {
	if s.OffsetMin == 0 {
		return time.UnixMicro(s.US).UTC()
	}
	return time.UnixMicro(s.US).In(time.FixedZone("", int(s.OffsetMin)*60))
}

// IsZero tells whether no time was given.
func (s Stamp) IsZero() bool { return s == Stamp{} }
