// Package epcis reads what a WMS or 3PL captures as GS1 EPCIS 2.0 (JSON,
// JSON-LD) and says which canonical document each event is.
//
// Promises: every event of a document is judged by itself, as a document, as
// one that moves no stock, or as a refusal with the pointer to the field; one
// event always becomes the same document id, so that sending it again changes
// nothing. CBV words are understood as bare words, as URNs and as Web URIs;
// identifiers as EPC URNs and as GS1 Digital Links. It stops at stock: sensor
// reports, certifications, master data and own extensions are let pass unread.
package epcis
