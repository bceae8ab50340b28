package aggregator_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tillwire/aggregator"
)

const (
	routeBackups = "GET /v1/backups"
	routeBackup  = "POST /v1/backups"
	routeStores  = "GET /v1/stores"
)

// TestBackupsByContract walks the calls: none configured, a folder, a failure and
// its incident, a restore and its incident.
func TestBackupsByContract(t *testing.T) {
	r := start(t, true)
	if a := r.do(routeBackups, "/v1/backups", ""); a.field(t, "safe_covered_by") != "none" || a.header.Get("Tillwire-Generation") != "1" {
		t.Errorf("none configured: %s", a.body)
	}
	if a := r.do(routeStores, "/v1/stores", ""); a.field(t, "safe_covered_by") != "none" || len(a.field(t, "incidents").([]any)) != 0 {
		t.Errorf("stores: %s", a.body)
	}
	r.refused("nowhere", r.do(routeBackup, "/v1/backups", `{}`), 409, "backup_failed", "")
	r.refused("relative", r.do(routeBackup, "/v1/backups", `{"to":"x"}`), 422, "invalid_field", "")
	if m := r.do("GET /metrics", "/metrics", ""); !strings.Contains(string(m.body), `tillwire_safe_covered_by{source="none"} 1`) || !strings.Contains(string(m.body), "tillwire_cloud_generation 1\n") {
		t.Error("metrics say nothing of safe")
	}
	r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "A", 5)+`]}`)
	folder := t.TempDir()
	if a := r.do(routeBackup, "/v1/backups", fmt.Sprintf(`{"to":%q}`, folder)); a.status != 201 || a.field(t, "head") != 1.0 {
		t.Errorf("a copy to elsewhere: %s", a.body)
	}
	r.stop()
	r.cfg.Backup.To, r.cfg.Backup.Every = folder, aggregator.Duration(time.Hour)
	r.open()
	if a := r.do(routeBackup, "/v1/backups", `{}`); a.status != 201 || a.field(t, "agents") != 1.0 {
		t.Fatalf("a copy that counts: %s", a.body)
	}
	if a := r.do(routeBackups, "/v1/backups", ""); a.field(t, "safe_covered_by") != "backup" || a.field(t, "last", "head") != 1.0 || a.field(t, "last", "rehearsed_at") == nil || a.field(t, "overdue") != false {
		t.Errorf("status: %s", a.body)
	}
	if m := r.do("GET /metrics", "/metrics", ""); !strings.Contains(string(m.body), "tillwire_backup_last_position 1\n") || !strings.Contains(string(m.body), "tillwire_backup_overdue 0\n") {
		t.Error("metrics say nothing of the copy")
	}
	away := folder + ".away"
	if err := os.Rename(folder, away); err != nil {
		t.Fatal(err)
	}
	r.refused("gone", r.do(routeBackup, "/v1/backups", `{}`), 409, "backup_failed", "")
	r.incident("backup_failed", "is it mounted?")
	if err := os.Rename(away, folder); err != nil {
		t.Fatal(err)
	}
	r.do(routeBackup, "/v1/backups", `{}`)
	r.incident("", "")
	r.restored(folder)
}

// incident waits until the chain has this one open, or none.
func (r *running) incident(code, words string) {
	r.t.Helper()
	var got string
	for range 100 {
		a := r.do(routeStores, "/v1/stores", "")
		list := a.field(r.t, "incidents").([]any)
		if code == "" && len(list) == 0 {
			return
		}
		for _, x := range list {
			in := x.(map[string]any)
			if in["code"] == code && strings.Contains(in["summary"].(string), words) {
				return
			}
		}
		got = string(a.body)
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Errorf("incident %q (%s) is not as expected: %s", code, words, got)
}

// restored loses what came after the copy, and says so.
func (r *running) restored(folder string) {
	t := r.t
	t.Helper()
	reserve := `{"reservation_id":"w1","channel":"web","ttl_s":900,"lines":[{"sku":"A","quantity":1,"location":"DC1"}]}`
	tok := r.do("POST /v1/reservations", "/v1/reservations", reserve).field(t, "token").(string)
	if a := r.do(routeAvail, "/v1/availability/A?after="+tok, ""); a.status != 200 || a.field(t, "totals", "reserved") != 1.0 {
		t.Fatalf("read your write: %s", a.body)
	}
	r.stop()
	var out strings.Builder
	if err := aggregator.RestoreBackup(context.Background(), r.cfg, folder, "", &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"generation is 2 now", "wms of DC1 up to ", "delete it when you are sure", "rebuilding"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the restore does not say %q:\n%s", want, out.String())
		}
	}
	if old, _ := filepath.Glob(filepath.Join(r.cfg.DataDir, "ledger.db.before-restore-*")); len(old) != 1 {
		t.Errorf("aside: %v", old)
	}
	r.open()
	a := r.do(routeAvail, "/v1/availability/A", "")
	if a.header.Get("Tillwire-Generation") != "2" || a.field(t, "totals", "reserved") != 0.0 || a.field(t, "totals", "on_hand") != 5.0 {
		t.Errorf("restored: %s", a.body)
	}
	r.refused("a token of before", r.do(routeAvail, "/v1/availability/A?after="+tok, ""), 409, "token_outdated", "")
	r.incident("cloud_restored", "wms of DC1 up to ")
	if a := r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "A", 5)+","+receipt("r2", "A", 2)+`]}`); strings.Count(string(a.body), `"accepted"`) != 1 {
		t.Errorf("sent again: %s", a.body)
	}
	if got := r.do("GET /v1/reservations/{id}", "/v1/reservations/w1", ""); got.status != 404 {
		t.Errorf("a reservation that nobody knows: %s", got.body)
	}
}
