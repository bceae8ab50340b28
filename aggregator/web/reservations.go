package web

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

type reservationsData struct {
	*listing
	Risk  []reservationData // promises that stock no longer covers, on the first page
	List  []reservationData
	State string
	Now   time.Time
}

type reservationData struct {
	protocol.Reservation
	Ops bool
	Can []verb
	Who []protocol.AuditEntry // what people did with it
}

// verb is a button: what it does, said before it does it.
type verb struct {
	Do, Name, Ask, Tell, Note string // Note: "required" or "optional"
	Danger                    bool
}

var reservationStates = []protocol.ReservationState{
	protocol.ReservationHeld, protocol.ReservationConfirmed, protocol.ReservationPending, protocol.ReservationAccepted, protocol.ReservationPicked,
	protocol.ReservationCollected, protocol.ReservationShipped, protocol.ReservationReleased, protocol.ReservationExpired, protocol.ReservationRejected,
}

// open tells that goods are still kept for somebody.
func openReservation(s protocol.ReservationState) bool {
	return slices.Index(reservationStates, s) < slices.Index(reservationStates, protocol.ReservationCollected)
}

// verbs are what a person may do with a reservation as it stands.
func verbs(r *protocol.Reservation) (out []verb) {
	if !openReservation(r.State) {
		return nil
	}
	if r.State == protocol.ReservationHeld {
		out = append(
			out,
			verb{"confirm", "Confirm", "Confirm " + r.ReservationID + "?", "It is kept without an end, and the stores that have the goods are told to fetch them.", "optional", false},
			verb{"extend", "Extend 15 min", "Hold " + r.ReservationID + " for another 15 minutes?", "Nobody else can buy the goods until then.", "optional", false},
		)
	} else {
		out = append(out, verb{"fulfil", "Handed out", "Is " + r.ReservationID + " handed out?", "Its goods leave the stock. Do this only where no till and no store has said so: a sale that follows still counts once.", "optional", false})
	}
	return append(out, verb{"release", "Release", "Release " + r.ReservationID + "?", "Its goods can be sold to others at once. The channel " + r.Channel + " reads it as released; its customer is told by the channel, not by us.", "required", true})
}

func (w *Web) reservationData(r *http.Request, x *protocol.Reservation) reservationData {
	d := reservationData{Reservation: *x}
	if d.Ops = person(r).Role >= Ops; d.Ops {
		d.Can = verbs(x)
	}
	return d
}

func (w *Web) reservationsData(r *http.Request, limit int) (*reservationsData, error) {
	d := &reservationsData{listing: w.listing(r, "/reservations"), Now: w.now()}
	risk, err := w.opts.Reservations.Reservations(r.Context(), reserve.Filter{AtRisk: true, Limit: riskMax})
	if err != nil {
		return nil, err
	}
	tabs := []option{{Text: "All"}, {Value: "at_risk", Text: "At risk", N: len(risk), Counted: true, Bad: true}}
	for _, s := range reservationStates {
		tabs = append(tabs, option{Value: string(s), Text: strings.ToUpper(string(s[:1])) + string(s[1:])})
	}
	d.State = d.tabs("state", tabs...)
	f := reserve.Filter{Location: protocol.StoreID(d.field("location", "Location", "S0042")), After: d.query.Get("after"), Limit: limit + 1}
	if f.AtRisk = d.State == "at_risk"; !f.AtRisk {
		f.State = protocol.ReservationState(d.State)
	}
	list, err := w.opts.Reservations.Reservations(r.Context(), f)
	if err != nil {
		return nil, err
	}
	list = page(d.listing, list, limit, func(x *protocol.Reservation) string { return x.ReservationID })
	for i := range list {
		if d.State == "" && list[i].AtRisk { // stands above
			continue
		}
		d.List = append(d.List, w.reservationData(r, &list[i]))
	}
	if d.State == "" && f.After == "" {
		for i := range risk {
			if f.Location == "" || slices.ContainsFunc(risk[i].Lines, func(l protocol.ReservationLine) bool { return l.Location == f.Location }) {
				d.Risk = append(d.Risk, w.reservationData(r, &risk[i]))
			}
		}
	}
	return d, nil
}

func (w *Web) reservationsPage(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.reservationsData(r, rowsPerPage)
	if err != nil {
		return err
	}
	return w.show(rw, r, "reservations", "Reservations", d)
}

func (w *Web) reservationPage(rw http.ResponseWriter, r *http.Request) error {
	x, ok, err := w.opts.Reservations.Reservation(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if !ok {
		return notFound("There is no such reservation. What is over is forgotten after 7 days.")
	}
	d := w.reservationData(r, &x)
	if d.Ops && w.opts.Audit != nil {
		d.Who = w.opts.Audit(protocol.AuditFilter{Action: "reservation", Object: x.ReservationID, Limit: historyShown})
	}
	return w.show(rw, r, "reservation", x.ReservationID, &d)
}

func (w *Web) decideReservation(rw http.ResponseWriter, r *http.Request) error {
	in, err := noted(r)
	if err != nil {
		return err
	}
	id, what := r.PathValue("id"), reserve.Command(r.PathValue("command"))
	x, ok, err := w.opts.Reservations.Reservation(r.Context(), id)
	if err != nil {
		return err
	}
	v := slices.IndexFunc(verbs(&x), func(v verb) bool { return v.Do == string(what) })
	switch {
	case !ok:
		return notFound("There is no such reservation.")
	case v < 0:
		return &pageError{http.StatusConflict, "not_now", "It is " + string(x.State) + " now; that cannot be done with it."}
	case verbs(&x)[v].Note == "required" && in == "":
		return noteMissing()
	}
	x, err = w.opts.Reservations.DecideReservation(context.WithoutCancel(r.Context()), id, what, protocol.ReservationTTLUsualS, in, who(r))
	if err != nil {
		return w.decided("reservation", err)
	}
	return done(rw, r, id+" is "+string(x.State)+" now.")
}

func noteMissing() error {
	return &pageError{http.StatusUnprocessableEntity, "note_missing", "Say why, in at most " + strconv.Itoa(noteBytesMax) + " bytes; it is kept in the audit trail."}
}

func (w *Web) reservationsCSV(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.reservationsData(r, csvRowsMax)
	if err != nil {
		return err
	}
	head := []string{"reservation_id", "state", "at_risk", "channel", "order_id", "fulfilment", "created_at", "expires_at", "sku", "quantity", "location", "line_state", "reason"}
	return w.csv(rw, "reservations", head, func(put func(...string)) {
		for _, x := range append(d.Risk, d.List...) {
			for _, l := range x.Lines {
				put(x.ReservationID, string(x.State), strconv.FormatBool(x.AtRisk), x.Channel, x.OrderID, x.Fulfilment, stamp(&x.CreatedAt), stamp(x.ExpiresAt),
					string(l.SKU), l.Quantity.String(), string(l.Location), string(l.State), l.Reason)
			}
		}
	})
}
