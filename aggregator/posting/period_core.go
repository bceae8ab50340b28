package posting

// Late is what becomes of a posting whose business day lies in a closed period.
type Late uint8

// Policies of late postings.
const (
	LateRedate Late = iota // post to the first open day; the original day stays in the key and the text
	LatePark               // keep it back until a person decides or the period is opened
)

// Dated is where a posting goes.
type Dated struct {
	Day     string // YYYY-MM-DD; "" while parked
	Redated bool
	Parked  bool
}

// Date finds the day on which the ERP is asked to book. Days are YYYY-MM-DD, which
// order as text. closedTo is the last closed day, "" where none is; openDay is the
// first day that may be booked, used only by LateRedate, and a period that has no
// open day parks.
func Date(day, closedTo, openDay string, late Late) Dated {
	switch {
	case closedTo == "" || day > closedTo:
		return Dated{Day: day}
	case late == LateRedate && openDay > closedTo:
		return Dated{Day: openDay, Redated: true}
	}
	return Dated{Parked: true}
}
