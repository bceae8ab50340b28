package aggregator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const hookSecret = "whsec_dGlsbHdpcmUtdGVzdHMtaGF2ZS1hLXNlY3JldA=="

// vendure is a real shop in a process of its own.
type vendure struct {
	t      *testing.T
	url    string
	admin  string // tokens
	shop   string
	hooks  atomic.Int64
	target atomic.Pointer[string] // where hooks go
}

// installVendure puts the shop's packages into the repository's .data folder, once. It
// skips where there is no npm, or no registry: with CI=true that is a failure.
func installVendure(t *testing.T) (dir string) {
	t.Helper()
	skip := func(format string, args ...any) {
		t.Helper()
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI=true: "+format, args...)
		}
		t.Skipf("no real Vendure: "+format, args...)
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			skip("%s is not here; `make deps` installs it", tool)
		}
	}
	dir, err := filepath.Abs(filepath.Join("..", ".data", "peers", "vendure"))
	if err != nil {
		t.Fatal(err)
	}
	if at := os.Getenv("TILLWIRE_VENDURE"); at != "" {
		dir = at
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"package.json", "server.js"} {
		b, err := os.ReadFile(filepath.Join("channel", "vendure", "testdata", "peer", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".complete")); err == nil {
		return dir
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
	cmd.Dir, cmd.Env = dir, os.Environ()
	if _, err := os.Stat("/usr/include/node/node.h"); err == nil { // what is compiled needs no download then
		cmd.Env = append(cmd.Env, "npm_config_nodedir=/usr")
	}
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		skip("npm install: %v\n%.2000s", err, out)
	}
	t.Logf("installed in %s", time.Since(began).Round(time.Second))
	if err := os.WriteFile(filepath.Join(dir, "node_modules", ".complete"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startVendure runs a shop of its own, empty.
func startVendure(t *testing.T) *vendure {
	t.Helper()
	dir := installVendure(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	v := &vendure{t: t, url: fmt.Sprintf("http://127.0.0.1:%d/", port)}
	relay := httptest.NewServer(http.HandlerFunc(v.relay))
	t.Cleanup(relay.Close)
	cmd := exec.Command("node", "server.js")
	var log bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.Env = append(os.Environ(), fmt.Sprintf("PORT=%d", port), "DATA_DIR="+t.TempDir(), "HOOK_URL="+relay.URL, "HOOK_SECRET="+hookSecret, "VENDURE_DISABLE_TELEMETRY=true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("vendure: %.3000s", log.Bytes())
		}
	})
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, err := http.Get(v.url + "shop-api"); err == nil {
			_ = resp.Body.Close()
			return v
		}
		if time.Now().After(end) {
			t.Fatal("vendure does not answer")
		}
	}
}

// relay passes hooks on, signatures and all.
func (v *vendure) relay(w http.ResponseWriter, r *http.Request) {
	v.hooks.Add(1)
	to := v.target.Load()
	if to == nil {
		return
	}
	req, _ := http.NewRequestWithContext(r.Context(), http.MethodPost, *to, r.Body)
	req.Header = r.Header.Clone()
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
	}
}

// ask sends GraphQL to an API and gives what stands at a path of the answer.
func (v *vendure) ask(token *string, api, query string, vars map[string]any, path ...string) any {
	v.t.Helper()
	b, _ := json.Marshal(map[string]any{"query": query, "variables": vars})
	req, _ := http.NewRequest(http.MethodPost, v.url+api, bytes.NewReader(b))
	req.Header.Set("Content-Type", "application/json")
	if *token != "" {
		req.Header.Set("Authorization", "Bearer "+*token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	if fresh := resp.Header.Get("Vendure-Auth-Token"); fresh != "" {
		*token = fresh
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil || m["errors"] != nil || strings.Contains(string(text), `"errorCode"`) {
		v.t.Fatalf("%s: %.800s", query, text)
	}
	at := m["data"]
	for _, p := range path {
		switch x := at.(type) {
		case map[string]any:
			at = x[p]
		case []any:
			at = x[0].(map[string]any)[p]
		}
	}
	return at
}

func (v *vendure) asAdmin(query string, vars map[string]any, path ...string) any {
	v.t.Helper()
	return v.ask(&v.admin, "admin-api", query, vars, path...)
}

func (v *vendure) asShopper(query string, vars map[string]any, path ...string) any {
	v.t.Helper()
	return v.ask(&v.shop, "shop-api", query, vars, path...)
}

// furnish makes a shop that can sell: a country, a tax, a way to pay and to ship, two
// stock locations, and articles.
func (v *vendure) furnish(skus ...string) (variants map[string]string) {
	v.t.Helper()
	v.asAdmin(`mutation{login(username:"superadmin",password:"superadmin"){__typename}}`, nil)
	in := func(call, kind string, i any) string {
		v.t.Helper()
		return v.asAdmin("mutation($i:"+kind+"!){"+call+"(input:$i){id}}", map[string]any{"i": i}, call, "id").(string)
	}
	type m = map[string]any
	text := func(name string) []m { return []m{{"languageCode": "en", "name": name, "description": ""}} }
	country := in("createCountry", "CreateCountryInput", m{"code": "GB", "enabled": true, "translations": []m{{"languageCode": "en", "name": "UK"}}})
	zone := in("createZone", "CreateZoneInput", m{"name": "UK", "memberIds": []string{country}})
	tax := in("createTaxCategory", "CreateTaxCategoryInput", m{"name": "std", "isDefault": true})
	in("createTaxRate", "CreateTaxRateInput", m{"name": "std", "enabled": true, "value": 20, "categoryId": tax, "zoneId": zone})
	channel := v.asAdmin(`{activeChannel{id}}`, nil, "activeChannel", "id")
	v.asAdmin(`mutation($i:UpdateChannelInput!){updateChannel(input:$i){__typename ... on Channel{id}}}`, m{"i": m{"id": channel, "defaultTaxZoneId": zone, "defaultShippingZoneId": zone, "trackInventory": true}})
	in("createPaymentMethod", "CreatePaymentMethodInput", m{
		"code": "dummy", "enabled": true, "translations": text("dummy"),
		"handler": m{"code": "dummy-payment-handler", "arguments": []m{{"name": "automaticSettle", "value": "true"}}},
	})
	in("createShippingMethod", "CreateShippingMethodInput", m{
		"code": "std", "fulfillmentHandler": "manual-fulfillment", "translations": text("std"),
		"checker":    m{"code": "default-shipping-eligibility-checker", "arguments": []m{{"name": "orderMinimum", "value": "0"}}},
		"calculator": m{"code": "default-shipping-calculator", "arguments": []m{{"name": "rate", "value": "0"}, {"name": "taxRate", "value": "20"}, {"name": "includesTax", "value": "auto"}}},
	})
	for _, name := range []string{"Warehouse", "Store 001"} {
		in("createStockLocation", "CreateStockLocationInput", m{"name": name})
	}
	variants = map[string]string{}
	for n, sku := range skus {
		product := in("createProduct", "CreateProductInput", m{"enabled": true, "translations": []m{{"languageCode": "en", "name": sku, "slug": fmt.Sprint("p", n), "description": ""}}})
		variants[sku] = v.asAdmin(`mutation($i:[CreateProductVariantInput!]!){createProductVariants(input:$i){id}}`, m{"i": []m{{
			"productId": product, "sku": sku, "price": 120, "trackInventory": "TRUE", "translations": []m{{"languageCode": "en", "name": sku}},
		}}}, "createProductVariants", "id").(string)
	}
	return variants
}

// onHand and allocated are what the shop shows at a stock location.
func (v *vendure) level(variant, location string) (onHand, allocated float64) {
	v.t.Helper()
	list, _ := v.asAdmin(`query($id:ID!){productVariant(id:$id){stockLevels{stockLocation{name} stockOnHand stockAllocated}}}`, map[string]any{"id": variant}, "productVariant", "stockLevels").([]any)
	for _, l := range list {
		if l := l.(map[string]any); l["stockLocation"].(map[string]any)["name"] == location {
			return l["stockOnHand"].(float64), l["stockAllocated"].(float64)
		}
	}
	return -1, -1
}

// order buys an article, and gives the order's id and code and the line's.
func (v *vendure) order(variant string, n int) (id, code, line string) {
	v.t.Helper()
	v.shop = ""
	const failed = `__typename ... on ErrorResult{errorCode message}`
	type m = map[string]any
	v.asShopper(`mutation($v:ID!,$n:Int!){addItemToOrder(productVariantId:$v,quantity:$n){`+failed+`}}`, m{"v": variant, "n": n})
	v.asShopper(`mutation{setCustomerForOrder(input:{emailAddress:"a@b.example",firstName:"A",lastName:"B"}){`+failed+`}}`, nil)
	v.asShopper(`mutation{setOrderShippingAddress(input:{streetLine1:"x",countryCode:"GB"}){`+failed+`}}`, nil)
	method := v.asShopper(`{eligibleShippingMethods{id}}`, nil, "eligibleShippingMethods", "id")
	v.asShopper(`mutation($m:[ID!]!){setOrderShippingMethod(shippingMethodId:$m){`+failed+`}}`, m{"m": []any{method}})
	v.asShopper(`mutation{transitionOrderToState(state:"ArrangingPayment"){`+failed+`}}`, nil)
	code = v.asShopper(`mutation{addPaymentToOrder(input:{method:"dummy",metadata:{}}){... on Order{code} ... on ErrorResult{errorCode message}}}`, nil, "addPaymentToOrder", "code").(string)
	at := v.asAdmin(`query($c:String!){orders(options:{filter:{code:{eq:$c}}}){items{id lines{id}}}}`, m{"c": code}, "orders", "items").([]any)[0].(map[string]any)
	return at["id"].(string), code, at["lines"].([]any)[0].(map[string]any)["id"].(string)
}

func (v *vendure) fulfil(line string, n int) {
	v.t.Helper()
	v.asAdmin(`mutation($i:FulfillOrderInput!){addFulfillmentToOrder(input:$i){__typename ... on Fulfillment{id} ... on ErrorResult{errorCode message}}}`, map[string]any{"i": map[string]any{
		"lines": []any{map[string]any{"orderLineId": line, "quantity": n}}, "handler": map[string]any{"code": "manual-fulfillment", "arguments": []any{map[string]any{"name": "method", "value": "x"}}},
	}})
}

func (v *vendure) cancel(order, line string, n int) {
	v.t.Helper()
	v.asAdmin(`mutation($i:CancelOrderInput!){cancelOrder(input:$i){__typename ... on ErrorResult{errorCode message}}}`, map[string]any{"i": map[string]any{
		"orderId": order, "lines": []any{map[string]any{"orderLineId": line, "quantity": n}}, "reason": "x",
	}})
}
