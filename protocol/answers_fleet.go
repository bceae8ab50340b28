package protocol

// The live view of the fleet, from which pages are made. Lag is not in it: it
// grows by itself from WatermarkUS on whatever clock looks at it.

// Tile is one store in the fleet's live view.
type Tile struct {
	Index       int // dense; good within one FleetView.Boot
	Store       StoreID
	Name        string
	Region      string
	Type        string
	Presence    Presence
	WatermarkUS int64 // all up to then is merged; 0 = nothing known
	Backlog     uint64
	Version     string
	Codes       []string // of its incidents
	Source      bool     // only feeds speak for it: no lag of its own
	SinceUS     int64    // since when it is in this presence
	Urgency     int      // how much it needs a person; 0 = not at all
	Urgent      string   // the code that needs one most
}

// FleetView is the fleet at one revision.
type FleetView struct {
	Boot          string // of the process; revisions start anew with it
	Rev           uint64
	AtUS          int64
	Totals        FleetTotals
	Bands         [8]int // stores per lag band
	Incidents     int
	MergedHere    uint64     // events merged by this process
	Chain         []Incident // open ones of the chain as a whole
	SafeCoveredBy string     // what safe rests on: none, backup
	Tiles         []Tile     // those changed since the revision asked for
}

// FleetPast is every store at a minute of the last day, in order of Tile.Index.
type FleetPast struct {
	Boot    string
	AtUS    int64
	States  []uint8  // presence, 0 online to 5 offline as FleetTotals.ByPresence counts them, times 8, plus the lag band
	Backlog []uint64 // events
}

// PastUnknown stands in FleetPast.States for a store that was not known then.
const PastUnknown = 0xff

// LagPoint is one moment of a store's history.
type LagPoint struct {
	AtS     int64   `json:"t"` // Unix seconds
	LagS    float64 `json:"lag_s"`
	Backlog uint64  `json:"backlog"`
}

// FlowPoint is one minute of a connection to another system.
type FlowPoint struct {
	AtS    int64   // Unix seconds
	LagS   float64 // age of the oldest that waited
	Waits  uint64
	PerMin uint64 // what passed in it
}

// What a flow is of: its name stands behind.
const (
	FlowConnector    = "connector/"
	FlowSubscription = "subscription/"
	FlowERP          = "erp/"
)

// BandColumn is how many stores were in each lag band: the worst moment within
// the column, so that a short outage does not vanish between two samples.
type BandColumn struct {
	AtUS  int64  `json:"t"`
	Count [8]int `json:"n"`
}

// BandNames are the lag bands of the fleet in words.
var BandNames = [8]string{"< 30 s", "< 2 min", "< 5 min", "< 15 min", "< 1 h", "< 6 h", "over 6 h", "offline"}

var bandLimitsUS = [6]int64{30e6, 120e6, 300e6, 900e6, 3600e6, 21600e6}

// Band is the lag band of a store whose knowledge is behindUS old: 0 to 6 by
// lag, 7 offline whatever its lag.
func Band(p Presence, behindUS int64) int {
	if p == PresenceOffline {
		return len(BandNames) - 1
	}
	for i, l := range bandLimitsUS {
		if behindUS < l {
			return i
		}
	}
	return len(bandLimitsUS)
}
