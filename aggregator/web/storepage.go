package web

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

type storeData struct {
	Status     protocol.StoreStatus
	Agents     []storeAgent
	Exceptions []protocol.Exception
	At         time.Time
	Count      []protocol.CountNext // what to count next, the most worth first
	Orders     bool                 // there are commands
}

type storeAgent struct {
	protocol.AgentStatus
	Feed bool
	Bar  *bar
}

// bar draws the watermarks of one journal: what is safe, merged, waiting.
type bar struct{ SafeX, MergedX string } // percent of the retained journal

func makeBar(a *protocol.AgentStatus) *bar {
	tail := max(a.TailSeq, 1) - 1
	if a.HeadSeq <= tail {
		return nil
	}
	pct := func(seq uint64) string {
		x := float64(seq-min(seq, tail)) / float64(a.HeadSeq-tail) * 100
		if seq < a.HeadSeq {
			x = min(x, 99.4) // what is missing stays visible
		}
		return strconv.FormatFloat(x, 'f', 2, 64) + "%"
	}
	return &bar{pct(a.SafeSeq), pct(a.MergedSeq)}
}

func (w *Web) storeData(r *http.Request) (*storeData, error) {
	id := protocol.StoreID(r.PathValue("id"))
	s, ok := w.opts.Fleet.Status(id)
	if !ok {
		return nil, notFound("No store of this name is configured, and none has connected. Look for it on the fleet page.")
	}
	d := &storeData{Status: s, At: w.now(), Orders: w.opts.Orders != nil}
	for i := range s.Agents {
		a := storeAgent{AgentStatus: s.Agents[i], Feed: protocol.Origin{Agent: s.Agents[i].Agent}.IsFeed()}
		a.Bar = makeBar(&a.AgentStatus)
		d.Agents = append(d.Agents, a)
	}
	if w.opts.Exceptions != nil {
		ex, err := w.opts.Exceptions(ledger.Filter{Store: id, State: "open", Limit: storeExceptions})
		if err != nil {
			return nil, err
		}
		d.Exceptions = ex
	}
	return d, nil
}

func (w *Web) storePage(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.storeData(r)
	if err != nil {
		return err
	}
	if w.opts.CountNext != nil {
		if d.Count, err = w.opts.CountNext(r.Context(), d.Status.Store, countNextShown); err != nil {
			return err
		}
	}
	f := w.frame(r, "store", string(d.Status.Store)+" "+d.Status.Name)
	f.Data = d
	return w.render(rw, r, "store.html", f)
}

func (w *Web) storeBody(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.storeData(r)
	if err != nil {
		return err
	}
	return w.render(rw, r, "storebody", d)
}

// acknowledge closes a standing incident: a person did what it asks for.
func (w *Web) acknowledge(rw http.ResponseWriter, r *http.Request) error {
	var in struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.ID == "" {
		return badRequest("The incident's id is missing.")
	}
	if w.opts.Acknowledge == nil || !w.opts.Acknowledge(r.Context(), in.ID, who(r)) {
		return notFound("This incident is not open, or closes by itself.")
	}
	return writeJSON(rw, r, map[string]bool{"ok": true})
}
