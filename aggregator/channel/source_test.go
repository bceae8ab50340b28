package channel

import "testing"

func TestHowFarAPartnerWasTold(t *testing.T) {
	at := Progress{Position: 10, Begun: true}
	for name, c := range map[string]struct {
		was             Progress
		reached, lowest uint64
		owed, lost      bool
		want            Progress
		moved           bool
	}{
		"nothing is owed":             {at, 20, 0, false, false, Progress{20, true}, true},
		"something is":                {at, 20, 14, true, false, Progress{14, true}, true},
		"keys had no room":            {at, 20, 14, true, true, at, false},
		"nothing new":                 {at, 10, 0, false, false, at, false},
		"nothing was marked yet":      {Progress{}, 0, 0, false, false, Progress{0, true}, false},
		"the first that a partner is": {Progress{}, 5, 0, false, false, Progress{5, true}, true},
	} {
		if got, moved := c.was.Next(c.reached, c.lowest, c.owed, c.lost); got != c.want || moved != c.moved {
			t.Errorf("%s: %+v %t, want %+v %t", name, got, moved, c.want, c.moved)
		}
	}
}
