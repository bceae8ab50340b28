package update

import (
	"slices"
	"time"

	"tillwire/protocol/release"
)

// The two places for programs. The installed one (package, MSI) is neither: it is
// never touched and always there to go back to.
const (
	slotA = "a"
	slotB = "b"
)

// state is what state.json holds.
//
//	           staged                    confirmed
//	Active ──────────────▶ Active + Trial ─────────▶ Active (was Trial)
//	   ▲                        │
//	   └────────────────────────┘ two starts without a proof, or ten minutes
//
// "" as Active is the installed program. Every step is one write of the file.
type state struct {
	Trust  release.Trust   `json:"trust"`
	Base   string          `json:"base,omitempty"` // version of the installed program when Active or Trial was staged
	Slots  map[string]slot `json:"slots,omitempty"`
	Active string          `json:"active,omitempty"`
	Trial  string          `json:"trial,omitempty"`
	Starts int             `json:"starts,omitempty"` // of the trial
	Failed []failure       `json:"failed,omitempty"` // oldest first
}

// slot is a program that was fetched whole.
type slot struct {
	Version  string `json:"version"`
	Sequence uint64 `json:"sequence"`
	SHA256   string `json:"sha256"`
}

// failure is a release that did not prove itself on this host.
type failure struct {
	SHA256  string    `json:"sha256"`
	Version string    `json:"version"`
	Reason  string    `json:"reason"`
	At      time.Time `json:"at"`
	Tries   int       `json:"tries"`
}

// begin decides which slot the starting process hands over to; "" is the
// installed program itself. A package that was installed since wins over what was
// fetched before. A trial's start is counted before it happens: a program that dies
// at once cannot be started for ever.
func (s *state) begin(base string, now time.Time) (chosen string) {
	if s.Base != base {
		s.Base, s.Active, s.Trial, s.Starts = base, "", "", 0
		return ""
	}
	if s.Trial == "" {
		return s.Active
	}
	if s.Starts >= trialStartsMax {
		s.fail("it was started twice and did not prove itself", now)
		return s.Active
	}
	s.Starts++
	return s.Trial
}

// spare is where the next program goes: never over one that may be started.
func (s *state) spare() string {
	if s.Active == slotA || s.Trial == slotA {
		return slotB
	}
	return slotA
}

// stage puts a fetched program on trial.
func (s *state) stage(to string, p slot) {
	if s.Slots == nil {
		s.Slots = map[string]slot{}
	}
	s.Slots[to] = p
	s.Trial, s.Starts = to, 0
}

// confirm makes the trial the program of every start from now on.
func (s *state) confirm() {
	s.Active, s.Trial, s.Starts = s.Trial, "", 0
}

// fail ends a trial and remembers why.
func (s *state) fail(why string, now time.Time) {
	s.remember(s.Slots[s.Trial], why, now)
	s.Trial, s.Starts = "", 0
}

// giveUp takes a slot out of use, whatever it was.
func (s *state) giveUp(name, why string, now time.Time) {
	s.remember(s.Slots[name], why, now)
	if s.Trial == name {
		s.Trial, s.Starts = "", 0
	}
	if s.Active == name {
		s.Active = ""
	}
	delete(s.Slots, name)
}

func (s *state) remember(p slot, why string, now time.Time) {
	tries := 1
	if i := slices.IndexFunc(s.Failed, func(f failure) bool { return f.SHA256 == p.SHA256 }); i >= 0 {
		tries += s.Failed[i].Tries
		s.Failed = slices.Delete(s.Failed, i, i+1)
	}
	s.Failed = append(s.Failed, failure{SHA256: p.SHA256, Version: p.Version, Reason: why[:min(len(why), reasonBytesMax)], At: now, Tries: tries})
	if n := len(s.Failed) - failedKept; n > 0 {
		s.Failed = slices.Delete(s.Failed, 0, n)
	}
}

// refuses says why a program is not tried (again) now; "" where it may be.
func (s *state) refuses(sha string, now time.Time) string {
	for _, f := range s.Failed {
		if f.SHA256 != sha {
			continue
		}
		if f.Tries >= triesMax {
			return "it failed here " + times(f.Tries) + ", the last time because " + f.Reason
		}
		if again := f.At.Add(tryAgainAfter); now.Before(again) {
			return "it failed here because " + f.Reason + "; it is tried again at " + again.UTC().Format(time.RFC3339)
		}
	}
	return ""
}

func times(n int) string {
	return []string{"never", "once", "twice", "three times"}[min(n, 3)]
}
