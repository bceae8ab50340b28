package protocol

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// setKind takes the kind that the document names.
func (r *docReader) setKind(where at, s string) {
	k := ParseKind(s)
	switch {
	case k == KindInvalid || !r.accepts(k):
		r.invalid(where.String(), "must be one of "+r.acceptedKinds())
	case r.src.Kind != KindInvalid && k != r.src.Kind:
		r.invalid(where.String(), "must be "+r.src.Kind.String()+" here; other kinds have other addresses")
	default:
		r.e.Kind = k
	}
}

func (r *docReader) accepts(k Kind) bool {
	return movements.has(k) || k == KindSnapshot && (r.src.Feed || r.src.Kind == KindSnapshot) || k == KindAdvice && r.src.Feed
}

func (r *docReader) acceptedKinds() string {
	var names []string
	for k := range Kind(len(kindNames)) {
		if r.accepts(k) {
			names = append(names, k.String())
		}
	}
	return strings.Join(names, ", ")
}

// identifier checks an id. Card numbers cannot be masked in one: two masked ids
// would be one id.
func (r *docReader) identifier(where at, s string) string {
	if msg := badText(s, IDBytesMax); msg != "" {
		r.invalid(where.String(), msg)
	} else if FindPAN(s, true) {
		r.fail(CodePANDetected, where.String(), "holds what looks like a payment card number: use an identifier of your own")
	}
	return s
}

// placeName checks the name of a store or another location.
func (r *docReader) placeName(where at, s string) string {
	if err := CheckName(s); err != nil {
		r.invalid(where.String(), err.Error())
	} else if FindPAN(s, true) {
		r.fail(CodePANDetected, where.String(), "holds what looks like a payment card number: use the location's own name")
	}
	return s
}

// freeText checks a text for people, and masks card numbers in it.
func (r *docReader) freeText(where at, s string) string {
	if msg := badText(s, IDBytesMax); msg != "" {
		r.invalid(where.String(), msg)
		return s
	}
	masked, found := MaskPAN(s)
	if found {
		r.e.Flags |= FlagMasked
	}
	return masked
}

// badText says what is wrong with an id or text; "" is nothing.
func badText(s string, bytesMax int) string {
	switch {
	case s == "":
		return "is empty: give a value or leave the field out"
	case len(s) > bytesMax:
		return "is longer than " + strconv.Itoa(bytesMax) + " bytes"
	case s[0] == ' ' || s[len(s)-1] == ' ':
		return "has a space at an end"
	}
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f {
				return "holds a control character"
			}
			i++
			continue
		}
		ru, n := utf8.DecodeRuneInString(s[i:])
		if !unicode.IsPrint(ru) && !unicode.IsSpace(ru) {
			return "holds a character that cannot be printed"
		}
		i += n
	}
	return ""
}

func (r *docReader) date(where at, s string) string {
	if err := CheckDate(s); err != nil {
		r.invalid(where.String(), err.Error())
	}
	return s
}

func (r *docReader) disposition(where at, s string) Disposition {
	d, ok := ParseDisposition(s)
	if !ok || d == DispositionNone {
		r.invalid(where.String(), "must be one of sellable, damaged, quarantine, unknown")
	}
	return d
}

// The words of the wire.
var (
	directionNames = [...]string{DirectionOut: "out", DirectionIn: "in"}
	scopeNames     = [...]string{ScopeSKU: "sku", ScopeZone: "zone", ScopeFull: "full"}
)

// choice reads a field that has a few words.
func (r *docReader) choice(f docField, where at, s string) {
	switch f {
	case docVoidsKind:
		if r.e.VoidsKind = ParseKind(s); !movements.has(r.e.VoidsKind) || r.e.VoidsKind == KindVoid {
			r.invalid(where.String(), "must be the kind of the document cancelled, such as sale or return")
		}
	case docDirection:
		i := slices.Index(directionNames[:], s)
		if i < 1 {
			r.invalid(where.String(), "must be out or in")
		}
		r.e.Direction = Direction(max(i, 0))
	case docScope:
		i := slices.Index(scopeNames[:], s)
		if i < 1 {
			r.invalid(where.String(), "must be sku, zone or full")
		}
		r.e.Scope = Scope(max(i, 0))
	case docAction:
		r.e.Action = s // judged with its kind: other kinds have other words, none of them for documents
	case docReason:
		if r.e.Reason = s; !slices.Contains(Reasons, s) {
			r.invalid(where.String(), "must be one of "+strings.Join(Reasons, ", "))
		}
	}
}

// setSKU normalises an article code. SKUs are never searched for card numbers:
// a GTIN can pass Luhn.
func (r *docReader) setSKU(l *Line, where at, s string) {
	sku, err := NormalizeSKU(s)
	switch {
	case err == nil:
		l.SKU = sku
	case errors.Is(err, ErrCheckDigit) && r.src.Lenient:
		l.SKU = SKU(s)
		r.e.Flags |= FlagBadCheckDigit
	case errors.Is(err, ErrCheckDigit):
		want := CheckDigit(s[:len(s)-1])
		r.fail(CodeBadCheckDigit, where.String(), "has the GTIN check digit "+s[len(s)-1:]+" where "+string(rune(want))+" is right: scan the article again")
	default:
		r.invalid(where.String(), err.Error())
	}
}

// validUOM tells whether s has the form of a UN/ECE Recommendation 20 code.
func validUOM(s string) bool {
	if len(s) < 1 || len(s) > 3 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// ValidTraceparent tells whether s is a W3C trace context of version 00 (or a
// later one that begins alike).
func ValidTraceparent(s string) bool {
	const n = 55
	if len(s) < n || len(s) > traceparentMaxByte || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" {
		return false
	}
	if len(s) > n && (s[:2] == "00" || s[n] != '-') {
		return false
	}
	for i := range n {
		if i == 2 || i == 35 || i == 52 {
			continue
		}
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	for i := n; i < len(s); i++ {
		if c := s[i]; c < 0x21 || c > 0x7e {
			return false
		}
	}
	return strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}

// check judges what depends on the kind and on several fields.
func (r *docReader) check() {
	e := r.e
	if e.Kind == KindInvalid {
		if r.seen&(1<<docKind) == 0 {
			r.fail(CodeMissingField, "/kind", "is required: one of "+r.acceptedKinds())
		}
		return
	}
	if !r.accepts(e.Kind) {
		r.invalid("/kind", "is "+e.Kind.String()+", which is no document: send one of "+r.acceptedKinds())
		return
	}
	for f := docUnknown + 1; f < docFieldCount; f++ {
		rule := &docRules[f]
		if r.seen&(1<<f) != 0 {
			if !r.knows(f) {
				r.fail(CodeUnknownField, "/"+rule.name, "is not a field of a "+e.Kind.String())
			}
		} else if rule.needed.has(e.Kind) {
			r.fail(CodeMissingField, "/"+rule.name, "is required")
		}
	}
	if e.Kind == KindSnapshot {
		r.needOne("/snapshot_id", docSnapshotID, docID)
		r.needOne("/as_of", docAsOf, docOccurredAt)
	}
	if r.src.Feed && e.Store == "" && r.seen&(1<<docLocation) == 0 {
		r.fail(CodeMissingField, "/location", "is required: whose stock moves")
	}
	if e.Kind == KindTransfer && e.Counterparty != "" && e.Counterparty == e.Store {
		r.invalid("/counterparty", "is the sender itself: name the other end")
	}
	if e.Kind == KindCount && e.Scope == ScopeNone {
		e.Scope = ScopeSKU
	}
	r.checkLines()
}

func (r *docReader) knows(f docField) bool {
	switch {
	case f == docLocation && !r.src.Feed:
		return false
	case f == docSource && !r.src.Feed && r.e.Kind != KindReceipt:
		return false
	}
	return docRules[f].allowed.has(r.e.Kind)
}

func (r *docReader) needOne(ptr string, a, b docField) {
	switch have := r.seen & (1<<a | 1<<b); {
	case have == 0:
		r.fail(CodeMissingField, ptr, "is required")
	case have == 1<<a|1<<b:
		r.fail(CodeUnknownField, ptr, "is stated twice: leave "+docRules[b].name+" out of a snapshot")
	}
}

// checkLines judges the lines as their kind wants them.
func (r *docReader) checkLines() {
	e := r.e
	switch {
	case r.linesMore:
		r.fail(CodeTooManyLines, "/lines", "has more than "+strconv.Itoa(DocumentLinesMax)+" lines: split the document")
		return
	case e.Kind == KindVoid:
		if len(e.Lines) > 0 {
			r.invalid("/lines", "must be left out: a void cancels its document whole; single lines go back as a return")
		}
		e.Lines = nil
		return
	case len(e.Lines) == 0 && r.seen&(1<<docLines) != 0 && !(e.Kind == KindSnapshot || e.Kind == KindCount && e.Scope != ScopeSKU):
		r.fail(CodeMissingField, "/lines", "must have at least one line")
		return
	}
	if r.lineSeen != 0 {
		for f := lineUnknown + 1; f < lineFieldCount; f++ {
			if r.lineSeen&(1<<f) != 0 && !lineRules[f].allowed.has(e.Kind) {
				r.fail(CodeUnknownField, linePointer(int(r.lineFirst[f]), lineRules[f].name), "is not a field of the lines of a "+e.Kind.String())
			}
		}
	}
	for i := range e.Lines {
		r.checkLine(i, &e.Lines[i])
	}
	if e.Kind == KindKit {
		r.checkKit()
	}
	r.numberLines()
	r.mergeOriginals()
}

// checkKit: building a set takes parts and makes sets; both must be told, and
// none can be both.
func (r *docReader) checkKit() {
	if a := r.e.Action; a != "" && a != KitBuild && a != KitBreak {
		r.invalid("/action", "must be "+KitBuild+" or "+KitBreak)
	}
	sets := make(map[SKU]bool, 1)
	for i := range r.e.Lines {
		if l := &r.e.Lines[i]; l.Quantity > 0 && l.SKU != "" {
			sets[l.SKU] = true
		}
	}
	parts := false
	for i := range r.e.Lines {
		l := &r.e.Lines[i]
		if parts = parts || l.Quantity < 0; l.Quantity < 0 && sets[l.SKU] {
			r.invalid(linePointer(i, "sku"), "is a set of this document too: a set is no part of itself")
		}
	}
	if len(r.errs) == 0 && (len(sets) == 0 || !parts) {
		r.invalid("/lines", "must have the set with a positive quantity and its parts with negative ones, whether it is built or broken up")
	}
}

func (r *docReader) checkLine(i int, l *Line) {
	switch k := r.e.Kind; {
	case l.Quantity > 0 || l.SKU == "": // no SKU: refused already
	case l.Quantity < 0 && k == KindSale:
		r.invalid(linePointer(i, "quantity"), "is negative: goods that come back are a return, corrections of stock an adjustment")
	case l.Quantity < 0 && !signed.has(k):
		r.invalid(linePointer(i, "quantity"), "is negative: only adjustments, and the parts of a kit, are signed")
	case l.Quantity == 0 && len(r.errs) == 0 && !zeroAllowed.has(k):
		r.invalid(linePointer(i, "quantity"), "is zero: leave lines out that move nothing")
	}
	switch r.e.Kind {
	case KindCount:
		if l.CountedAt.IsZero() {
			l.CountedAt = r.countedAt
		}
	case KindStatusChange:
		if l.From == DispositionNone {
			l.From = r.from
		}
		if l.To == DispositionNone {
			l.To = r.to
		}
		switch {
		case len(r.errs) > 0:
		case l.From == DispositionNone:
			r.fail(CodeMissingField, "/from", "is required, in the document or on each line")
		case l.To == DispositionNone:
			r.fail(CodeMissingField, "/to", "is required, in the document or on each line")
		case l.From == l.To:
			r.invalid(linePointer(i, "to"), "is the same as from: a status change moves goods between dispositions")
		}
	default: // the other kinds take nothing from their document
	}
}

// numberLines gives lines without a number the next ones, and checks that
// numbers are unique: they name a line in exceptions and explanations.
func (r *docReader) numberLines() {
	lines := r.e.Lines
	last, rising := 0, true
	for i := range lines {
		if n := lines[i].Line; n != 0 {
			rising = rising && n > last
			last = max(last, n)
		}
	}
	if !rising {
		first := make(map[int]int, len(lines))
		for i := range lines {
			n := lines[i].Line
			if n == 0 {
				continue
			}
			if j, twice := first[n]; twice {
				r.invalid(linePointer(i, "line"), "is the number of /lines/"+strconv.Itoa(j)+" too: number each line once, or leave the numbers out")
			}
			first[n] = i
		}
	}
	for i := range lines {
		if lines[i].Line == 0 {
			last++
			lines[i].Line = last
		}
	}
}

// mergeOriginals lifts originals told per line to the document: a return goes
// back to one sale.
func (r *docReader) mergeOriginals() {
	if len(r.lineDocs) == 0 {
		return
	}
	e := r.e
	for _, d := range r.lineDocs {
		if d.document != "" {
			if e.OriginalDocument == "" {
				e.OriginalDocument = d.document
			}
			if e.OriginalDocument != d.document {
				r.invalid(linePointer(d.line, "original_document_id"), "differs within the document: send one return per original document")
			}
		}
		if d.store != "" {
			if e.OriginalStore == "" {
				e.OriginalStore = d.store
			}
			if e.OriginalStore != d.store {
				r.invalid(linePointer(d.line, "original_store"), "differs within the document: send one return per original document")
			}
		}
	}
}
