package simulator

import (
	"cmp"
	"context"
	"slices"
	"time"

	"tillwire/protocol"
)

const progressEvery = 5 * time.Second

// progress prints one line now and then until ctx ends.
func (d *demo) progress(ctx context.Context) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	var before uint64
	at := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			posted := d.oracle.total().Documents
			rate := float64(posted-before) / now.Sub(at).Seconds()
			before, at = posted, now
			ask, cancel := context.WithTimeout(ctx, progressEvery)
			marks, err := d.fleet.Chain.stores(ask)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				d.say("the aggregator did not answer: %v", err)
				continue
			}
			d.progressLine(posted, rate, marks)
		}
	}
}

func (d *demo) progressLine(posted uint64, rate float64, marks map[protocol.StoreID]protocol.StoreStatus) {
	var merged uint64
	by := map[protocol.Presence]int{}
	list := make([]protocol.StoreStatus, 0, len(marks))
	for _, m := range marks {
		merged += m.MergedEvents - min(m.MergedEvents, m.OwnEvents)
		by[m.Presence]++
		list = append(list, m)
	}
	behind, _ := outstanding(d.oracle, marks)
	down, _ := d.fleet.down()
	worst := ""
	if len(list) > 0 {
		w := slices.MaxFunc(list, func(a, b protocol.StoreStatus) int { return cmp.Compare(a.LagS, b.LagS) })
		if w.LagS >= 1 {
			worst = " · furthest behind " + string(w.Store) + " " + w.Name + " " + time.Duration(w.LagS*float64(time.Second)).Round(time.Second).String()
		}
	}
	d.say("%s by the profile · %s journaled (%.0f/s) · %s merged, %s on the way · %s cut · %d online, %d draining, %d offline, %d stuck%s · http://%s/",
		d.crew.virtual().Format("Mon 15:04"), grouped(posted), rate, grouped(merged), grouped(behind), plural(down, "link"),
		by[protocol.PresenceOnline]+by[protocol.PresencePOSSilent], by[protocol.PresenceDraining]+by[protocol.PresenceRebuilding],
		by[protocol.PresenceOffline], by[protocol.PresenceStuck], worst, d.fleet.Aggregator)
}
