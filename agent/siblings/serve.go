package siblings

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// Server answers on the shop's LAN. Who does not hold the secret learns nothing
// but that somebody listens.
func (s *Siblings) Server() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+Path, s.serve)
	return &http.Server{
		Handler: mux, ReadTimeout: readTimeout, ReadHeaderTimeout: readTimeout, WriteTimeout: readTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes,
	}
}

func (s *Siblings) serve(w http.ResponseWriter, r *http.Request) {
	nowUS := s.o.Now().UnixMicro() // before anything that takes time
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	if err != nil {
		http.Error(w, "the question is longer than allowed", http.StatusRequestEntityTooLarge)
		return
	}
	if !signed(s.o.Secret, "ask", "", body, r.Header.Get(signatureHeader)) {
		http.Error(w, errSignature.Error(), http.StatusUnauthorized)
		return
	}
	q, err := readAsk(body, s.o.Store)
	if err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, errShop) {
			status = http.StatusForbidden
		}
		http.Error(w, err.Error(), status)
		return
	}
	answer, err := json.Marshal(&told{Store: s.o.Store, Agent: s.o.Agent, Epoch: s.o.Epoch(), Cuts: q.answer(nowUS, s.o.CutAt)})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(signatureHeader, sign(s.o.Secret, "answer", q.Nonce, answer))
	_, _ = w.Write(answer) // a client that is gone asks again
}
