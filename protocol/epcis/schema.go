package epcis

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

// The shape of events as EPCIS 2.0 lays it down. It is written down here and not read
// from the standard's schema so that each finding has a pointer and a word; a test
// holds both against each other. Two things are let pass that the schema refuses: CBV
// words as URNs and Web URIs, which senders of EPCIS 1.2 write, and unknown bare words
// of bizStep, which have a code of their own. What sensors report is not looked into.

// checker collects what is wrong with one event.
type checker struct{ errs []protocol.FieldError }

func (c *checker) wrong(ptr, msg string, args ...any) {
	if len(c.errs) < errorsMax {
		c.errs = append(c.errs, protocol.FieldError{Pointer: ptr, Message: fmt.Sprintf(msg, args...)})
	}
}

// rule judges one value.
type rule func(c *checker, ptr string, raw json.RawMessage)

var (
	schemeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:[^\s"<>\\^{|}` + "`" + `]+$`)
	offsetForm = regexp.MustCompile(`^[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00)$`)
	uomForm    = regexp.MustCompile(`^[A-Z0-9]{2,3}$`)
)

func text(raw json.RawMessage) (s string, ok bool) {
	return s, len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil
}

func isText(test func(string) bool, msg string) rule {
	return func(c *checker, ptr string, raw json.RawMessage) {
		if s, ok := text(raw); !ok {
			c.wrong(ptr, "must be a string")
		} else if !test(s) {
			c.wrong(ptr, "%s", msg)
		}
	}
}

// pointerText writes a name as RFC 6901 wants it.
var pointerText = strings.NewReplacer("~", "~0", "/", "~1")

func isTime(s string) bool { _, err := time.Parse(time.RFC3339, s); return err == nil }

// vocabulary takes one of a vocabulary's bare words, or any that is qualified.
func vocabulary(bare ...string) rule {
	return isText(func(s string) bool { return slices.Contains(bare, s) || schemeForm.MatchString(s) }, "is no word of CBV 2.0 and no URI")
}

func list(least int, unique bool, of rule) rule {
	return func(c *checker, ptr string, raw json.RawMessage) {
		var items []json.RawMessage
		if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
			c.wrong(ptr, "must be a list")
			return
		}
		if len(items) < least {
			c.wrong(ptr, "must have at least %d entries", least)
		}
		seen := map[string]bool{}
		for i, it := range items {
			at := fmt.Sprintf("%s/%d", ptr, i)
			of(c, at, it)
			if unique && seen[string(it)] {
				c.wrong(at, "stands twice")
			}
			seen[string(it)] = unique
		}
	}
}

// fields is an object's shape.
type fields struct {
	known  map[string]rule
	needed []string
	open   bool // others may stand beside them
	owned  bool // … if they are qualified: extensions
}

func (f *fields) rule() rule {
	return func(c *checker, ptr string, raw json.RawMessage) { f.check(c, ptr, raw) }
}

func (f *fields) check(c *checker, ptr string, raw json.RawMessage) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &m) != nil {
		c.wrong(ptr, "must be an object")
		return nil
	}
	for _, name := range f.needed {
		if _, ok := m[name]; !ok {
			c.wrong(ptr+"/"+name, "is missing")
		}
	}
	for name := range m {
		at := ptr + "/" + pointerText.Replace(name)
		switch r, ok := f.known[name]; {
		case ok && r != nil:
			r(c, at, m[name])
		case !ok && !f.open && !(f.owned && schemeForm.MatchString(name)):
			c.wrong(at, "is no field here; fields of your own are qualified, as example:field")
		}
	}
	return m
}

var (
	uri     = isText(schemeForm.MatchString, "must be a URI")
	moment  = isText(isTime, "must be a date and time with zone")
	words   = isText(func(string) bool { return true }, "")
	isUOM   = isText(uomForm.MatchString, "must be a unit of UN/ECE Recommendation 20, as KGM")
	dispos  = vocabulary(dispositions...)
	place   = (&fields{known: map[string]rule{"id": uri}, needed: []string{"id"}, open: true}).rule()
	amounts = (&fields{known: map[string]rule{"epcClass": uri, "quantity": isNumber, "uom": isUOM}, needed: []string{"epcClass"}}).rule()
	papers  = (&fields{known: map[string]rule{"type": vocabulary(paperTypes...), "bizTransaction": uri}, needed: []string{"bizTransaction"}}).rule()
	from    = (&fields{known: map[string]rule{"type": vocabulary(endTypes...), "source": uri}, needed: []string{"type", "source"}}).rule()
	to      = (&fields{known: map[string]rule{"type": vocabulary(endTypes...), "destination": uri}, needed: []string{"type", "destination"}}).rule()
	sensors = (&fields{known: map[string]rule{"sensorReport": list(1, false, func(*checker, string, json.RawMessage) {})}, needed: []string{"sensorReport"}, open: true}).rule()
	lasts   = &fields{known: map[string]rule{"set": list(1, true, dispos), "unset": list(1, true, dispos)}}
	lasting = func(c *checker, ptr string, raw json.RawMessage) {
		if m := lasts.check(c, ptr, raw); m != nil && m["set"] == nil && m["unset"] == nil {
			c.wrong(ptr, "needs set or unset")
		}
	}
	wrongly = (&fields{known: map[string]rule{"declarationTime": moment, "reason": vocabulary("did_not_occur", "incorrect_data"), "correctiveEventIDs": list(0, false, uri)}, needed: []string{"declarationTime"}, owned: true}).rule()
	certs   = func(c *checker, ptr string, raw json.RawMessage) {
		if len(raw) > 0 && raw[0] == '[' {
			list(0, false, uri)(c, ptr, raw)
		} else {
			uri(c, ptr, raw)
		}
	}
)

func isNumber(c *checker, ptr string, raw json.RawMessage) {
	var n json.Number
	if len(raw) == 0 || raw[0] == '"' || json.Unmarshal(raw, &n) != nil || n == "" {
		c.wrong(ptr, "must be a number")
	}
}

// shapes are the events, each with what all have.
var shapes = map[string]*fields{
	"ObjectEvent": shape([]string{"action"}, map[string]rule{
		"epcList": list(0, true, uri), "quantityList": list(0, false, amounts), "persistentDisposition": lasting, "ilmd": (&fields{owned: true}).rule(),
	}),
	"AggregationEvent": shape([]string{"action"}, map[string]rule{"parentID": uri, "childEPCs": list(0, false, uri), "childQuantityList": list(0, false, amounts)}),
	"AssociationEvent": shape([]string{"action", "parentID"}, map[string]rule{"parentID": uri, "childEPCs": list(0, false, uri), "childQuantityList": list(0, false, amounts)}),
	"TransactionEvent": shape([]string{"action", "bizTransactionList"}, map[string]rule{
		"bizTransactionList": list(1, false, papers), "parentID": uri, "epcList": list(0, false, uri), "quantityList": list(0, false, amounts),
	}),
	"TransformationEvent": shape(nil, map[string]rule{
		"inputEPCList": list(0, true, uri), "inputQuantityList": list(0, false, amounts), "outputEPCList": list(0, true, uri), "outputQuantityList": list(0, false, amounts),
		"transformationID": uri, "persistentDisposition": lasting, "ilmd": (&fields{owned: true}).rule(),
	}),
}

func shape(needed []string, own map[string]rule) *fields {
	f := &fields{owned: true, needed: append([]string{"eventTime", "eventTimeZoneOffset"}, needed...), known: map[string]rule{
		"@context": nil, "type": words, "eventTime": moment, "recordTime": moment, "eventID": uri, "certificationInfo": certs, "errorDeclaration": wrongly,
		"eventTimeZoneOffset": isText(offsetForm.MatchString, "must be an offset such as +01:00"),
		"bizStep":             words, "disposition": dispos, "readPoint": place, "bizLocation": place, "bizTransactionList": list(0, false, papers),
		"sourceList": list(0, false, from), "destinationList": list(0, false, to), "sensorElementList": list(0, false, sensors),
	}}
	if slices.Contains(needed, "action") {
		f.known["action"] = isText(func(s string) bool { return s == "ADD" || s == "OBSERVE" || s == "DELETE" }, "must be ADD, OBSERVE or DELETE")
	}
	maps.Copy(f.known, own)
	return f
}

// validate holds an event against its shape.
func validate(raw json.RawMessage, kind string) []protocol.FieldError {
	var c checker
	m := shapes[kind].check(&c, "", bytes.TrimSpace(raw))
	has := func(name string, least int) bool {
		var items []json.RawMessage
		return json.Unmarshal(m[name], &items) == nil && m[name] != nil && len(items) >= least
	}
	action, _ := text(m["action"])
	switch kind {
	case "ObjectEvent":
		if !has("epcList", 0) && !has("quantityList", 1) && !(has("sensorElementList", 1) && m["readPoint"] != nil) {
			c.wrong("", "needs an epcList, a quantityList, or a sensorElementList with a readPoint")
		}
		if m["ilmd"] != nil && action != "ADD" {
			c.wrong("/ilmd", "stands with the action ADD only")
		}
	case "TransactionEvent":
		if !has("epcList", 0) && !has("quantityList", 1) && action != "DELETE" {
			c.wrong("", "needs an epcList or a quantityList")
		}
	case "AggregationEvent", "AssociationEvent":
		if !has("childEPCs", 1) && !has("childQuantityList", 1) && action != "DELETE" {
			c.wrong("", "needs childEPCs or a childQuantityList")
		}
	case "TransformationEvent":
		in, out := has("inputEPCList", 1) || has("inputQuantityList", 1), has("outputEPCList", 1) || has("outputQuantityList", 1)
		if !(in && out) && !(m["transformationID"] != nil && (in || out)) {
			c.wrong("", "needs inputs and outputs, or one of them with a transformationID")
		}
	}
	slices.SortStableFunc(c.errs, func(a, b protocol.FieldError) int { return cmp.Compare(a.Pointer, b.Pointer) }) // a map gave them
	return c.errs
}

var dispositions = []string{
	"active", "container_closed", "damaged", "destroyed", "dispensed", "disposed", "encoded", "expired", "in_progress", "in_transit", "inactive",
	"no_pedigree_match", "non_sellable_other", "partially_dispensed", "recalled", "reserved", "retail_sold", "returned", "sellable_accessible",
	"sellable_not_accessible", "stolen", "unknown", "available", "completeness_verified", "completeness_inferred", "conformant", "container_open",
	"mismatch_instance", "mismatch_class", "mismatch_quantity", "needs_replacement", "non_conformant", "unavailable",
}

var (
	paperTypes = []string{"bol", "cert", "desadv", "inv", "pedigree", "po", "poc", "prodorder", "recadv", "rma", "testprd", "testres", "upevt"}
	endTypes   = []string{"owning_party", "possessing_party", "location"}
)
