package posting

import (
	"strings"
	"time"

	"tillwire/protocol"
)

// Doc is one ERP document: one class of one business day of one store, each
// article at most once, all in one direction. Its content never changes but by a
// Split, which happens before any ERP has heard of it.
type Doc struct {
	Key      string                `json:"key"`
	Number   uint64                `json:"number"`
	ERP      string                `json:"erp"`
	Store    protocol.StoreID      `json:"store"`
	Day      int32                 `json:"day"`
	PostDay  int32                 `json:"post_day"`
	Class    Class                 `json:"class"`
	CutUS    int64                 `json:"cut_us"`
	Lines    []Line                `json:"lines,omitempty"` // nil once settled: the log has them, at At
	State    protocol.PostingState `json:"state"`
	At       uint64                `json:"at,omitempty"` // entry of the log that made it
	Count    int                   `json:"count"`
	Quantity protocol.Quantity     `json:"quantity"`
	SplitOf  string                `json:"split_of,omitempty"`
	Splits   []string              `json:"splits,omitempty"` // documents that lines of it went to

	ERPID     string `json:"erp_id,omitempty"`
	Code      string `json:"code,omitempty"`
	Reason    string `json:"reason,omitempty"`
	DecidedUS int64  `json:"decided_us,omitempty"`
	Who       string `json:"who,omitempty"`
	Note      string `json:"note,omitempty"`
}

// Line is one article of a document.
type Line struct {
	Cell    uint32            `json:"cell"`
	SKU     protocol.SKU      `json:"sku"`
	Qty     protocol.Quantity `json:"qty"` // above zero: into the store (status classes: out of what is sellable)
	First   uint64            `json:"first"`
	Last    uint64            `json:"last"`
	Sources []uint64          `json:"sources,omitempty"` // of a count: its entries; else all of the class and day between First and Last
}

// Inward tells whether goods come into the store.
func (d *Doc) Inward() bool { return d.Quantity > 0 }

// Reversal tells a document against the direction of its class.
func (d *Doc) Reversal() bool {
	in, ok := d.Class.Inward()
	return ok && in != d.Inward()
}

// Reference is what the ERP is told as the document's name: the key, then for people,
// and for a ledger that was restored, what it is.
func (d *Doc) Reference() string {
	return d.Key + " " + string(d.Store) + " " + protocol.DayText(d.Day) + " " + d.Class.String()
}

// ReadReference is Reference's inverse; more may stand behind it.
func ReadReference(s string) (f Found, ok bool) {
	part := strings.Fields(s)
	if len(part) < 4 || !isKey(part[0]) || protocol.CheckName(part[1]) != nil {
		return f, false
	}
	f.Key, f.Store = part[0], protocol.StoreID(part[1])
	if f.Day, ok = protocol.ParseDay(part[2]); !ok {
		return f, false
	}
	f.Class, ok = ParseClass(part[3])
	return f, ok
}

// View shows a document to others, without its lines.
func (d *Doc) View() protocol.Posting {
	p := protocol.Posting{
		ID: d.Key, ERP: d.ERP, Store: d.Store, Day: protocol.DayText(d.Day), PostDay: protocol.DayText(d.PostDay), Class: d.Class.String(),
		Reversal: d.Reversal(), State: d.State, LineCount: d.Count, Quantity: d.Quantity, ERPID: d.ERPID, Code: d.Code, Reason: d.Reason,
		CutAt: time.UnixMicro(d.CutUS).UTC(), DecidedBy: d.Who, Note: d.Note, SplitOf: d.SplitOf,
	}
	if d.DecidedUS != 0 {
		p.DecidedAt = time.UnixMicro(d.DecidedUS).UTC()
	}
	return p
}

// total adds the lines up.
func (d *Doc) total() {
	d.Count, d.Quantity = len(d.Lines), 0
	for i := range d.Lines {
		d.Quantity += d.Lines[i].Qty
	}
}

// settled tells that nothing more will become of it.
func (d *Doc) settled() bool {
	return d.State == protocol.PostingPosted || d.State == protocol.PostingDiscarded
}
