package aggregator_test

import (
	"net/http"
	"strings"
	"testing"

	"tillwire/aggregator"
)

// What people decide about articles, receivers, releases, postings and promises is in
// the trail, done or refused; what channels do all day is not.
func TestDecisionsOutsideTheUIAreInTheTrail(t *testing.T) {
	r := start(t, false)
	keys := map[string]string{}
	for _, role := range []string{"admin", "ops", "channel", "feed"} {
		var err error
		if keys[role], err = aggregator.IssueKey(r.cfg, role, "a-"+role, 0); err != nil {
			t.Fatal(err)
		}
	}
	as := func(role, route, path, body string) answer {
		t.Helper()
		r.key = keys[role]
		return r.do(route, path, body, func(q *http.Request) {
			if body != "" {
				q.Header.Set("Content-Type", "application/json")
			}
		})
	}
	item := func(name string) string { return `{"sku":"04006381333931","name":"` + name + `"}` }
	for _, name := range []string{"Oat drink", "Oat drink", "Oat drink 1 l"} { // the second changes nothing
		as("feed", routePutItem, "/v1/items/04006381333931", item(name))
	}
	as("feed", routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "4006381333931", 5)+`]}`)
	for _, id := range []string{"w1", "w2"} {
		as("channel", "POST /v1/reservations", "/v1/reservations", `{"reservation_id":"`+id+`","channel":"web","lines":[{"sku":"04006381333931","quantity":1,"location":"DC1"}]}`)
	}
	as("channel", "DELETE /v1/reservations/{id}", "/v1/reservations/w1", "")
	as("ops", "DELETE /v1/reservations/{id}", "/v1/reservations/w2", "")
	sub := as("admin", routeSubscribe, "/v1/subscriptions", `{"url":"https://shop.example/hook?token=verysecret"}`).field(t, "id").(string)
	as("admin", routeUnsubscribe, "/v1/subscriptions/"+sub, "")
	as("admin", "PUT /v1/releases/rollout", "/v1/releases/rollout", `{"version":"9","percent":5,"stores":[],"regions":[],"paused":""}`)
	as("ops", "POST /v1/postings/{id}/retry", "/v1/postings/NONE000000000000/retry", "")

	r.key = keys["ops"]
	r.trail("", []string{
		"a-ops api posting.retry NONE000000000000 ", "a-admin api release.rollout 9 ", "a-admin api subscription.delete " + sub + " ", "a-admin api subscription.create " + sub + " ",
		"a-ops api reservation.release w2 ", "a-feed api item.put 04006381333931 ", "a-feed api item.put 04006381333931 ",
	})
	all := r.do("GET /v1/audit", "/v1/audit?limit=50", "")
	for _, want := range []string{`"Oat drink 1 l"`, "nothing_released", `https://shop.example/hook"`} {
		if !strings.Contains(string(all.body), want) {
			t.Errorf("the trail lacks %s: %s", want, all.body)
		}
	}
	if strings.Contains(string(all.body), "verysecret") {
		t.Error("the trail has the token of a receiver's address")
	}
}

// A guesser is in the trail, once for many tries, and not with what was typed.
func TestRefusedLoginsAreInTheTrail(t *testing.T) {
	r := start(t, false)
	v := r.visitor()
	for range 8 {
		if code := v.login("my secret password", "x"); code == http.StatusSeeOther {
			t.Fatal("let in")
		}
	}
	var err error
	if r.key, err = aggregator.IssueKey(r.cfg, "ops", "reader", 0); err != nil {
		t.Fatal(err)
	}
	got := r.do("GET /v1/audit", "/v1/audit?action=session", "")
	list := got.field(t, "entries").([]any)
	if len(list) != 1 || strings.Contains(string(got.body), "secret") {
		t.Fatalf("%d entries: %s", len(list), got.body)
	}
	if e := list[0].(map[string]any); e["who"] != "somebody unknown" || !strings.Contains(e["refused"].(string), "login_refused") {
		t.Error(e)
	}
}

// The pages of what goes in and out answer of a running aggregator.
func TestThePagesOfTheFlowAnswer(t *testing.T) {
	r := start(t, true)
	r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1-traced", "4006381333931", 5)+`]}`)
	v := r.visitor()
	for path, want := range map[string]string{
		"/postings": "No ERP is configured", "/channels": "Subscribe a receiver", "/releases": "Nothing is released", "/postings.csv": "post_day", "/channels.csv": "dead_letters", "/releases.csv": "rollout",
		"/outcomes": "kept", "/outcomes.csv": "discrepancy_rate", "/trace?id=r1-traced": "availability shows it from here on", "/trace?id=nowhere": "nowhere in the log", "/trace.csv?id=r1-traced": "journaled", "/ui/find?q=r1-traced": "/trace?id=r1-traced",
	} {
		if code, body := v.get(path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d without %q: %.400s", path, code, want, body)
		}
	}
}
