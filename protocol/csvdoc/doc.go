// Package csvdoc reads CSV, as tills and warehouses without a better interface write
// it, into canonical events. What the columns mean is a Mapping, a table that whoever
// installs it writes.
//
// It promises that a document is taken whole or not at all, that document ids are the
// file's own (so that a file read twice counts once), that what is refused is named
// with line, field and remedy while the others proceed, and that a file which ends
// where it was cut off gives no document of which a row or a digit may be missing, as
// far as its ending can tell (see README.md). It is pure: bytes in, events out.
package csvdoc
