package simulator

import (
	"fmt"
	"strings"
	"time"

	"tillwire/protocol"
)

// progressEvery is how often a line is written where nobody looks at a screen.
const progressEvery = 5 * time.Second

// progressLine prints how far a fleet is, now and then.
func (r *rehearsal) progressLine(x view) {
	r.mu.Lock()
	due := time.Since(r.toldAt) >= progressEvery
	if due {
		r.toldAt = time.Now()
	}
	r.mu.Unlock()
	if !due {
		return
	}
	worst := ""
	if x.Worst != "" {
		worst = " · furthest behind " + x.Worst + " " + lagWord(x.LagS)
	}
	faults := ""
	if len(x.Faults) > 0 {
		faults = " · " + strings.Join(x.Faults, ", ")
	}
	r.tell(fmt.Sprintf("%s by the story (%.0f×) · %s journaled (%.0f/s) · %s merged, %s on the way · %s cut · %d online, %d draining, %d offline, %d stuck%s%s · http://%s/",
		x.Story.Format("Mon 15:04"), x.Rate, grouped(x.Posted), x.DocsPerS, grouped(x.Merged), grouped(x.Backlog), plural(x.Down, "link"),
		x.By[protocol.PresenceOnline]+x.By[protocol.PresencePOSSilent], x.By[protocol.PresenceDraining]+x.By[protocol.PresenceRebuilding],
		x.By[protocol.PresenceOffline], x.By[protocol.PresenceStuck], worst, faults, r.fleet.Aggregator))
}

// lagWord writes a lag as people read it.
func lagWord(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d >= 48*time.Hour {
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
	return d.Round(time.Second).String()
}
