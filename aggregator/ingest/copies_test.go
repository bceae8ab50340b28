package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tillwire/protocol"
)

const minuteUS = 60_000_000

func heard(c *copies, boots string, everyUS int64) (why string, atUS int64) {
	for _, b := range strings.Fields(boots) {
		atUS += everyUS
		if b == "fork" {
			c.forkUS = atUS
			continue
		}
		c.hear(&protocol.Hello{BootID: b, InstallID: "i"}, atUS)
		if why = c.suspect(atUS); why != "" {
			return why, atUS
		}
	}
	return "", atUS
}

func TestWhoIsACopy(t *testing.T) {
	for _, k := range []struct {
		name, boots string
		every       int64
		why         string
	}{
		{"one process, many connections", "a a a a a a a a a", minuteUS / 6, ""},
		{"a crash loop", "a b c d e f g h i j k l", minuteUS / 6, ""},
		{"two that take turns", "a b a b a", minuteUS / 6, "3 times"},
		{"two returns are not enough", "a b a b", minuteUS / 6, ""},
		{"a late HELLO of the process before", "a b a", minuteUS / 6, ""},
		{"a late HELLO after a restart, and a fork", "a fork b a", minuteUS / 6, "differ"},
		{"rolled back once, one process", "a fork b b b b", minuteUS / 6, ""},
		{"turns an hour apart", "a b a b a b a b", 60 * minuteUS, ""},
		{"three that take turns", "a b c a b c", minuteUS / 6, "3 times"},
	} {
		if why, _ := heard(&copies{}, k.boots, k.every); (why == "") != (k.why == "") || !strings.Contains(why, k.why) {
			t.Errorf("%s: %q, want %q", k.name, why, k.why)
		}
	}
	c := &copies{}
	for n := range 1000 {
		c.hear(&protocol.Hello{BootID: fmt.Sprint(n % 20), Agent: strings.Repeat("v", 1000)}, int64(n))
	}
	if len(c.Seen) != copiesSeenMax || len(c.returns) > 1000 || len(c.Seen[0].Version) > protocol.NameBytesMax {
		t.Errorf("keeps %d processes, %d returns", len(c.Seen), len(c.returns))
	}
}

func TestPickOfCopies(t *testing.T) {
	c := &copies{}
	if err := c.pick("a", "ann", 1); !errors.Is(err, errNotQuarantined) {
		t.Error(err)
	}
	why, at := heard(c, "old a b a b a", minuteUS/6)
	c.quarantine(why, at)
	if err := c.pick("z", "ann", at); !errors.Is(err, errNoCopy) {
		t.Error(err)
	}
	if err := c.pick("a", "ann", at); err != nil {
		t.Fatal(err)
	}
	if err := c.pick("b", "bob", at); !errors.Is(err, errPicked) {
		t.Error(err)
	}
	for _, k := range []struct {
		boot         string
		old, resumes bool
		owns         bool
	}{
		{"a", true, true, true},
		{"b", true, true, false},
		{"b", true, false, false},
		{"c", false, false, false}, // unknown, another history: the other copy restarted
		{"c", false, true, true},   // continues the mark: the picked one restarted
		{"c", true, false, true},   // … and is held to that
		{"a", true, true, true},    // until the picked one itself is heard again
		{"c", true, true, false},
	} {
		if got := c.owns(k.boot, k.old, k.resumes); got != k.owns {
			t.Errorf("%+v: %v", k, got)
		}
	}
}
