package simulator

import (
	"cmp"
	"fmt"

	"tillwire/protocol"
)

// region is a group of stores behind one provider's lines: it drops as one.
type region struct {
	Name  string
	Towns []string
}

var regions = []region{
	{"North", []string{"Aldermoor", "Birkhaven", "Coldwater", "Dunmore", "Eastmarch", "Fellgate", "Granby", "Harrowby"}},
	{"Lakes", []string{"Ashmere", "Brinewater", "Clearford", "Deepwell", "Ellerlake", "Fernpool", "Glassmere", "Heronsway"}},
	{"Coast", []string{"Anchor Bay", "Breakwater", "Cliffside", "Driftwood", "Eelport", "Foghaven", "Gullpoint", "Harbourne"}},
	{"Valley", []string{"Appleford", "Bramley", "Cressdale", "Dovecote", "Elmhurst", "Foxley", "Greendale", "Hazelbrook"}},
	{"Capital", []string{"Abbey Gate", "Bridge Street", "Castle Square", "Dock Road", "Exchange", "Foundry Lane", "Guildhall", "High Cross"}},
	{"South", []string{"Amberley", "Bexford", "Chalkdown", "Durrington", "Easthollow", "Fairlight", "Goldstone", "Highbury"}},
	{"Hills", []string{"Arden Rise", "Beacon Hill", "Cragside", "Downham", "Edgeworth", "Flintridge", "Goosehill", "Hawkstone"}},
	{"East", []string{"Alderney", "Barley Cross", "Canford", "Drayton", "Everleigh", "Fenwick", "Grangemoor", "Holloway"}},
}

var quarters = []string{"Market", "Station", "Mill Lane", "Park", "Riverside", "Old Town", "Crossroads", "Gateway"}

// place is who one store is.
type place struct {
	Store  protocol.StoreID
	Name   string
	Region string
}

// places names n stores. Ranks of size are spread over the regions, so that a
// region's outage takes large and small stores.
func places(n int) []place { return placesNamed("S", n) }

func placesNamed(prefix string, n int) []place {
	out := make([]place, n)
	for i := range out {
		r := regions[i%len(regions)]
		k := i / len(regions)
		town := r.Towns[k%len(r.Towns)]
		name := town
		if q := k / len(r.Towns); q > 0 {
			name = fmt.Sprintf("%s %s", town, quarters[(q-1)%len(quarters)])
			if lap := (q - 1) / len(quarters); lap > 0 {
				name = fmt.Sprintf("%s %d", name, lap+1)
			}
		}
		out[i] = place{Store: protocol.StoreID(fmt.Sprintf("%s%04d", cmp.Or(prefix, "S"), i+1)), Name: name, Region: r.Name}
	}
	return out
}
