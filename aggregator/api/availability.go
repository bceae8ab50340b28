package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
)

var bufPool = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

func (a *API) availability(w http.ResponseWriter, r *http.Request) error {
	sku, p := skuOf(r.PathValue("sku"))
	if p != nil {
		return p
	}
	var at []protocol.StoreID
	channel := ""
	if r.URL.RawQuery != "" {
		var err error
		channel = r.URL.Query().Get("channel")
		if at, err = a.locations(r); err != nil {
			return err
		}
		if err = a.settled(r, r.URL.Query().Get("after")); err != nil {
			return err
		}
	}
	buf := bufPool.Get().(*[]byte)
	defer bufPool.Put(buf)
	b, ok := a.o.Availability.AppendJSONFor((*buf)[:0], sku, at, channel)
	*buf = b
	if !ok {
		return notFound("unknown_sku", "No location ever had this SKU", string(sku), "check the SKU; GTINs may be given with or without leading zeros")
	}
	return replyBytes(w, http.StatusOK, b)
}

func skuOf(s string) (protocol.SKU, *protocol.Problem) {
	sku, err := protocol.NormalizeSKU(s)
	if err != nil {
		return "", invalid("/sku", err.Error(), "a GTIN needs a right check digit; anything else is at most 64 bytes")
	}
	return sku, nil
}

// locations reads ?location= (repeatable) and ?group=, and checks the other
// parameters.
func (a *API) locations(r *http.Request) ([]protocol.StoreID, error) {
	var at []protocol.StoreID
	for key, values := range r.URL.Query() {
		for _, v := range values {
			switch key {
			case "location":
				for s := range strings.SplitSeq(v, ",") {
					at = append(at, protocol.StoreID(s))
				}
			case "group":
				g, ok := a.o.Group(v)
				if !ok {
					return nil, notFound("unknown_group", "There is no such group of locations", v, "groups are the regions of aggregator.toml; GET /v1/stores shows them")
				}
				at = append(at, g...)
			case "after", "events", "cursor": // see settled and stream
			case "channel":
				if err := protocol.CheckName(v); err != nil {
					return nil, invalid("/channel", err.Error(), "name the channel as its key does")
				}
			default:
				return nil, invalid("/"+key, "is not a parameter here", "use location, group or channel")
			}
		}
	}
	if len(at) > locationsMax {
		return nil, invalid("/location", fmt.Sprintf("names %d locations, at most %d", len(at), locationsMax), "split the request")
	}
	return at, nil
}

type queryRequest struct {
	SKUs      []string `json:"skus"`
	Locations []string `json:"locations"`
	Channel   string   `json:"channel"`
}

func (a *API) query(w http.ResponseWriter, r *http.Request) error {
	var q queryRequest
	if err := decode(r, &q); err != nil {
		return err
	}
	if len(q.SKUs) == 0 || len(q.SKUs) > protocol.QueryCellsMax {
		return invalid("/skus", fmt.Sprintf("has %d entries", len(q.SKUs)), fmt.Sprintf("name 1 to %d SKUs", protocol.QueryCellsMax))
	}
	if len(q.Locations) > locationsMax {
		return invalid("/locations", fmt.Sprintf("has %d entries, at most %d", len(q.Locations), locationsMax), "split the request")
	}
	at := make([]protocol.StoreID, len(q.Locations))
	for i, s := range q.Locations {
		at[i] = protocol.StoreID(s)
	}
	buf := bufPool.Get().(*[]byte)
	defer bufPool.Put(buf)
	skus := make([]protocol.SKU, len(q.SKUs))
	for i, s := range q.SKUs {
		var err error
		if skus[i], err = protocol.NormalizeSKU(s); err != nil {
			return invalid("/skus/"+strconv.Itoa(i), err.Error(), "a GTIN needs a right check digit")
		}
	}
	*buf = a.appendList((*buf)[:0], q.SKUs, skus, at, q.Channel)
	return replyBytes(w, http.StatusOK, *buf)
}

// appendList writes what is available of several SKUs, and as they were asked for
// those that nobody ever had.
func (a *API) appendList(b []byte, asked []string, skus []protocol.SKU, at []protocol.StoreID, channel string) []byte {
	b, unknown := a.o.Availability.AppendJSONList(append(b, `{"items":[`...), skus, at, channel, nil)
	b = append(b, `],"unknown":[`...)
	for i, k := range unknown {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, asked[k])
	}
	return append(b, "]}"...)
}

func (a *API) explain(w http.ResponseWriter, r *http.Request) error {
	sku, p := skuOf(r.PathValue("sku"))
	if p != nil {
		return p
	}
	q := r.URL.Query()
	loc := q.Get("location")
	if loc == "" {
		return invalid("/location", "is missing", "name the location whose number you want explained: ?location=S0042")
	}
	limit, err := number(q.Get("limit"), explainLines, explainLinesMax)
	if err != nil {
		return invalid("/limit", err.Error(), fmt.Sprintf("give a number from 1 to %d", explainLinesMax))
	}
	ask := merge.Question{Limit: limit}
	if ask.AtUS, p = moment(q.Get("at"), "/at"); p != nil {
		return p
	}
	if ask.KnownUS, p = moment(q.Get("known_at"), "/known_at"); p != nil {
		return p
	}
	x, err := a.o.Door.Explain(r.Context(), sku, protocol.StoreID(loc), ask)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, x)
}

// moment reads an optional time; 0 is none.
func moment(s, ptr string) (int64, *protocol.Problem) {
	if s == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, invalid(ptr, "is not an RFC 3339 time with zone", "write it like 2026-11-23T10:15:00Z (a + is %2B in a URL)")
	}
	return t.UnixMicro(), nil
}

// number reads an optional number between 1 and most.
func number(s string, otherwise, most int) (int, error) {
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("is %q", s)
	}
	return n, nil
}

// atp answers what may be promised for later.
func (a *API) atp(w http.ResponseWriter, r *http.Request) error {
	sku, p := skuOf(r.PathValue("sku"))
	if p != nil {
		return p
	}
	loc := r.URL.Query().Get("location")
	if loc == "" {
		return invalid("/location", "is missing", "name the location: ?location=DC1")
	}
	days, err := number(r.URL.Query().Get("days"), 28, atpDaysMax)
	if err != nil {
		return invalid("/days", err.Error(), fmt.Sprintf("give a number from 1 to %d", atpDaysMax))
	}
	x, err := a.o.ATP(r.Context(), sku, protocol.StoreID(loc), time.Duration(days)*24*time.Hour)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, x)
}
