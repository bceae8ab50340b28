package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

// chain reads the aggregator over its public HTTP API, as a channel or a
// person would.
type chain struct {
	base string
	key  string          // bearer key; "" in development mode
	only map[string]bool // locations that are ours; nil: all
	http *http.Client
}

func newChain(addr string) *chain {
	return &chain{base: "http://" + addr, http: &http.Client{Timeout: 60 * time.Second}}
}

func (c *chain) do(ctx context.Context, method, p string, body []byte, into any) error {
	b, err := c.text(ctx, method, p, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("read %s: %w", p, err)
	}
	return nil
}

// text is an answer as it came.
func (c *chain) text(ctx context.Context, method, p string, body []byte) ([]byte, error) {
	status, b, err := c.send(ctx, method, p, body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("ask %s: status %d: %.300s", p, status, b)
	}
	return b, err
}

// send is one question with whatever status is the answer.
func (c *chain) send(ctx context.Context, method, p string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+p, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("ask aggregator: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax+1))
	if err == nil && len(b) > answerBytesMax {
		err = fmt.Errorf("the answer is longer than %d MiB", answerBytesMax>>20)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read %s: %w", p, err)
	}
	return resp.StatusCode, b, nil
}

// stores lists every store's marks.
func (c *chain) stores(ctx context.Context) (map[protocol.StoreID]protocol.StoreStatus, error) {
	var got struct {
		Stores []protocol.StoreStatus `json:"stores"`
	}
	if err := c.do(ctx, http.MethodGet, "/v1/stores", nil, &got); err != nil {
		return nil, err
	}
	out := make(map[protocol.StoreID]protocol.StoreStatus, len(got.Stores))
	for _, s := range got.Stores {
		out[s.Store] = s
	}
	return out, nil
}

// queryChunk is how many articles one question names: their answers carry all
// locations.
const queryChunk = 20

// onHand reads what the chain believes of the articles, at every location.
func (c *chain) onHand(ctx context.Context, skus []protocol.SKU) (map[protocol.StoreID]map[protocol.SKU]protocol.Quantity, error) {
	cells, err := c.cells(ctx, skus)
	out := make(map[protocol.StoreID]map[protocol.SKU]protocol.Quantity, len(cells))
	for store, row := range cells {
		out[store] = make(map[protocol.SKU]protocol.Quantity, len(row))
		for sku, s := range row {
			out[store][sku] = s.onHand
		}
	}
	return out, err
}

// stand is what the chain says of one cell.
type stand struct{ onHand, promised protocol.Quantity }

func (c *chain) cells(ctx context.Context, skus []protocol.SKU) (map[protocol.StoreID]map[protocol.SKU]stand, error) {
	out := map[protocol.StoreID]map[protocol.SKU]stand{}
	for part := range slices.Chunk(skus, queryChunk) {
		body, err := json.Marshal(map[string]any{"skus": part})
		if err != nil {
			return nil, fmt.Errorf("encode query: %w", err)
		}
		var got struct {
			Items []protocol.Availability `json:"items"`
		}
		if err := c.do(ctx, http.MethodPost, "/v1/availability/query", body, &got); err != nil {
			return nil, err
		}
		for _, item := range got.Items {
			for _, l := range item.Locations {
				if c.only != nil && !c.only[string(l.Location)] {
					continue
				}
				if out[l.Location] == nil {
					out[l.Location] = map[protocol.SKU]stand{}
				}
				out[l.Location][protocol.SKU(strings.Clone(string(item.SKU)))] = stand{l.OnHand, l.Reserved + l.Allocated}
			}
		}
	}
	return out, nil
}

// availability reads one article at one location; ok is false where the chain
// does not know it.
func (c *chain) availability(ctx context.Context, sku protocol.SKU, at protocol.StoreID) (protocol.Quantity, bool, error) {
	var got protocol.Availability
	if err := c.do(ctx, http.MethodGet, "/v1/availability/"+string(sku)+"?location="+string(at), nil, &got); err != nil {
		return 0, false, err
	}
	for _, l := range got.Locations {
		if l.Location == at {
			return l.OnHand, true, nil
		}
	}
	return 0, false, nil
}
