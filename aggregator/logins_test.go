package aggregator

import (
	"fmt"
	"testing"
	"time"
)

// Whoever tries names by the thousand gets a bounded place in the trail.
func TestRefusedLoginsAreToldOnceAndSummedUp(t *testing.T) {
	var l refusedLogins
	at := time.Date(2026, 3, 31, 9, 0, 0, 0, time.UTC)
	told := 0
	for n := range 5000 {
		if l.add(at.Add(time.Duration(n)*time.Millisecond), "somebody unknown", fmt.Sprintf("10.0.%d.%d", n/250, n%250)) {
			told++
		}
	}
	if told != loginsTold || len(l.froms) > loginsRemember {
		t.Errorf("%d are told one by one, %d addresses are kept", told, len(l.froms))
	}
	if l.add(at, "ann", "10.0.0.1") {
		t.Error("more than the window's share is told")
	}
	if s := l.sum(at.Add(59 * time.Minute)); s != "" {
		t.Error("summed up before the hour is over:", s)
	}
	if s, want := l.sum(at.Add(time.Hour)), "4981 more since 09:00 UTC, from 1000 addresses or more"; s != want {
		t.Errorf("summed up as %q, want %q", s, want)
	}
	at = at.Add(2 * time.Hour)
	if !l.add(at, "ann", "10.0.0.1") || l.add(at, "ann", "10.0.0.1") {
		t.Error("in a new window the first is not told, or the second is")
	}
	if s, want := l.sum(at.Add(time.Hour)), "1 more since 11:00 UTC, from 1 address"; s != want {
		t.Errorf("summed up as %q, want %q", s, want)
	}
	if s := l.sum(at.Add(3 * time.Hour)); s != "" {
		t.Error("nothing is summed up as", s)
	}
}

func TestATokenInAnAddressIsNotKept(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.example/x?token=1": "https://a.example/x", "https://u:p@a.example/x": "https://a.example/x", "https://a.example/@x": "https://a.example/@x", "nonsense?x": "nonsense",
	} {
		if got := withoutQuery(in); got != want {
			t.Errorf("%s is kept as %s", in, got)
		}
	}
}
