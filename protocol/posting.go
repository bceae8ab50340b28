package protocol

import "time"

// Posting is one ERP document: what one class of movements of a store came to on a
// business day, one line per article.
type Posting struct {
	ID        string        `json:"id"` // the key under which the ERP knows it: 16 upper-case characters
	ERP       string        `json:"erp"`
	Store     StoreID       `json:"store"`
	Day       string        `json:"day"`              // business day of the movements
	PostDay   string        `json:"post_day"`         // day that the ERP is asked to book: another one where the period was closed
	Class     string        `json:"class"`            // sale, return, receipt, transfer_out, transfer_in, count, kit, adjustment_…, status_…, opening
	Reversal  bool          `json:"reversal"`         // against the direction of its class: voids outweighed
	State     PostingState  `json:"state"`            //
	LineCount int           `json:"line_count"`       //
	Quantity  Quantity      `json:"quantity"`         // sum over its lines; above zero: into the store
	Lines     []PostingLine `json:"lines,omitempty"`  // of one posting asked for by id
	ERPID     string        `json:"erp_id,omitempty"` // what the ERP calls it
	Code      string        `json:"code,omitempty"`   // why it is parked
	Reason    string        `json:"reason,omitempty"` //
	Attempts  int           `json:"attempts"`         // since it was last due
	NextAt    time.Time     `json:"next_at,omitzero"` // of the next attempt
	CutAt     time.Time     `json:"cut_at"`           // when it was made
	DecidedAt time.Time     `json:"decided_at,omitzero"`
	DecidedBy string        `json:"decided_by,omitempty"`
	Note      string        `json:"note,omitempty"`
	SplitOf   string        `json:"split_of,omitempty"` // parked alone out of another posting
}

// PostingState is where a posting stands.
//
//	due ──▶ posted                    parked ──retry──▶ due
//	 └────▶ parked ──discard──▶ discarded
type PostingState string

// The states.
const (
	PostingDue       PostingState = "due"
	PostingPosted    PostingState = "posted"
	PostingParked    PostingState = "parked"
	PostingDiscarded PostingState = "discarded"
)

// PostingLine is one article of a posting.
type PostingLine struct {
	SKU      SKU             `json:"sku"`
	Quantity Quantity        `json:"quantity"` // above zero: into the store
	Sources  []PostingSource `json:"sources,omitempty"`
	More     bool            `json:"more_sources,omitempty"` // not all could be read
}

// PostingSource is one document behind a line.
type PostingSource struct {
	EventID    EventID  `json:"event_id"`
	Kind       Kind     `json:"kind"`
	DocumentID string   `json:"document_id"`
	Origin     Origin   `json:"origin"`
	Position   uint64   `json:"position"` // in the ledger's log
	Quantity   Quantity `json:"quantity"`
	Trace      string   `json:"traceparent,omitempty"`
}

// PostingStanding is where an ERP's queue stands.
type PostingStanding struct {
	ERP         string    `json:"erp"`
	Kind        string    `json:"kind"`   // tryton | http
	Stores      int       `json:"stores"` //
	Due         int       `json:"due"`
	Parked      int       `json:"parked"`
	Posted      uint64    `json:"posted"`       // in all
	Discarded   uint64    `json:"discarded"`    //
	LinesPosted uint64    `json:"lines_posted"` //
	Waiting     int       `json:"waiting"`      // netted rows whose window is still open
	OldestDueAt time.Time `json:"oldest_due_at,omitzero"`
	LagS        float64   `json:"lag_s"` // age of the oldest that is due
	Up          bool      `json:"up"`    // the last call was answered
	LastError   string    `json:"last_error,omitempty"`
	LastPosted  time.Time `json:"last_posted_at,omitzero"`
	Held        bool      `json:"held"`        // the ledger was restored: nothing is sent until a person resumes
	Adopted     int       `json:"adopted"`     // documents that the ERP had and the restored ledger did not know as posted
	Items       int       `json:"items"`       // articles taken from it, when they were last read
	ItemsWrong  int       `json:"items_wrong"` // … and left out or refused; the log says why
}

const dayUS = 86_400_000_000

// ParseDay reads YYYY-MM-DD as days since 1970-01-01, up to 2149-06-06.
func ParseDay(s string) (int32, bool) {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return 0, false
	}
	digits := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if s[i] < '0' || s[i] > '9' {
				return -1 << 30
			}
			n = n*10 + int(s[i]-'0')
		}
		return n
	}
	y, m, d := digits(0, 4), digits(5, 7), digits(8, 10)
	if y < 1970 || m < 1 || m > 12 || d < 1 || d > 31 {
		return 0, false
	}
	t := time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)
	day := t.UnixMicro() / dayUS
	return int32(day), t.Day() == d && day < 1<<16
}

// DayText is ParseDay's inverse.
func DayText(day int32) string { return time.UnixMicro(int64(day) * dayUS).UTC().Format(time.DateOnly) }
