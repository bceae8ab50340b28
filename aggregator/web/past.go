package web

import (
	"net/http"
	"strconv"

	"tillwire/protocol"
)

// pastData is every store at a minute of the last day. States has a character per
// store in order of index: '0' + presence*8 + band, '~' where it was not known.
type pastData struct {
	Boot    string   `json:"boot"`
	AtMS    int64    `json:"t"`
	States  string   `json:"s"`
	Backlog []uint64 `json:"b"`
}

// past answers how the fleet was at ?at= (Unix seconds).
func (w *Web) past(rw http.ResponseWriter, r *http.Request) error {
	at, err := strconv.ParseInt(query(r, "at"), 10, 64)
	if err != nil || at <= 0 || at > 1<<40 {
		return badRequest("at must be a moment in Unix seconds.")
	}
	p, ok := w.opts.Fleet.Past(at * 1e6)
	if !ok {
		return notFound("Nothing is kept of that minute: the history goes back 24 hours at most, and begins when the aggregator started.")
	}
	out := pastData{Boot: p.Boot, AtMS: p.AtUS / 1000, Backlog: p.Backlog}
	b := make([]byte, len(p.States))
	for i, s := range p.States {
		b[i] = '~'
		if s != protocol.PastUnknown {
			b[i] = '0' + s
		}
	}
	out.States = string(b)
	return writeJSON(rw, r, &out)
}
