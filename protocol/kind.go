package protocol

import "fmt"

// Kind says what happened. The numbers are on the wire and on disks: never
// reuse one.
type Kind uint8

// The kinds, with their ARTS name and their GS1 CBV business step where one
// exists.
const (
	KindInvalid      Kind = 0
	KindSale         Kind = 1  // ARTS RetailTransaction/Sale; CBV retail_selling
	KindReturn       Kind = 2  // ARTS Return; CBV accepting, dispositions apply
	KindVoid         Kind = 3  // ARTS PostVoidTransaction; CBV void_shipping is not this
	KindCount        Kind = 4  // ARTS InventoryCount; CBV cycle_counting / stock_taking
	KindReceipt      Kind = 5  // ARTS Receiving; CBV receiving
	KindAdjustment   Kind = 6  // ARTS InventoryAdjustment; CBV per reason (destroying, …)
	KindTransfer     Kind = 7  // ARTS Transfer; CBV shipping / receiving
	KindStatusChange Kind = 8  // CBV holding / releasing: between dispositions
	KindSnapshot     Kind = 9  // a system's full statement; never a movement
	KindHold         Kind = 10 // store's answer to a pickup or ship-from-store task
	KindReservation  Kind = 11 // commerce:reserve, our own extension (CBV "reserving" means something else)
	KindItem         Kind = 12 // item master: units of measure, bill of materials
	KindPolicy       Kind = 13 // what is held back from sale: safety stock, fences, buffers
	KindAdvice       Kind = 14 // UN/EDIFACT DESADV and ORDERS: expected goods; never moves on hand
	KindKit          Kind = 15 // CBV assembling / disassembling: build and break of sets
	KindClock        Kind = 16 // the agent's estimate of its own clock, journaled where it changes
	KindDecision     Kind = 17 // what a person decided of a reconciliation, with who and why
	KindCommand      Kind = 18 // the agent's answer to a command; moves nothing
	KindPosting      Kind = 19 // what was decided and done of ERP documents
)

// KindLimit is above every kind: the length of arrays that a Kind indexes.
const KindLimit = int(KindPosting) + 1

var kindNames = [KindLimit]string{
	"", "sale", "return", "void", "count", "receipt", "adjustment", "transfer", "status_change", "snapshot", "hold",
	"reservation", "item", "policy", "advice", "kit", "clock", "decision", "command", "posting",
}

// String is the name used in JSON, URLs and logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) && k != KindInvalid {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Valid tells whether this version knows the kind.
func (k Kind) Valid() bool { return k > KindInvalid && int(k) < len(kindNames) }

// OfAgent tells that agents write such events of themselves: no till posted them,
// so nobody was given their seq.
func (k Kind) OfAgent() bool { return k == KindClock || k == KindHold || k == KindCommand }

// ParseKind reads a kind's name; the result is KindInvalid for unknown names.
func ParseKind(s string) Kind {
	for i, n := range kindNames {
		if n == s && n != "" {
			return Kind(i)
		}
	}
	return KindInvalid
}

// MarshalText writes the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a name.
func (k *Kind) UnmarshalText(b []byte) error {
	if *k = ParseKind(string(b)); *k == KindInvalid {
		return fmt.Errorf("parse kind: %q is not one of the known kinds", b)
	}
	return nil
}

// Disposition is the state of goods that are physically there (CBV
// disposition). Anything but sellable is on hand but unavailable.
type Disposition uint8

// The dispositions. Numbers are on the wire.
const (
	DispositionNone       Disposition = 0 // not stated
	DispositionSellable   Disposition = 1 // CBV sellable_accessible
	DispositionDamaged    Disposition = 2 // CBV damaged
	DispositionQuarantine Disposition = 3 // CBV non_sellable_other
	DispositionUnknown    Disposition = 4 // receiptless return, not yet judged
)

// DispositionsUnsellable is how many dispositions are on hand but unavailable:
// damaged, quarantine and unknown, in this order from DispositionDamaged on.
const DispositionsUnsellable = 3

var dispositionNames = [...]string{"", "sellable", "damaged", "quarantine", "unknown"}

func (d Disposition) String() string {
	if int(d) < len(dispositionNames) {
		return dispositionNames[d]
	}
	return fmt.Sprintf("disposition(%d)", uint8(d))
}

// ParseDisposition reads a name and tells whether it is known. "" is None.
func ParseDisposition(s string) (Disposition, bool) {
	for i, n := range dispositionNames {
		if n == s {
			return Disposition(i), true
		}
	}
	return 0, false
}

// Direction of a transfer document.
type Direction uint8

// Directions; numbers are on the wire.
const (
	DirectionNone Direction = 0
	DirectionOut  Direction = 1
	DirectionIn   Direction = 2
)

// Scope of a count.
type Scope uint8

// Scopes; numbers are on the wire.
const (
	ScopeNone Scope = 0
	ScopeSKU  Scope = 1
	ScopeZone Scope = 2
	ScopeFull Scope = 3 // zeroes what was not counted
)

// Stance of a snapshot's line: what became of the statement when it was taken.
// It is decided once and journaled, so that a replay need not decide again.
type Stance uint8

// Stances; numbers are on the wire.
const (
	StanceAnchor Stance = 0 // the statement is the number from here on
	StanceDrift  Stance = 1 // kept as evidence: it moves nothing
)

// Reasons an adjustment may give.
var Reasons = []string{"damage", "shrink", "found", "expiry", "internal_use", "correction"}

// Actions of a kit document. Its lines are the same for both: the set positive,
// its parts negative.
const (
	KitBuild = "build"
	KitBreak = "break"
)
