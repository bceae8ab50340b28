package intake

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
)

// StockItem is one article of the shop, as its own journal knows it.
type StockItem struct {
	SKU         protocol.SKU      `json:"sku"`
	OnHand      protocol.Quantity `json:"on_hand"`
	Held        protocol.Quantity `json:"held"`
	Unavailable protocol.Quantity `json:"unavailable"`
	Available   protocol.Quantity `json:"available"`
	// Counted tells whether on_hand rests on a count. Without one it is what
	// moved since the oldest record kept, and may be negative.
	Counted   bool       `json:"counted"`
	CountedAt *time.Time `json:"counted_at"`
	MovedAt   *time.Time `json:"last_movement_at"`
	AgeS      float64    `json:"age_s"` // since the last movement or count
	AsOf      time.Time  `json:"as_of"`
	Seq       uint64     `json:"as_of_seq"`
}

// stockAnswer is the body of GET /v1/stock.
type stockAnswer struct {
	Items   []StockItem    `json:"items"`
	Unknown []protocol.SKU `json:"unknown"`
}

// fresh folds what was journaled up to now, so that a till reads its own write.
func (in *Intake) fresh(r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), stockWait)
	defer cancel()
	if err := in.stock.catchUp(ctx, in.o.Journal); err != nil {
		in.o.Log.Debug().Err(err).Msg("stock answered before it caught up") // as_of_seq says how far it is
	}
}

// held adds what the aggregator holds of an article here.
func (in *Intake) held(it *StockItem) {
	in.tasks.mu.Lock()
	defer in.tasks.mu.Unlock()
	it.Held = in.tasks.board.heldNow(it.SKU)
	it.Available = max(0, it.OnHand-it.Unavailable-it.Held)
}

// get reads one article.
func (s *stock) get(sku protocol.SKU, now time.Time) (StockItem, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.cells[sku]
	if c == nil {
		return StockItem{}, false
	}
	it := StockItem{
		SKU: sku, OnHand: c.onHand, Unavailable: c.unavailable,
		Available: max(0, c.onHand-c.unavailable), AsOf: now.UTC(), Seq: s.seq,
	}
	if c.countedUS != 0 {
		t := time.UnixMicro(c.countedUS).UTC()
		it.Counted, it.CountedAt = true, &t
	}
	if c.lastUS != 0 {
		t := time.UnixMicro(c.lastUS).UTC()
		it.MovedAt = &t
		it.AgeS = max(0, now.Sub(t).Seconds())
	}
	return it, true
}

func badSKU(err error) *protocol.Problem {
	p := protocol.NewProblem(http.StatusUnprocessableEntity, protocol.CodeInvalidField, "The SKU cannot be one", "sku "+err.Error(),
		"Codes of 12, 13 or 14 digits must be GTINs with a right check digit; others are taken as they are.")
	p.Errors = []protocol.FieldError{{Pointer: "/sku", Message: err.Error()}}
	return p
}

func (in *Intake) stockOne(w http.ResponseWriter, r *http.Request) {
	sku, err := protocol.NormalizeSKU(r.PathValue("sku"))
	if err != nil {
		refuse(w, badSKU(err))
		return
	}
	in.fresh(r)
	it, known := in.stock.get(sku, in.o.Now())
	if !known {
		p := protocol.NewProblem(http.StatusNotFound, "unknown_sku", "This agent has never seen the article", "no document of its journal names the SKU",
			"Count or receive the article here, or ask the aggregator for the chain's stock.")
		refuse(w, p)
		return
	}
	in.held(&it)
	answerJSON(w, http.StatusOK, &it)
}

func (in *Intake) stockMany(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()["sku"]
	if len(asked) == 0 || len(asked) > stockQueryMax {
		p := protocol.NewProblem(http.StatusUnprocessableEntity, protocol.CodeMissingField, "Say which articles are wanted",
			strconv.Itoa(len(asked))+" sku parameters were given", "Give 1 to "+strconv.Itoa(stockQueryMax)+" of them: /v1/stock?sku=A&sku=B.")
		p.Errors = []protocol.FieldError{{Pointer: "/sku", Message: "is required, 1 to " + strconv.Itoa(stockQueryMax) + " times"}}
		refuse(w, p)
		return
	}
	skus := make([]protocol.SKU, len(asked))
	for i, s := range asked {
		var err error
		if skus[i], err = protocol.NormalizeSKU(s); err != nil {
			refuse(w, badSKU(err))
			return
		}
	}
	in.fresh(r)
	now := in.o.Now()
	a := stockAnswer{Items: []StockItem{}, Unknown: []protocol.SKU{}}
	for _, sku := range skus {
		if it, known := in.stock.get(sku, now); known {
			in.held(&it)
			a.Items = append(a.Items, it)
		} else {
			a.Unknown = append(a.Unknown, sku)
		}
	}
	answerJSON(w, http.StatusOK, &a)
}
