package feed_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/feed"
	"tillwire/aggregator/feed/feedtest"
	"tillwire/protocol"
	"tillwire/protocol/csvdoc"
	"tillwire/protocol/edi"
	"tillwire/protocol/epcis"
)

var places = epcis.Places{"1234567890001": "DC1", "0042": "S0042", "9521321000010": "DC1"}

var nop = zerolog.Nop()

func look(t *testing.T, d *feed.Drop) {
	t.Helper()
	if err := d.Look(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func parks(raw []byte, cause string) feedtest.Broken { return feedtest.Broken{Raw: raw, Code: cause} }

func tables() *edi.Tables { return &edi.Tables{Places: places, Zone: time.UTC} }

func sample(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "protocol", "edi", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func swap(raw []byte, from, to string) []byte {
	if !bytes.Contains(raw, []byte(from)) {
		panic("the fixture has no " + from)
	}
	return bytes.Replace(raw, []byte(from), []byte(to), 1)
}

func TestX12Conforms(t *testing.T) {
	good := sample(t, "944.x12")
	feedtest.Conformance(t, feedtest.Fixture{
		Format: feed.EDI(tables()), Name: "in.x12", Good: good, Cuts: 23,
		Said: []string{"receipt DC1 944-WAREHOUSE1-RCPT1001 advised SHIP7788 04006381333931×24EA APPLE-RED×8EA APPLE-RED×2EA damaged 10614141073464×12.5KGM"},
		Broken: map[string]feedtest.Broken{
			"segment count":  parks(swap(good, "SE*12*", "SE*11*"), "control_mismatch"),
			"group count":    parks(swap(good, "GE*1*", "GE*2*"), "control_mismatch"),
			"control number": parks(swap(good, "IEA*1*000000101", "IEA*1*000000102"), "control_mismatch"),
			"hash total":     parks(swap(good, "W14*46.5", "W14*47"), "control_mismatch"),
			"half":           parks(good[:len(good)-20], "half_file"),
			"nothing":        parks(nil, "half_file"),
			"other day":      parks(swap(swap(good, "W17*F*20261123", "W17*F*20261120"), "*8*0935", ""), "clockless_time"),
			"unknown place":  parks(swap(good, "1234567890001", "1234567890999"), "unknown_place"),
			"condition":      parks(swap(good, "W13*2*EA*01", "W13*2*EA*99"), "unknown_code"),
			"no number":      parks(swap(good, "*RCPT1001*", "**"), "feed_invalid"),
			"quantity":       parks(swap(good, "W07*24*", "W07*many*"), "unknown_code"),
			"not EDI":        parks([]byte("sku;quantity\nA;1\n"), "feed_unreadable"),
			"latin-1":        parks(swap(good, "SUPPLIER NORTH", "SUPPLIER N\xd6RD"), "feed_unreadable"),
			"delimiters":     parks(swap(good, "ISA*", "ISAA"), "feed_unreadable"),
		},
	})
}

func TestEDIFACTConforms(t *testing.T) {
	good := sample(t, "recadv.edi")
	feedtest.Conformance(t, feedtest.Fixture{
		Format: feed.EDI(tables()), Name: "in.edi", Good: good, Cuts: 23,
		Said: []string{"receipt DC1 recadv-5412345000013-REC77 advised DES587441 04006381333931×10EA quarantine 04006381333931×390EA APPLE-RED×20.5KGM"},
		Broken: map[string]feedtest.Broken{
			"segment count": parks(swap(good, "UNT+17+1", "UNT+15+1"), "control_mismatch"),
			"reference":     parks(swap(good, "UNZ+1+REC1", "UNZ+1+REC2"), "control_mismatch"),
			"line count":    parks(swap(good, "CNT+2:2", "CNT+2:3"), "control_mismatch"),
			"no tail":       parks(good[:bytes.LastIndex(good, []byte("UNZ"))], "half_file"),
			"qualifier":     parks(swap(good, "QTY+195:", "QTY+888:"), "unknown_code"),
			"function":      parks(swap(good, "+REC77+9", "+REC77+4"), "unknown_code"),
			"date format":   parks(swap(good, "DTM+50:202611240940:203", "DTM+50:20261124094000UTC:304"), "unknown_code"),
			"date alone":    parks(swap(good, "DTM+50:202611240940:203", "DTM+50:20261124:102"), "clockless_time"),
		},
	})
}

func TestJSONConforms(t *testing.T) {
	good := []byte(`{"events":[{"kind":"receipt","document_id":"r1","location":"DC1","occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":"X","quantity":5}]}]}`)
	feedtest.Conformance(t, feedtest.Fixture{
		Format: feed.JSONFiles(), Name: "in.json", Good: good, Said: []string{"receipt DC1 r1 X×5"},
		Broken: map[string]feedtest.Broken{
			"clock without zone": parks(swap(good, "10:00:00Z", "10:00:00"), "feed_invalid"),
			"unknown kind":       parks(swap(good, `"receipt"`, `"gift"`), "feed_invalid"),
			"later schema":       parks(swap(good, `{"events"`, `{"schema_version":2,"events"`), "schema_unsupported"),
			"deep nesting":       parks([]byte(`{"events":`+strings.Repeat("[", 100_000)), "feed_unreadable"),
			"a name twice":       parks(swap(good, `"kind":"receipt"`, `"kind":"receipt","kind":"receipt"`), "feed_unreadable"),
		},
	})
}

func TestEPCISConforms(t *testing.T) {
	good := []byte(`{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-11-23T10:00:01Z","epcisBody":{"eventList":[` +
		`{"type":"ObjectEvent","eventID":"urn:uuid:1","eventTime":"2026-11-23T10:00:00Z","eventTimeZoneOffset":"+00:00","action":"OBSERVE","bizStep":"receiving","bizLocation":{"id":"https://id.gs1.org/414/9521321000010"},"quantityList":[{"epcClass":"https://id.gs1.org/01/04006381333931","quantity":24}]}]}}`)
	feedtest.Conformance(t, feedtest.Fixture{
		Format: feed.EPCISFiles(&epcis.Options{Places: places}), Name: "in.json", Good: good, Said: []string{"receipt DC1 urn:uuid:1 04006381333931×24"}, Cuts: 31,
		Broken: map[string]feedtest.Broken{
			"clock without zone":  parks(swap(good, "10:00:00Z", "10:00:00"), "feed_invalid"),
			"unknown step":        parks(swap(good, "receiving", "https://x.example/juggling"), "unknown_code"),
			"unknown destination": parks(swap(good, "receiving", "shipping"), "unknown_destination"),
			"unknown place":       parks(swap(good, "https://id.gs1.org/414/9521321000010", "geo:1,2"), "unknown_place"),
			"deep nesting":        parks([]byte(`{"type":"EPCISDocument","epcisBody":`+strings.Repeat(`{"a":`, 50_000)), "feed_unreadable"),
		},
	})
}

func TestPOSLogConforms(t *testing.T) {
	good := []byte(`<?xml version="1.0" encoding="UTF-8"?><POSLog xmlns="http://www.nrf-arts.org/IXRetail/namespace/"><Transaction><RetailStoreID>9</RetailStoreID><WorkstationID>3</WorkstationID><SequenceNumber>71</SequenceNumber>` +
		`<BusinessDayDate>2026-11-23</BusinessDayDate><EndDateTime>2026-11-23T10:15:02</EndDateTime><RetailTransaction><LineItem><Sale><ItemID>A1</ItemID><Quantity>2</Quantity></Sale></LineItem></RetailTransaction></Transaction></POSLog>`)
	feedtest.Conformance(t, feedtest.Fixture{
		Format: feed.POSLogFiles("S0009", time.UTC), Name: "tlog.xml", Good: good, Said: []string{"sale S0009 3-71-2026-11-23 A1×2"}, Cuts: 31,
		Broken: map[string]feedtest.Broken{
			"XML bomb":     parks(swap(good, "<POSLog", `<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><POSLog`), "feed_unreadable"),
			"deep nesting": parks(swap(good, "<Sale>", "<Sale>"+strings.Repeat("<a>", 10_000)), "feed_unreadable"),
			"latin-1":      parks(swap(good, "UTF-8", "ISO-8859-1"), "feed_unreadable"),
			"not declared": parks(swap(good, "A1", "\xc41"), "feed_unreadable"),
			"no time":      parks(swap(good, "<EndDateTime>2026-11-23T10:15:02</EndDateTime>", ""), "feed_invalid"),
			"not a POSLog": parks([]byte("<html></html>"), "feed_unreadable"),
		},
	})
}

func TestCSVConforms(t *testing.T) {
	good := []byte("Bon;Zeit;Filiale;Artikel;Menge\n" +
		"7;23.11.2026 09:30;0042;4006381333931;2\n7;23.11.2026 09:30;0042;B;0,455\n8;23.11.2026 09:31;0042;A;-1\n7;23.11.2026 09:40;1234567890001;A;12\nEND;4\n")
	o := csvdoc.Options{Zone: time.UTC, Feed: true, Places: places, Mapping: csvdoc.Mapping{
		Delimiter: ";", DecimalComma: true, NegativeSales: true, TimeLayout: "02.01.2006 15:04", Trailer: "END",
		Columns: map[string]string{"Bon": "document_id", "Zeit": "occurred_at", "Filiale": "location", "Artikel": "sku", "Menge": "quantity"},
	}}
	feedtest.Conformance(t, feedtest.Fixture{
		Format: feed.CSVFiles(&o, ""), Name: "sales.csv", Good: good, Cuts: 1,
		Said: []string{"sale S0042 7 04006381333931×2 B×0.455", "return S0042 8 A×1", "sale DC1 7 A×12"},
		Broken: map[string]feedtest.Broken{
			"no last line":        parks(swap(good, "END;4\n", ""), "half_file"),
			"another row count":   parks(swap(good, "END;4", "END;5"), "half_file"),
			"rows behind the end": parks(append(slices.Clone(good), "9;23.11.2026 09:31;0042;A;1\n"...), "half_file"),
			"unknown place":       parks(swap(good, "1234567890001", "77"), "unknown_place"),
			"no time":             parks(swap(good, "8;23.11.2026 09:31", "8;"), "feed_invalid"),
			"a word for a number": parks(swap(good, "0,455", "some"), "feed_invalid"),
			"a quote too many":    parks(swap(good, ";B;", ";\"B;"), "feed_unreadable"),
			"a cell too few":      parks(swap(good, ";A;12", ";12"), "feed_unreadable"),
			"another header":      parks(swap(good, "Menge", "Anzahl"), "feed_unreadable"),
			"latin-1":             parks(swap(good, ";B;", ";B\xe4;"), "feed_unreadable"),
		},
	})
}

// TestCSVStatement reads a stock list, of which the shop is the file's location.
func TestCSVStatement(t *testing.T) {
	o := csvdoc.Options{Zone: time.UTC, Feed: true, Store: "DC1", Complete: true, Mapping: csvdoc.Mapping{Kind: "snapshot"}}
	door := &feedtest.Door{}
	dropped(t, desk(t, door), feed.CSVFiles(&o, "latin1"), []byte("document_id,occurred_at,sku,quantity\n"+strings.Repeat("N1,2026-11-23 06:00:00,\xc4,1\n", protocol.DocumentLinesMax+1)))
	if len(door.Events) != 2 || len(door.Exceptions) != 0 {
		t.Fatalf("%q, parked %v", door.Said(), door.Exceptions)
	}
	for _, ev := range door.Events {
		if ev.Kind != protocol.KindSnapshot || ev.Session != "N1" || !ev.Complete || ev.Store != "DC1" || ev.Lines[0].SKU != "Ä" || ev.EventTime.Time().Hour() != 6 {
			t.Errorf("%+v", ev)
		}
	}
}

// TestMendedPlacesTakeParkedRows: a document of a CSV file is parked so that it can be
// read alone, also where files have a last line; what its rows do not show keeps it out.
func TestMendedPlacesTakeParkedRows(t *testing.T) {
	const rows = "document_id,location,occurred_at,sku,quantity\n1,77,2026-11-23T10:00:00Z,A,1\n2,DC1,2026-11-23T10:00:00Z,A,2\n3,DC1,2026-11-23T10:00:00Z,A,3\n2,DC1,2026-11-23T10:00:00Z,A,4\nEND,4\n"
	o := csvdoc.Options{Zone: time.UTC, Feed: true, Store: "DC1", Places: map[string]protocol.StoreID{}, Mapping: csvdoc.Mapping{Trailer: "END"}}
	door := &feedtest.Door{}
	d := desk(t, door)
	dropped(t, d, feed.CSVFiles(&o, ""), []byte(rows))
	o.Places["77"] = "S77"
	if len(door.Events) != 2 || len(door.Exceptions) != 2 {
		t.Fatalf("%q, parked %v", door.Said(), door.Exceptions)
	}
	for _, x := range door.Exceptions {
		events, p := d.Reread(&x)
		if mended := x.DocumentID == "1"; mended != (p == nil) || mended && (len(events) != 1 || events[0].Store != "S77") {
			t.Errorf("%s of %s read again: %v %v", x.Code, x.DocumentID, events, p)
		}
	}
}

// dropped has a watched folder of the source wms take files, one after the other.
func dropped(t *testing.T, d *feed.Desk, f feed.Format, files ...[]byte) {
	t.Helper()
	dir := t.TempDir()
	drop, err := d.OpenDrop("wms", dir, f, time.Hour, nop)
	if err != nil {
		t.Fatal(err)
	}
	for n, raw := range files {
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+n))), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		look(t, drop)
		look(t, drop)
	}
}

// TestControlNumbersComeOnce: another content under a number that was taken waits for
// a person; retrying takes it beside the first.
func TestControlNumbersComeOnce(t *testing.T) {
	door := &feedtest.Door{}
	d := desk(t, door)
	first := sample(t, "944.x12")
	dropped(t, d, feed.EDI(tables()), first, swap(first, "RCPT1001", "RCPT1002"), first)
	if len(door.Events) != 1 || len(door.Exceptions) != 1 {
		t.Fatalf("%q, parked %v", door.Said(), door.Exceptions)
	}
	for _, x := range door.Exceptions {
		events, p := d.Reread(&x)
		if x.Code != "control_number_reused" || p != nil || len(events) != 1 || events[0].DocumentID != "944-WAREHOUSE1-RCPT1002" {
			t.Errorf("%s read again: %v %v", x.Code, events, p)
		}
	}
}

// TestMendedTablesTakeWhatWasParked: the remedy of an unknown place is a line of the
// configuration, and a retry.
func TestMendedTablesTakeWhatWasParked(t *testing.T) {
	door := &feedtest.Door{}
	tb := &edi.Tables{Zone: time.UTC}
	d := desk(t, door)
	dropped(t, d, feed.EDI(tb), sample(t, "945.x12"))
	tb.Places = places
	for _, x := range door.Exceptions {
		events, p := d.Reread(&x)
		if x.Code != "unknown_place" || p != nil || len(events) != 1 || events[0].Kind != protocol.KindTransfer {
			t.Errorf("%s read again: %v %v", x.Code, events, p)
		}
	}
	if len(door.Exceptions) != 1 {
		t.Errorf("parked %v", door.Exceptions)
	}
}
