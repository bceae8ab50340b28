package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// Outcomes adds up how well numbers and promises held.
type Outcomes func(ctx context.Context, f protocol.OutcomesFilter) (protocol.Outcomes, error)

// outcomes answers in JSON, or as a table for a spreadsheet.
func (a *API) outcomes(w http.ResponseWriter, r *http.Request) error {
	f, table, err := outcomesFilter(r)
	if err != nil {
		return err
	}
	out, err := a.o.Outcomes(r.Context(), f)
	if err != nil {
		return err
	}
	if !table {
		return reply(w, http.StatusOK, &out)
	}
	b := outcomesTable(&out)
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="tillwire-outcomes-`+a.o.Now().UTC().Format("20060102")+`.csv"`)
	h["Cache-Control"] = noStore
	h.Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b) //nolint:gosec // under its own type, and cells are neutralised; an error means that the caller is gone
	return nil
}

func outcomesFilter(r *http.Request) (f protocol.OutcomesFilter, table bool, err error) {
	f.Group = []string{protocol.ByWeek}
	table = wantsTable(r.Header.Get("Accept"))
	for name, values := range r.URL.Query() {
		v := values[0]
		switch name {
		case "from":
			f.From, err = dayOf("/from", v)
		case "to":
			if f.To, err = dayOf("/to", v); err == nil {
				f.To = f.To.AddDate(0, 0, 1) // the day itself is meant too
			}
		case "store":
			f.Store = protocol.StoreID(v)
		case "channel":
			f.Channel = v
		case "group":
			f.Group, err = groupsOf(v)
		case "format":
			if v != "csv" && v != "json" {
				err = invalid("/format", fmt.Sprintf("is %.40q", v), "use json or csv")
			}
			table = v == "csv"
		default:
			err = invalid("/"+name, "is not a parameter here", "use from, to, store, channel, group or format")
		}
		if err != nil {
			return f, false, err
		}
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		return f, false, invalid("/to", "lies before from", "give from and to as days, the earlier one first")
	}
	return f, table, nil
}

func groupsOf(v string) ([]string, error) {
	groups := []string{}
	for g := range strings.SplitSeq(v, ",") {
		switch {
		case v == "":
		case g != protocol.ByWeek && g != protocol.ByStore && g != protocol.ByChannel:
			return nil, invalid("/group", fmt.Sprintf("names %.40q", g), "use week, store or channel, or several joined by commas; empty is one row")
		case !slices.Contains(groups, g):
			groups = append(groups, g)
		}
	}
	return groups, nil
}

func dayOf(pointer, v string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, v)
	if err != nil {
		return t, invalid(pointer, fmt.Sprintf("is %.40q", v), "write a day as YYYY-MM-DD; the weeks that hold it are taken whole")
	}
	return t, nil
}

// wantsTable tells whether a caller asks for CSV and not for JSON too.
func wantsTable(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		switch kind, _, _ := mime.ParseMediaType(part); kind {
		case "text/csv":
			return true
		case "application/json":
			return false
		}
	}
	return false
}

var outcomesHead = []string{
	"week", "store", "channel", "count_lines", "differing", "discrepancy_rate", "unexplained", "opened",
	"oversells", "promises_at_risk", "promises_moved", "below_zero", "escrow_breaches", "manual_reconciliations",
	"sync_documents", "sync_p50_ms", "sync_p95_ms", "sync_p99_ms", "sync_max_ms",
	"kept", "short", "rejected", "moved", "cancelled", "fulfilment_accuracy",
}

func outcomesTable(out *protocol.Outcomes) []byte {
	var b bytes.Buffer
	c := csv.NewWriter(&b)
	c.UseCRLF = true
	_ = c.Write(outcomesHead) // a buffer takes all
	for i := range out.Rows {
		o := &out.Rows[i]
		d, s, w, k := &o.Discrepancy, &o.Oversells, &o.SyncWindow, &o.Fulfilment
		_ = c.Write([]string{
			o.Week, harmless(string(o.Store)), harmless(o.Channel), digits(d.Lines), digits(d.Differing), share(d.Rate), d.Unexplained.String(), digits(d.Opened),
			digits(s.Total), digits(s.AtRisk), digits(s.Moved), digits(s.BelowZero), digits(s.EscrowUsed), digits(o.Reconciliations),
			digits(w.Documents), known(w.P50MS), known(w.P95MS), known(w.P99MS), known(w.MaxMS),
			digits(k.Kept), digits(k.Short), digits(k.Rejected), digits(k.Moved), digits(k.Cancelled), share(k.Accuracy),
		})
	}
	c.Flush()
	return b.Bytes()
}

func digits(n int64) string { return strconv.FormatInt(n, 10) }

func known(n *int64) string {
	if n == nil {
		return ""
	}
	return digits(*n)
}

func share(r *float64) string {
	if r == nil {
		return ""
	}
	return strconv.FormatFloat(*r, 'f', 6, 64)
}

// harmless neutralises what a spreadsheet would run as a formula (CWE-1236).
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n|", rune(s[0])) {
		return "'" + s
	}
	return s
}
