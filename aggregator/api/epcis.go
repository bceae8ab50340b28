package api

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"tillwire/protocol"
	"tillwire/protocol/epcis"
)

// epcisSource names captures whose sender does not name itself by ?source=.
const epcisSource = "epcis"

func (a *API) epcisCapture(w http.ResponseWriter, r *http.Request) error {
	return a.capture(w, r, http.StatusAccepted, a.o.Feeds.Capture)
}

func (a *API) epcisEvent(w http.ResponseWriter, r *http.Request) error {
	return a.capture(w, r, http.StatusCreated, a.o.Feeds.CaptureEvent)
}

func (a *API) capture(w http.ResponseWriter, r *http.Request, status int, take func(context.Context, string, []byte) (protocol.CaptureJob, error)) error {
	source := r.URL.Query().Get("source")
	if source == "" {
		source = epcisSource
	}
	if err := protocol.CheckName(source); err != nil {
		return invalid("/source", err.Error(), "name the sending system, e.g. /epcis/v2/capture?source=wms")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	job, err := take(r.Context(), source, body)
	if err != nil {
		return err
	}
	epcisHeaders(w)
	w.Header().Set("Location", "/epcis/v2/capture/"+job.CaptureID)
	return reply(w, status, job)
}

func (a *API) epcisJob(w http.ResponseWriter, r *http.Request) error {
	job, ok := a.o.Feeds.Job(r.PathValue("id"))
	if !ok {
		return protocol.NewProblem(http.StatusNotFound, "not_found", "There is no such capture", "the last captures since the start can be asked for", "capture again: events are known by their ids")
	}
	epcisHeaders(w)
	return reply(w, http.StatusOK, job)
}

func epcisHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("GS1-EPCIS-Version", "2.0.0")
	h.Set("GS1-CBV-Version", "2.0.0")
	h.Set("GS1-EPCIS-Capture-Limit", strconv.Itoa(epcis.EventsMax))
	h.Set("GS1-Capture-Error-Behaviour", "proceed")
}
