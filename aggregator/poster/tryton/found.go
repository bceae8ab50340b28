package tryton

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/aggregator/posting"
)

// Found lists the shipments that carry a reference of ours and were made since, done or
// begun: what a ledger that was restored may have lost.
func (c *Connector) Found(ctx context.Context, since time.Time) ([]posting.Found, error) {
	if err := c.prepare(ctx); err != nil {
		return nil, told(err)
	}
	if len(c.catalog.byID) == 0 {
		if err := c.refresh(ctx); err != nil {
			return nil, told(err)
		}
	}
	var list []posting.Found
	for _, f := range []flow{flowOut, flowOutReturn, flowIn, flowInReturn, flowInternal} {
		domain := []any{[]any{"state", "!=", stateCancelled}, []any{"reference", "!=", nil}, []any{"create_date", ">=", datetime(since)}}
		err := c.pages(ctx, "model."+f.model+".search_read", domain, []string{"number", "reference", "state", f.moves}, func(raw json.RawMessage) error {
			var s shipment
			var moves map[string]json.RawMessage
			if err := json.Unmarshal(raw, &s); err != nil {
				return err
			}
			if err := json.Unmarshal(raw, &moves); err != nil {
				return err
			}
			x, ok := posting.ReadReference(s.Reference)
			if _, ours := c.o.Stores[x.Store]; !ok || !ours {
				return nil
			}
			if x.Begun = s.State != stateDone; x.Begun {
				x.ERPID = f.model + " " + strconv.FormatInt(s.ID, 10)
				list = append(list, x)
				return nil
			}
			x.ERPID = f.model + " " + s.name()
			var ids []int64
			if err := json.Unmarshal(moves[f.moves], &ids); err != nil {
				return err
			}
			var err error
			if x.Lines, err = c.lines(ctx, &x, ids); err == nil && len(x.Lines) > 0 {
				list = append(list, x)
			}
			return err
		})
		if err != nil {
			return nil, told(err)
		}
	}
	return list, nil
}

// Drop cancels a shipment that Found told as begun. One that Tryton will not cancel
// stands in a closed period, where it can never be done, or was done meanwhile, and is
// found again.
func (c *Connector) Drop(ctx context.Context, f *posting.Found) error {
	model, number, _ := strings.Cut(f.ERPID, " ")
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return fmt.Errorf("drop %s: %w", f.ERPID, err)
	}
	err = c.call(ctx, nil, "model."+model+".cancel", []int64{id})
	var fl *fault
	if errors.As(err, &fl) && fl.kind == faultUser {
		return nil
	}
	return told(err)
}

// lines reads a shipment's moves back as a document's lines.
func (c *Connector) lines(ctx context.Context, x *posting.Found, ids []int64) (lines []posting.Line, err error) {
	p, err := c.place(ctx, x.Store)
	if err != nil {
		return nil, err
	}
	var moves []struct {
		Product  int64   `json:"product"`
		Quantity float64 `json:"internal_quantity"`
		State    string  `json:"state"`
		To       int64   `json:"to_location"`
	}
	if err := c.call(ctx, &moves, "model.stock.move.read", ids, []string{"product", "internal_quantity", "state", "to_location"}); err != nil {
		return nil, err
	}
	here := []int64{p.storage, p.input, p.warehouse}
	if x.Class.Status() {
		here = []int64{p.unsellable}
	}
	for _, m := range moves {
		a := c.catalog.byID[m.Product]
		q, err := quantityOf(m.Quantity)
		if err != nil || a == nil || len(a.skus) == 0 || m.State != stateDone || q == 0 {
			continue
		}
		if !slices.Contains(here, m.To) {
			q = -q
		}
		lines = append(lines, posting.Line{SKU: a.skus[0], Qty: q})
	}
	slices.SortFunc(lines, func(x, y posting.Line) int { return cmp.Compare(x.SKU, y.SKU) })
	return lines, nil
}

// datetime is a moment as Tryton writes it.
func datetime(t time.Time) map[string]any {
	t = t.UTC()
	return map[string]any{
		"__class__": "datetime", "year": t.Year(), "month": int(t.Month()), "day": t.Day(), "hour": t.Hour(), "minute": t.Minute(), "second": t.Second(), "microsecond": 0,
	}
}
