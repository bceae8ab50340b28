package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tillwire/deploy"
)

// have looks for a program of a Debian package; in CI it must be there.
func have(t *testing.T, program, from string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing; install %s", program, from)
		}
		t.Skipf("%s is not here; `make deps` installs %s", program, from)
	}
	return path
}

func TestAlertsAreSoundAndLeadSomewhere(t *testing.T) {
	promtool := have(t, "promtool", "prometheus")
	for _, args := range []string{
		"check config --syntax-only prometheus.yml", "check config --syntax-only ../container/prometheus.yml",
		"check rules alerts.yml", "test rules alerts_test.yml",
	} {
		cmd := exec.Command(promtool, strings.Fields(args)...)
		cmd.Dir = "monitoring"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args, err, out)
		}
	}
	alerts, err := os.ReadFile("monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	books := regexp.MustCompile(`runbook: "?OPERATIONS.md#([a-z_]+)\n`).FindAllSubmatch(alerts, -1)
	if rules := strings.Count(string(alerts), "- alert:"); len(books) != rules-1 { // one names its section by label
		t.Errorf("%d alerts, %d lead to a section", rules, len(books))
	}
	for _, m := range books {
		if !strings.Contains(string(deploy.Operations), "\n## "+string(m[1])+"\n") {
			t.Errorf("OPERATIONS.md has no section %s", m[1])
		}
	}
}

// dashboard is what we read of Grafana's JSON.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

// TestEveryQueryOfTheDashboardAnswers has a real Prometheus scrape a real
// aggregator and asks it every query, of the dashboard and of the alerts.
func TestEveryQueryOfTheDashboardAnswers(t *testing.T) {
	target, metrics := scraped(t)
	prom := prometheus(t, target)
	b, err := os.ReadFile("monitoring/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	known := strings.NewReplacer("$job", "tillwire", "$__rate_interval", "10s", "${source}", "p")
	asked := 0
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			asked++
			expr := known.Replace(q.Expr)
			for _, name := range names(expr) {
				if !slices.Contains(metrics, name) {
					t.Errorf("%s asks for %s, which the aggregator does not write", p.Title, name)
				}
			}
			if n, err := ask(prom, expr); err != nil || n == 0 {
				t.Errorf("%s: %d series (%v) for %s", p.Title, n, err, expr)
			}
		}
	}
	if asked < 20 {
		t.Errorf("only %d queries were found", asked)
	}
	alerts, err := os.ReadFile("monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names(string(alerts)) {
		if !slices.Contains(metrics, name) {
			t.Errorf("an alert asks for %s, which the aggregator does not write", name)
		}
	}
	for _, m := range regexp.MustCompile(`code=~"([a-z_|]+)"`).FindAllSubmatch(alerts, -1) {
		for code := range strings.SplitSeq(string(m[1]), "|") {
			if n, err := ask(prom, fmt.Sprintf(`tillwire_fleet_incidents{code=%q}`, code)); err != nil || n != 1 {
				t.Errorf("an alert waits for %s, which no incident is called (%v)", code, err)
			}
		}
	}
}

var metricName = regexp.MustCompile(`\b(?:tillwire|process|go)_[a-z0-9_]+`)

func names(text string) []string {
	found := metricName.FindAllString(text, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// scraped is a running aggregator with one store and a backup, and the names of
// its metrics.
func scraped(t *testing.T) (target string, metrics []string) {
	t.Helper()
	addr := serve(t, "[backup]\nto = "+strconv.Quote(t.TempDir())+"\nevery = \"1s\"\n[[stores]]\nstore = \"S1\"\nname = \"First\"\n")
	text := ""
	for end := time.Now().Add(30 * time.Second); !strings.Contains(text, "backup_last_success"); time.Sleep(50 * time.Millisecond) {
		if text = get(t, "http://"+addr+"/metrics"); time.Now().After(end) {
			t.Fatal("no copy was made")
		}
	}
	return addr, names(text)
}

// serve runs the real program, for the time of a test, with some configuration.
func serve(t *testing.T, conf string) (addr string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "aggregator.toml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	addr = freePort(t)
	cmd := exec.Command(program(t), "run", "--dev", "--config", file, "--data-dir", dir, "--http", addr, "--mqtt", "127.0.0.1:0")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the aggregator ended: %v: %s", err, log.Bytes())
		}
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if resp, err := (&http.Client{Timeout: time.Second}).Get("http://" + addr + "/readyz"); err == nil {
			_ = resp.Body.Close()
			return addr
		}
		if time.Now().After(end) {
			t.Fatal("the aggregator did not get ready")
		}
	}
}

func get(t *testing.T, u string) string {
	t.Helper()
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// prometheus starts one that scrapes target every second, and waits until it can
// tell a rate.
func prometheus(t *testing.T, target string) string {
	t.Helper()
	server := have(t, "prometheus", "prometheus")
	dir := t.TempDir()
	conf := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: tillwire\n    static_configs: [{targets: [%q]}]\n", target)
	if err := os.WriteFile(filepath.Join(dir, "p.yml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freePort(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(server, "--config.file="+filepath.Join(dir, "p.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = log.Close() })
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if n, err := ask("http://"+addr, `rate(process_cpu_seconds_total{job="tillwire"}[10s])`); err == nil && n == 1 {
			return "http://" + addr
		}
		if time.Now().After(end) {
			b, _ := os.ReadFile(log.Name())
			t.Fatalf("prometheus never told a rate:\n%s", b)
		}
	}
}

// ask returns how many series a query has.
func ask(prom, expr string) (int, error) {
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Get(prom + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var v struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return 0, err
	}
	if v.Status != "success" {
		return 0, fmt.Errorf("%s", v.Error)
	}
	return len(v.Data.Result), nil
}
