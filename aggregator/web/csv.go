package web

import (
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// cell neutralises what a spreadsheet would run as a formula (CWE-1236).
func cell(s string) string {
	if _, err := strconv.ParseFloat(s, 64); err == nil || s == "" {
		return s // a number, below zero too
	}
	if strings.ContainsRune("=+-@\t\r\n|", rune(s[0])) {
		return "'" + s
	}
	return s
}

func (w *Web) csv(rw http.ResponseWriter, name string, head []string, rows func(put func(...string))) error {
	h := rw.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="tillwire-`+name+"-"+w.now().UTC().Format("20060102-150405")+`.csv"`)
	c := csv.NewWriter(rw)
	c.UseCRLF = true
	_ = c.Write(head) // the reader is gone: nobody to tell
	rows(func(cells ...string) {
		for i := range cells {
			cells[i] = cell(cells[i])
		}
		_ = c.Write(cells)
	})
	c.Flush()
	return nil
}

func (w *Web) fleetCSV(rw http.ResponseWriter, r *http.Request) error {
	f, v := filterOf(r), w.view()
	keep := make(map[string]bool, len(v.Tiles))
	for i := range v.Tiles {
		t := makeTile(&v.Tiles[i], v.AtUS)
		keep[string(t.Store)] = f.match(&t)
	}
	head := []string{"store", "name", "region", "type", "presence", "lag_s", "backlog_events", "merged_seq", "head_seq", "safe_seq", "oldest_unacked_at", "last_pos_write_at", "clock_offset_ms", "incidents", "reason"}
	return w.csv(rw, "fleet", head, func(put func(...string)) {
		stores := w.opts.Fleet.Statuses()
		for i := range stores {
			s := &stores[i]
			if !keep[string(s.Store)] {
				continue
			}
			var codes []string
			for _, in := range s.Incidents {
				codes = append(codes, in.Code)
			}
			u := func(n uint64) string { return strconv.FormatUint(n, 10) }
			put(string(s.Store), s.Name, s.Region, s.Type, string(s.Presence), strconv.FormatFloat(s.LagS, 'f', 1, 64), u(s.BacklogEvents),
				u(s.MergedSeq), u(s.HeadSeq), u(s.SafeSeq), stamp(s.OldestUnackedAt), stamp(s.LastPOSWriteAt), strconv.FormatInt(s.ClockOffsetMS, 10),
				strings.Join(codes, " "), s.Reason)
		}
	})
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (w *Web) exceptionsCSV(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.exceptionsData(r, exceptionsCSVMax)
	if err != nil {
		return err
	}
	head := []string{"id", "state", "code", "reason", "store", "agent", "epoch", "seq", "event_id", "kind", "document_id", "at", "note", "decided_at"}
	return w.csv(rw, "exceptions", head, func(put func(...string)) {
		for i := range d.List {
			e := &d.List[i]
			kind := ""
			if e.Kind.Valid() {
				kind = e.Kind.String()
			}
			decided := ""
			if !e.DecidedAt.IsZero() {
				decided = e.DecidedAt.UTC().Format(time.RFC3339)
			}
			put(e.ID, e.State, e.Code, e.Reason, string(e.Origin.Store), string(e.Origin.Agent), strconv.FormatUint(e.Epoch, 10),
				strconv.FormatUint(e.Seq, 10), e.EventID.String(), kind, e.DocumentID, e.At.UTC().Format(time.RFC3339), e.Note, decided)
		}
	})
}

func (w *Web) availabilityCSV(rw http.ResponseWriter, r *http.Request) error {
	sku, err := protocol.NormalizeSKU(query(r, "sku"))
	if err != nil {
		sku = protocol.SKU(query(r, "sku"))
	}
	a, ok := w.opts.Availability(sku)
	if !ok {
		return notFound("Nothing is known of this SKU.")
	}
	head := []string{"sku", "location", "type", "available", "on_hand", "reserved", "allocated", "unavailable", "safety_stock", "risk_buffer", "in_transit", "as_of", "lag_s", "provisional"}
	return w.csv(rw, "availability", head, func(put func(...string)) {
		for i := range a.Locations {
			l := &a.Locations[i]
			put(string(a.SKU), string(l.Location), l.Type, l.Available.String(), l.OnHand.String(), l.Reserved.String(), l.Allocated.String(), l.Unavailable.String(),
				l.SafetyStock.String(), l.RiskBuffer.String(), l.InTransit.String(), stamp(&l.AsOf), strconv.FormatFloat(l.LagS, 'f', 1, 64), strconv.FormatBool(l.Provisional))
		}
	})
}
