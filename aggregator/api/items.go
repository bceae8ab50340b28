package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"tillwire/protocol"
)

// Items take new versions of the item master.
type Items interface {
	PutItems(ctx context.Context, items []*protocol.Item, who string) (stored []protocol.Item, refused []*protocol.Problem, err error)
}

// Master is the item master.
type Master interface {
	Item(sku protocol.SKU) []protocol.Item // versions, newest first
	Items(after protocol.SKU, limit int) []protocol.Item
}

func (a *API) items(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := number(q.Get("limit"), 100, pageMax)
	if err != nil {
		return invalid("/limit", err.Error(), fmt.Sprintf("give a number from 1 to %d", pageMax))
	}
	list := a.o.Master.Items(protocol.SKU(q.Get("after")), limit)
	page := struct {
		Items []protocol.Item `json:"items"`
		Next  protocol.SKU    `json:"next,omitempty"` // as after=
	}{Items: list}
	if len(list) == limit {
		page.Next = list[len(list)-1].SKU
	}
	return reply(w, http.StatusOK, page)
}

func (a *API) item(w http.ResponseWriter, r *http.Request) error {
	sku, p := skuOf(r.PathValue("sku"))
	if p != nil {
		return p
	}
	list := a.o.Master.Item(sku)
	if len(list) == 0 {
		return notFound("unknown_item", "The item master does not have this SKU", string(sku), "it moves all the same; PUT it where it has units or is a kit")
	}
	return reply(w, http.StatusOK, map[string]any{"item": list[0], "versions": list})
}

func (a *API) putItem(w http.ResponseWriter, r *http.Request) error {
	sku, p := skuOf(r.PathValue("sku"))
	if p != nil {
		return p
	}
	b, err := body(r)
	if err != nil {
		return err
	}
	it, p := protocol.DecodeItem(b)
	if p != nil {
		return p
	}
	if it.SKU != sku {
		return invalid("/sku", fmt.Sprintf("is %s, the address says %s", it.SKU, sku), "put an item under its own SKU")
	}
	stored, refused, err := a.o.Items.PutItems(r.Context(), []*protocol.Item{it}, who(r))
	if err != nil {
		return err
	}
	if refused[0] != nil {
		return refused[0]
	}
	return reply(w, http.StatusOK, stored[0])
}

// itemResult answers one item of a list.
type itemResult struct {
	SKU     protocol.SKU      `json:"sku"`
	Status  string            `json:"status"` // stored | refused
	Version uint64            `json:"version,omitempty"`
	Problem *protocol.Problem `json:"problem,omitempty"`
}

// postItems takes {"items":[…]}, each by itself.
func (a *API) postItems(w http.ResponseWriter, r *http.Request) error {
	b, err := body(r)
	if err != nil {
		return err
	}
	var req struct {
		Items []json.RawMessage `json:"items"`
	}
	if p := protocol.DecodeStrict(b, &req); p != nil {
		return p
	}
	if n := len(req.Items); n == 0 || n > itemsMax {
		return invalid("/items", fmt.Sprintf("has %d entries", n), fmt.Sprintf("send 1 to %d items", itemsMax))
	}
	results := make([]itemResult, len(req.Items))
	var good []*protocol.Item
	var at []int
	for n, raw := range req.Items {
		it, p := protocol.DecodeItem(raw)
		if p != nil {
			results[n] = itemResult{Status: "refused", Problem: p}
			if it != nil {
				results[n].SKU = it.SKU
			}
			continue
		}
		good, at = append(good, it), append(at, n)
	}
	stored, refused, err := a.o.Items.PutItems(r.Context(), good, who(r))
	if err != nil {
		return err
	}
	for k, n := range at {
		results[n] = itemResult{SKU: good[k].SKU, Status: "stored", Version: stored[k].Version}
		if refused[k] != nil {
			results[n] = itemResult{SKU: good[k].SKU, Status: "refused", Problem: refused[k]}
		}
	}
	return reply(w, http.StatusOK, map[string]any{"results": results})
}
