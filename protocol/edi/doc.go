// Package edi reads what warehouses drop as files, ANSI X12 (944, 945, 846) and
// UN/EDIFACT (DESADV, RECADV, INVRPT), and says which canonical documents each
// message is.
//
// Promises: delimiters are those that the file declares; an interchange whose
// envelope does not close, or does not count what it holds, is refused whole, since
// a part of it may be missing; a message that contradicts itself is refused alone. A
// document's id is the partner's own number of it, so that a file sent twice counts
// once. It stops at stock: prices, marks, carriers and texts are let pass unread. It
// keeps nothing: whether a control number was seen before is for its caller.
package edi
