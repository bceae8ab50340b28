package marketplace

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// Kinds of marketplace.
const (
	KindListings    = "amazon-listings"
	KindFulfillment = "amazon-external-fulfillment"
)

// offer is one number to be told.
type offer struct {
	key      string
	sku      string // the partner's
	place    string // the partner's, of KindFulfillment
	quantity int64
	seq      int64
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	body         any
}

// said is what an answer says of one offer.
type said struct {
	verdict gateway.Verdict
	reason  string // of what is not accepted
	id      string // the partner's, of what is
}

// dialect is one operation's language.
type dialect struct {
	operation string
	limit     gateway.Limit
	shape     gateway.Shape
	write     func(c *Config, offers []offer) call
	read      func(status int, body []byte, offers []offer) ([]said, error)
}

// dialects by kind. Rates are those that Amazon publishes; where it publishes none,
// what its usual plan is.
var dialects = map[string]*dialect{
	KindListings: {
		operation: "patchListingsItem", limit: gateway.Limit{Rate: 5, Burst: 5, BatchMax: 1},
		shape: gateway.Shape{
			Known:    []string{"/sku", "/status", "/submissionId", "/issues/**", "/identifiers/**"},
			Required: []string{"/sku", "/status", "/submissionId"},
		},
		write: writeListing, read: readListing,
	},
	KindFulfillment: {
		operation: "batchInventory", limit: gateway.Limit{Rate: 2, Burst: 2, BatchMax: batchMax},
		shape: gateway.Shape{
			Known: []string{
				"/responses/*/status/statusCode", "/responses/*/status/reasonPhrase", "/responses/*/body/skuId", "/responses/*/body/locationId",
				"/responses/*/body/sellableQuantity", "/responses/*/body/reservedQuantity", "/responses/*/body/clientSequenceNumber",
				"/responses/*/body/marketplaceAttributes/marketplaceId", "/responses/*/body/marketplaceAttributes/channelName",
				"/responses/*/body/actionableErrors/*/errorType", "/responses/*/body/actionableErrors/*/errorSubType",
			},
			Required: []string{"/responses/*/status", "/responses/*/body"},
		},
		write: writeInventory, read: readInventory,
	},
}

func writeListing(c *Config, offers []offer) call {
	o := offers[0]
	type patch struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value []any  `json:"value"`
	}
	return call{
		method: http.MethodPatch, path: "/listings/2021-08-01/items/" + url.PathEscape(c.Account) + "/" + url.PathEscape(o.sku),
		query: url.Values{"marketplaceIds": {c.Marketplace}, "includedData": {"issues"}},
		body: map[string]any{"productType": c.ProductType, "patches": []patch{{
			Op: "replace", Path: "/attributes/fulfillment_availability",
			Value: []any{map[string]any{"fulfillment_channel_code": "DEFAULT", "quantity": o.quantity}},
		}}},
	}
}

func readListing(_ int, body []byte, offers []offer) ([]said, error) {
	var r struct {
		Status       string `json:"status"`
		SubmissionID string `json:"submissionId"`
		Issues       []struct {
			Code     string `json:"code"`
			Message  string `json:"message"`
			Severity string `json:"severity"`
		} `json:"issues"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if r.Status == "ACCEPTED" || r.Status == "VALID" {
		return []said{{verdict: gateway.Accepted, id: r.SubmissionID}}, nil
	}
	words := []string{"status " + r.Status}
	for _, i := range r.Issues {
		words = append(words, i.Severity+" "+i.Code+": "+i.Message)
	}
	return []said{{verdict: gateway.Refused, reason: strings.Join(words, "; ")}}, nil
}

func writeInventory(c *Config, offers []offer) call {
	type request struct {
		Method string         `json:"method"`
		URI    string         `json:"uri"`
		Body   map[string]any `json:"body"`
	}
	list := make([]request, len(offers))
	for i, o := range offers {
		list[i] = request{
			Method: http.MethodPost,
			URI:    "/inventory/update?" + url.Values{"locationId": {o.place}, "skuId": {o.sku}}.Encode(),
			Body: map[string]any{
				"quantity": o.quantity, "clientSequenceNumber": o.seq,
				"marketplaceAttributes": map[string]any{"marketplaceId": c.Marketplace, "channelName": "MFN"},
			},
		}
	}
	return call{method: http.MethodPost, path: "/externalFulfillment/inventory/2024-09-11/inventories", body: map[string]any{"requests": list}}
}

// readInventory reads a 207: each response stands at its request's place.
func readInventory(_ int, body []byte, offers []offer) ([]said, error) {
	var r struct {
		Responses []struct {
			Status struct {
				Code   int    `json:"statusCode"`
				Reason string `json:"reasonPhrase"`
			} `json:"status"`
			Body struct {
				SKU    string `json:"skuId"`
				Errors []struct {
					Type    string `json:"errorType"`
					SubType string `json:"errorSubType"`
				} `json:"actionableErrors"`
			} `json:"body"`
		} `json:"responses"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	out := make([]said, len(offers))
	for i := range offers {
		if i >= len(r.Responses) {
			out[i] = said{reason: "the answer does not speak of it"}
			continue
		}
		x := &r.Responses[i]
		if x.Body.SKU != "" && x.Body.SKU != offers[i].sku {
			out[i] = said{reason: fmt.Sprintf("the answer at its place speaks of %q", x.Body.SKU)}
			continue
		}
		words := []string{fmt.Sprintf("%d %s", x.Status.Code, x.Status.Reason)}
		for _, e := range x.Body.Errors {
			words = append(words, e.Type+": "+e.SubType)
		}
		out[i] = said{verdict: verdictOf(x.Status.Code), reason: strings.Join(words, "; ")}
	}
	return out, nil
}

// verdictOf a status of one offer.
func verdictOf(status int) gateway.Verdict {
	switch {
	case status >= 200 && status < 300:
		return gateway.Accepted
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusUnauthorized,
		status == http.StatusForbidden, status < 400, status >= 500:
		return gateway.Again
	}
	return gateway.Refused
}

// units is what a marketplace that counts whole pieces may sell.
func units(q protocol.Quantity) int64 { return int64(max(q, 0)) / 1000 }
