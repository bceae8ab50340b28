package yardstick

import (
	"io"
	"net/http"

	"tillwire/protocol"
)

// BareHTTP reads a sale, decodes it with the product's decoder, and answers 201
// with an answer of the product's size: what net/http costs when nothing is
// written anywhere.
func BareHTTP(store protocol.StoreID) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/sales", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(io.LimitReader(r.Body, protocol.BodyBytesMax))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		e, problem := protocol.DecodeDocument(b, protocol.Source{Store: store, Kind: protocol.KindSale})
		if problem != nil {
			http.Error(w, problem.Error(), problem.Status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"event_id":"`+e.ID.String()+`","seq":1,"journaled_at":"2026-11-23T10:15:02.123456Z","duplicate":false}`+"\n")
	})
	return mux
}
