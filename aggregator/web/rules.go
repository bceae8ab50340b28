package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// Pages of what is held back from sale, and of the item master.

type policiesData struct {
	*listing
	List []policyRow
}

type policyRow struct {
	protocol.Policy
	Scope  string
	Says   []string
	Active string // now, from …, over
}

// scopeWords say which positions a policy is about.
func scopeWords(s protocol.PolicyScope) string {
	var out []string
	for _, x := range []struct{ what, name string }{
		{"SKU", string(s.SKU)}, {"category", s.Category}, {"at", string(s.Location)}, {"in", s.Group}, {"for channel", s.Channel},
	} {
		if x.name != "" {
			out = append(out, x.what+" "+x.name)
		}
	}
	if len(out) == 0 {
		return "everything, everywhere"
	}
	return strings.Join(out, ", ")
}

func valueWords(v protocol.PolicyValues) (out []string) {
	for _, q := range []struct {
		name string
		v    *protocol.Quantity
	}{{"safety stock", v.SafetyStock}, {"threshold", v.Threshold}, {"fence", v.Fence}, {"low at", v.LowAt}, {"escrow", v.Escrow}} {
		if q.v != nil {
			out = append(out, q.name+" "+q.v.String())
		}
	}
	if v.ServiceLevel != nil {
		out = append(out, fmt.Sprintf("service level %g", *v.ServiceLevel))
	}
	if v.DarkAfterS != nil {
		out = append(out, "dark after "+ago(*v.DarkAfterS))
	}
	if v.Sourcing != nil {
		out = append(out, "sourcing "+*v.Sourcing)
	}
	if v.OnConflict != nil {
		out = append(out, "on conflict "+*v.OnConflict)
	}
	return out
}

func (w *Web) policyRow(p *protocol.Policy) policyRow {
	row := policyRow{Policy: *p, Scope: scopeWords(p.Scope), Says: valueWords(p.Values), Active: "in force"}
	switch now := w.now(); {
	case p.Deleted:
		row.Active = "deleted"
	case p.ValidFrom != nil && now.Before(*p.ValidFrom):
		row.Active = "not yet"
	case p.ValidTo != nil && !now.Before(*p.ValidTo):
		row.Active = "over"
	}
	return row
}

func (w *Web) policiesPage(rw http.ResponseWriter, r *http.Request) error {
	d := &policiesData{listing: w.listing(r, "/policies")}
	d.CSV = ""
	list, err := w.opts.Policies.ListPolicies(r.Context())
	if err != nil {
		return err
	}
	q := strings.ToLower(d.field("q", "Find", "shoes"))
	for i := range list {
		row := w.policyRow(&list[i])
		if q == "" || strings.Contains(strings.ToLower(row.PolicyID+" "+row.Scope+" "+strings.Join(row.Says, " ")+" "+row.Note), q) {
			d.List = append(d.List, row)
		}
	}
	return w.show(rw, r, "policies", "Policies", d)
}

type policyData struct {
	*listing
	policyRow
	Versions []policyRow
}

func (w *Web) policyPage(rw http.ResponseWriter, r *http.Request) error {
	list, err := w.opts.Policies.PolicyHistory(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return notFound("There is no policy of this name.")
	}
	d := &policyData{listing: w.listing(r, r.URL.Path), policyRow: w.policyRow(&list[0])}
	for i := range list {
		d.Versions = append(d.Versions, w.policyRow(&list[i]))
	}
	return w.show(rw, r, "policy", list[0].PolicyID, d)
}

// putPolicy builds the API's own document of a form, so that both are judged alike.
func (w *Web) putPolicy(rw http.ResponseWriter, r *http.Request) error {
	form := map[string]string{}
	if err := json.NewDecoder(r.Body).Decode(&form); err != nil {
		return badRequest("The body must be JSON: keys and values.")
	}
	doc := map[string]any{"policy_id": strings.TrimSpace(form["policy_id"])}
	scope, values := map[string]any{}, map[string]any{}
	for _, k := range []string{"sku", "category", "location", "group", "channel"} {
		if v := strings.TrimSpace(form[k]); v != "" {
			scope[k] = v
		}
	}
	for _, k := range []string{"safety_stock", "threshold", "fence", "low_at", "service_level", "escrow", "dark_after_s"} {
		if v := strings.TrimSpace(form[k]); v != "" {
			if _, err := strconv.ParseFloat(v, 64); err != nil {
				return badRequest(strings.ReplaceAll(k, "_", " ") + " is not a number; leave it empty to say nothing of it.")
			}
			values[k] = json.Number(v)
		}
	}
	for _, k := range []string{"sourcing", "on_conflict"} {
		if v := form[k]; v != "" {
			values[k] = v
		}
	}
	for _, k := range []string{"valid_from", "valid_to"} {
		v := strings.TrimSpace(form[k])
		if v == "" {
			continue
		}
		t, err := time.ParseInLocation("2006-01-02T15:04", v, time.UTC)
		if err != nil {
			return badRequest(strings.ReplaceAll(k, "_", " ") + " is not a moment.")
		}
		doc[k] = t.Format(time.RFC3339)
	}
	if v := strings.TrimSpace(form["note"]); v != "" {
		doc["note"] = v
	}
	doc["scope"], doc["values"] = scope, values
	raw, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	p, bad := protocol.DecodePolicy(raw)
	if bad != nil {
		return w.decided("policy", bad)
	}
	stored, err := w.opts.Policies.PutPolicy(context.WithoutCancel(r.Context()), p, who(r))
	if err != nil {
		return w.decided("policy", err)
	}
	return done(rw, r, fmt.Sprintf("%s is in its version %d.", stored.PolicyID, stored.Version))
}

func (w *Web) deletePolicy(rw http.ResponseWriter, r *http.Request) error {
	if _, err := noted(r); err != nil {
		return err
	}
	if _, err := w.opts.Policies.DeletePolicy(context.WithoutCancel(r.Context()), r.PathValue("id"), who(r)); err != nil {
		return w.decided("policy", err)
	}
	return done(rw, r, r.PathValue("id")+" is no longer in force.")
}

type itemsData struct {
	*listing
	List []protocol.Item
}

func (w *Web) itemsPage(rw http.ResponseWriter, r *http.Request) error {
	d := &itemsData{listing: w.listing(r, "/items")}
	d.CSV = ""
	from := d.query.Get("after")
	if q := d.field("from", "From SKU", "0400"); q != "" && from == "" {
		from = before(q)
	}
	list := w.opts.Items(protocol.SKU(from), rowsPerPage+1)
	d.List = page(d.listing, list, rowsPerPage, func(x *protocol.Item) string { return string(x.SKU) })
	return w.show(rw, r, "items", "Items", d)
}

// before is a text that sorts right before q and all that begins with it.
func before(q string) string {
	b := []byte(q)
	if b[len(b)-1] == 0 {
		return string(b[:len(b)-1])
	}
	b[len(b)-1]--
	return string(b) + "\u007f"
}

type itemData struct {
	*listing
	protocol.Item
	Versions []protocol.Item
	Shown    string
}

func (w *Web) itemPage(rw http.ResponseWriter, r *http.Request) error {
	sku, err := protocol.NormalizeSKU(r.PathValue("sku"))
	if err != nil {
		sku = protocol.SKU(r.PathValue("sku"))
	}
	list := w.opts.Item(sku)
	if len(list) == 0 {
		return notFound("The item master does not have this SKU. It moves all the same; it is put there where it has units or is a kit.")
	}
	raw, err := json.MarshalIndent(&list[0], "", "  ")
	if err != nil {
		return err
	}
	return w.show(rw, r, "item", string(sku), &itemData{w.listing(r, r.URL.Path), list[0], list, string(raw)})
}

// policyForm is a policy as its form shows it; an empty one is a new policy.
type policyForm struct {
	protocol.Policy
	Values             []pair
	Sourcing, Conflict string
	From, To           string
}

// pair is a field's name and value.
type pair struct{ Name, Value string }

func makePolicyForm(p ...protocol.Policy) policyForm {
	var f policyForm
	if len(p) > 0 {
		f.Policy = p[0]
	}
	v := &f.Policy.Values
	for _, q := range []struct {
		name string
		v    *protocol.Quantity
	}{{"safety_stock", v.SafetyStock}, {"threshold", v.Threshold}, {"fence", v.Fence}, {"low_at", v.LowAt}, {"escrow", v.Escrow}} {
		x := pair{Name: q.name}
		if q.v != nil {
			x.Value = q.v.String()
		}
		f.Values = append(f.Values, x)
	}
	level, dark := pair{Name: "service_level"}, pair{Name: "dark_after_s"}
	if v.ServiceLevel != nil {
		level.Value = strconv.FormatFloat(*v.ServiceLevel, 'f', -1, 64)
	}
	if v.DarkAfterS != nil {
		dark.Value = strconv.FormatInt(*v.DarkAfterS, 10)
	}
	f.Values = append(f.Values, level, dark)
	if v.Sourcing != nil {
		f.Sourcing = *v.Sourcing
	}
	if v.OnConflict != nil {
		f.Conflict = *v.OnConflict
	}
	local := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.UTC().Format("2006-01-02T15:04")
	}
	f.From, f.To = local(f.ValidFrom), local(f.ValidTo)
	return f
}
