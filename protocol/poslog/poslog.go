package poslog

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// Options say whose file it is.
type Options struct {
	Store       protocol.StoreID
	RetailStore string         // RetailStoreID expected; "" = whatever the first transaction says
	Zone        *time.Location // of times without one; nil = UTC
	Dialect     *Dialect       // nil: found by the root's namespaces
	BytesMax    int64          // 0 = 64 MiB

	Schemes protocol.Schemes // how price- and weight-embedded barcodes are read; nil = they are articles
}

// Result is what a file holds.
type Result struct {
	Dialect      string
	Transactions int               // all, also those that move nothing
	Events       []*protocol.Event // in the file's order; a basket with goods going both ways is a sale and a return
	Problems     []Rejected        // transactions that could not be read
	Skipped      Skipped
}

// Skipped counts transactions that move nothing, by why.
type Skipped struct {
	Control   int `json:"control"`   // sign-on, till operations
	Cancelled int `json:"cancelled"` // suspended, voided before tender
	Training  int `json:"training"`
	Empty     int `json:"empty"` // no goods, or all taken back
}

// Rejected is one transaction that was left out.
type Rejected struct {
	Index      int               `json:"index"` // of the transaction in the file, from 0
	DocumentID string            `json:"document_id,omitempty"`
	Problem    *protocol.Problem `json:"problem"`
}

// CodeMalformedXML is the code of files that cannot be read at all.
const CodeMalformedXML = "malformed_xml"

// Decode reads a whole file. A problem means that nothing of it may be used:
// the file is cut, too large, or no POSLog.
func Decode(in io.Reader, o Options) (*Result, *protocol.Problem) {
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.BytesMax <= 0 {
		o.BytesMax = bytesMaxDefault
	}
	lim := &io.LimitedReader{R: in, N: o.BytesMax + 1}
	r := &reader{o: o, res: &Result{}, x: newXML(lim)}
	if err := r.file(); err != nil {
		if lim.N <= 0 {
			return nil, protocol.NewProblem(413, "body_too_large", "The POSLog is too large", fmt.Sprintf("more than %d bytes", o.BytesMax), "Send fewer transactions at once.")
		}
		return nil, xmlProblem(err, r.x)
	}
	return r.res, nil
}

func xmlProblem(err error, x *xml.Decoder) *protocol.Problem {
	line, col := x.InputPos()
	msg := err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		msg = "the file ends early"
	}
	p := protocol.NewProblem(400, CodeMalformedXML, "The body is not a POSLog that can be read",
		fmt.Sprintf("line %d, column %d: %s", line, col, msg),
		"Send one POSLog document in UTF-8, without DOCTYPE or entities of your own; nothing of it was journaled.")
	p.Errors = []protocol.FieldError{{Pointer: "/", Message: fmt.Sprintf("line %d, column %d: %s", line, col, msg)}}
	return p
}

// reader goes through one file.
type reader struct {
	o   Options
	d   *Dialect
	x   *xml.Decoder
	res *Result
	own map[string][]protocol.Kind // document id → kinds made of it, for post-voids in the same file
}

func (r *reader) file() error {
	r.own = make(map[string][]protocol.Kind)
	depth := 0
	for {
		tok, err := r.x.Token()
		if errors.Is(err, io.EOF) && r.d != nil && depth == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.Directive:
			return errDoctype
		case xml.EndElement:
			depth--
		case xml.StartElement:
			if r.d == nil {
				if t.Name.Local != "POSLog" && t.Name.Local != "Transaction" {
					return errRoot
				}
				if r.d = r.o.Dialect; r.d == nil {
					r.d = DialectByNamespaces(spaces(&t))
				}
				r.res.Dialect = r.d.Name
			}
			if t.Name.Local == "Transaction" {
				n, err := readTree(r.x, &t)
				if err != nil {
					return err
				}
				r.transaction(n)
				continue
			}
			if depth++; depth > depthMax {
				return errDepth
			}
		}
	}
}

func spaces(t *xml.StartElement) []string {
	out := []string{t.Name.Space}
	for _, a := range t.Attr {
		if a.Name.Space == "xmlns" || a.Name.Local == "xmlns" {
			out = append(out, a.Value)
		}
	}
	return out
}

// transaction turns one transaction into events, or reports it.
func (r *reader) transaction(n *node) {
	index := r.res.Transactions
	r.res.Transactions++
	head, errs := r.header(n)
	if len(errs) == 0 {
		errs = r.body(n, head)
	}
	if len(errs) == 0 || len(r.res.Problems) >= problemsMax {
		return
	}
	p := protocol.NewProblem(422, protocol.CodeInvalidField, "A transaction cannot be read",
		errs[0].Pointer+" "+errs[0].Message, "Correct the transaction at its source and send it again; the others are not affected.")
	p.Errors = errs
	r.res.Problems = append(r.res.Problems, Rejected{Index: index, DocumentID: head.DocumentID, Problem: p})
}

// documentID names a transaction: workstation, sequence, business day. With the
// store these are what POSLog promises to be unique.
func documentID(n *node) string {
	return n.value("WorkstationID") + "-" + n.value("SequenceNumber") + "-" + n.value("BusinessDayDate")
}

// header reads what all events of a transaction share.
func (r *reader) header(n *node) (*protocol.Event, []protocol.FieldError) {
	var errs []protocol.FieldError
	bad := func(name, msg string) {
		errs = append(errs, protocol.FieldError{Pointer: "/Transaction/" + name, Message: msg})
	}
	e := &protocol.Event{Store: r.o.Store, Register: n.value("WorkstationID"), BusinessDate: n.value("BusinessDayDate")}
	for _, name := range [...]string{"WorkstationID", "SequenceNumber"} {
		switch v := n.value(name); {
		case v == "" || len(v) > 40 || strings.ContainsAny(v, "\t\n\r"):
			bad(name, "is required, in at most 40 characters: it is part of the document's id")
		case protocol.FindPAN(v, true):
			bad(name, "holds what looks like a payment card number")
		}
	}
	if i := strings.IndexByte(e.BusinessDate, 'T'); i == len(time.DateOnly) {
		e.BusinessDate = e.BusinessDate[:i]
	}
	if err := protocol.CheckDate(e.BusinessDate); err != nil {
		bad("BusinessDayDate", err.Error())
	}
	if len(errs) == 0 {
		e.DocumentID = documentID(n)
	}
	store := n.value("RetailStoreID")
	if r.o.RetailStore == "" {
		r.o.RetailStore = store
	}
	if store != r.o.RetailStore {
		bad("RetailStoreID", "is another store than the rest of the file: send each store's transactions to its own agent")
	}
	if !r.moment(n, e) {
		bad(r.d.Times[0], "must be a time such as 2026-11-23T10:15:02 within the years 2000 to 2099, with or without zone")
	}
	return e, errs
}

func (r *reader) moment(n *node, e *protocol.Event) bool {
	for _, name := range r.d.Times {
		v := n.value(name)
		if v == "" {
			if k := n.kid("RetailTransaction"); k != nil {
				v = k.value(name)
			}
		}
		if v == "" {
			continue
		}
		t, zoneless, ok := r.d.moment(v, r.o.Zone)
		if !ok || t.Year() < 2000 || t.Year() > 2099 {
			return false
		}
		if zoneless {
			e.Flags |= protocol.FlagZoneless
		}
		e.EventTime = protocol.StampOf(t)
		return true
	}
	return false
}

// body reads the goods of a transaction.
func (r *reader) body(n *node, head *protocol.Event) []protocol.FieldError {
	retail := n.kid("RetailTransaction")
	if pv := n.kid("PostVoidTransaction"); pv != nil {
		return r.postVoid(head, pv.kid("TransactionLink"))
	}
	if retail == nil {
		r.res.Skipped.Control++
		return nil
	}
	switch {
	case n.flag("TrainingModeFlag") || retail.flag("TrainingModeFlag"):
		r.res.Skipped.Training++
		return nil
	case n.flag("CancelFlag") || r.d.Skip[status(n, retail)]:
		r.res.Skipped.Cancelled++
		return nil
	}
	for _, k := range retail.kids {
		if k.name == "TransactionLink" && r.d.PostVoid[k.attr("ReasonCode")] {
			return r.postVoid(head, k)
		}
	}
	sold, back, flags, errs := r.items(retail)
	if len(errs) > 0 {
		return errs
	}
	if len(sold)+len(back) == 0 {
		r.res.Skipped.Empty++
		return nil
	}
	head.Flags |= flags
	r.emit(head, protocol.KindSale, sold)
	r.emit(head, protocol.KindReturn, back)
	return nil
}

func status(n, retail *node) string {
	for _, v := range [...]string{retail.attr("TransactionStatus"), n.attr("TransactionStatus"), retail.value("TransactionStatus")} {
		if v != "" {
			return v
		}
	}
	return ""
}

func (r *reader) emit(head *protocol.Event, k protocol.Kind, lines []protocol.Line) {
	if len(lines) == 0 {
		return
	}
	e := *head
	e.Kind, e.Lines = k, lines
	r.own[e.DocumentID] = append(r.own[e.DocumentID], k)
	r.res.Events = append(r.res.Events, protocol.SplitDocument(&e)...)
}

// postVoid cancels the transaction that link names. Where the original is in
// the same file, both its halves (sold and returned goods) are cancelled.
//
// BUG(poslog): where the original came in an earlier file and had goods going
// both ways, only its sale is cancelled, since one void names one document.
func (r *reader) postVoid(head *protocol.Event, link *node) []protocol.FieldError {
	if link == nil || link.value("WorkstationID") == "" || link.value("SequenceNumber") == "" || link.value("BusinessDayDate") == "" {
		return []protocol.FieldError{{Pointer: "/Transaction/TransactionLink", Message: "must name WorkstationID, SequenceNumber and BusinessDayDate of the transaction to cancel"}}
	}
	e := *head
	e.Kind, e.Voids = protocol.KindVoid, documentID(link)
	targets := r.own[e.Voids]
	if len(targets) == 0 {
		targets = []protocol.Kind{protocol.KindInvalid}
	}
	for i, k := range targets {
		v := e
		v.VoidsKind = k
		if i > 0 {
			v.DocumentID += "/" + strconv.Itoa(i+1)
		}
		r.res.Events = append(r.res.Events, protocol.SplitDocument(&v)...)
	}
	return nil
}
