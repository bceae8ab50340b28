// Package poslog reads ARTS/OMG POSLog XML, as many tills write it, into
// canonical events. Vendors agree on the elements and differ in what they mean:
// a Dialect is a table of those meanings.
//
// It promises that per article the events' sales less returns are exactly the
// signed sum of the file's item lines, that document ids are made of what the
// file says (so that a file read twice counts once), and that a transaction
// which cannot be read is reported alone while the others proceed. It refuses
// document type declarations, entities and other encodings than UTF-8, and
// bounds size, depth and nodes. It is pure: bytes in, events out. Prices,
// tenders and promotions are not looked at.
package poslog
