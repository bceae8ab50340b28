package posting

import (
	"slices"

	"tillwire/protocol"
)

// Class is what kind of ERP document a movement belongs to. Its numbers are on disk.
type Class uint8

// The classes. What an ERP calls them stands in the package's README.
const (
	ClassNone        Class = iota
	ClassSale              // out to customers
	ClassReturn            // back from customers
	ClassReceipt           // in from suppliers
	ClassTransferOut       // to another location: into transit
	ClassTransferIn        // from another: out of transit
	ClassCount             // gain or loss found by a count
	ClassKit               // sets built and broken
	ClassDamage            // adjustments, by reason
	ClassShrink
	ClassFound
	ClassExpiry
	ClassInternalUse
	ClassCorrection
	ClassDamaged    // between the store's sellable stock and its other; moves nothing in or out
	ClassQuarantine //
	ClassUnknown    //
	ClassOpening    // what was there when the ERP was connected
	classLimit
)

var classNames = [classLimit]string{
	"", "sale", "return", "receipt", "transfer_out", "transfer_in", "count", "kit",
	"adjustment_damage", "adjustment_shrink", "adjustment_found", "adjustment_expiry", "adjustment_internal_use", "adjustment_correction",
	"status_damaged", "status_quarantine", "status_unknown", "opening",
}

func (c Class) String() string {
	if c < classLimit {
		return classNames[c]
	}
	return "class?"
}

// ParseClass reads a class's name.
func ParseClass(s string) (Class, bool) {
	i := slices.Index(classNames[1:], s)
	return Class(i + 1), i >= 0
}

// Classes lists the names.
func Classes() []string { return slices.Clone(classNames[1:]) }

// ranks order a store's documents of one day: goods come in before they go out, so
// that an ERP which minds sees no more negative stock than the store had.
var ranks = [classLimit]uint8{
	ClassOpening: 0, ClassReceipt: 1, ClassTransferIn: 2, ClassReturn: 3, ClassFound: 4, ClassCorrection: 4, ClassCount: 5, ClassKit: 6,
	ClassDamage: 7, ClassShrink: 7, ClassExpiry: 7, ClassInternalUse: 7, ClassDamaged: 8, ClassQuarantine: 8, ClassUnknown: 8,
	ClassTransferOut: 9, ClassSale: 10,
}

// Status tells a class that moves goods inside the store.
func (c Class) Status() bool { return c >= ClassDamaged && c <= ClassUnknown }

// Inward tells the direction that a class has when nothing is reversed; ok is false
// where either is usual.
func (c Class) Inward() (in, ok bool) {
	switch c { //nolint:exhaustive // the rest go both ways
	case ClassReturn, ClassReceipt, ClassTransferIn, ClassFound:
		return true, true
	case ClassSale, ClassTransferOut, ClassDamage, ClassShrink, ClassExpiry, ClassInternalUse:
		return false, true
	}
	return false, false
}

// ClassOf is the class of a document's movements.
func ClassOf(kind protocol.Kind, dir protocol.Direction, reason string) Class {
	switch kind { //nolint:exhaustive // the others move nothing
	case protocol.KindSale, protocol.KindHold:
		return ClassSale
	case protocol.KindReturn:
		return ClassReturn
	case protocol.KindReceipt:
		return ClassReceipt
	case protocol.KindTransfer:
		if dir == protocol.DirectionOut {
			return ClassTransferOut
		}
		return ClassTransferIn
	case protocol.KindKit:
		return ClassKit
	case protocol.KindAdjustment:
		if i := slices.Index(protocol.Reasons, reason); i >= 0 {
			return ClassDamage + Class(i)
		}
		return ClassCorrection
	}
	return ClassCount
}
