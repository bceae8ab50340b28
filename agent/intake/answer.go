package intake

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// answer writes a whole body with its exact length.
func answer(w http.ResponseWriter, status int, contentType string, b []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	// A client that is gone cannot be told so.
	_, _ = w.Write(b)
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // our own types: cannot be, and must not be silent
		refuse(w, protocol.NewProblem(http.StatusInternalServerError, "internal", "The answer could not be written", err.Error(), "Tell Tillwire's support."))
		return
	}
	answer(w, status, "application/json", append(b, '\n'))
}

// refuse answers with a problem.
func refuse(w http.ResponseWriter, p *protocol.Problem) {
	b, err := json.Marshal(p)
	if err != nil {
		b = []byte(`{"type":"about:blank","status":500,"code":"internal"}`)
	}
	answer(w, p.Status, protocol.ContentTypeProblem, append(b, '\n'))
}

func refuseRetry(w http.ResponseWriter, p *protocol.Problem, seconds int) {
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	refuse(w, p)
}

// appendResult writes a WriteResult by hand: it is on the way of every sale.
func appendResult(b []byte, r *journal.Receipt, warnings []string) []byte {
	id, _ := r.EventID.MarshalText() // never fails
	b = append(b, `{"event_id":"`...)
	b = append(b, id...)
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, r.Seq, 10)
	b = append(b, `,"journaled_at":"`...)
	b = time.UnixMicro(r.RecordUS).UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	b = append(b, `","duplicate":`...)
	b = strconv.AppendBool(b, r.Duplicate)
	if len(warnings) > 0 {
		b = append(b, `,"warnings":`...)
		if j, err := json.Marshal(warnings); err == nil {
			b = append(b, j...)
		} else {
			b = append(b, "[]"...)
		}
	}
	return append(b, '}')
}

func statusOf(r *journal.Receipt) int {
	if r.Duplicate {
		return http.StatusOK
	}
	return http.StatusCreated
}
