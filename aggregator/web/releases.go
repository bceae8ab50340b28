package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"tillwire/protocol"
)

// Releases are the agents' programs, and who is to run which. Changes are recorded
// under who.
type Releases interface {
	View() (protocol.Releases, error)
	Set(ctx context.Context, next protocol.Rollout, who string) (protocol.Releases, error)
}

type releasesData struct {
	*listing
	protocol.Releases
	Bar      rolloutBar
	Versions []versionRow
	Failed   []failedUpdate
	Regions  []option // of the chain; on: the rollout names them
	Stores   string   // that the rollout names
	Percent  int
}

// rolloutBar are the parts of the progress bar in percent of those in scope.
type rolloutBar struct {
	RunningW, AskedX, AskedW, FailedX, FailedW, WaitingX, WaitingW float64
	Rest                                                           int // in scope, not chosen
}

type versionRow struct {
	Version string
	Stores  int
	Percent float64
	Href    string
	Current bool
}

// failedUpdate is an agent whose update failed.
type failedUpdate struct {
	protocol.AgentStatus
	Name string
}

func makeRolloutBar(p *protocol.RolloutProgress) (b rolloutBar) {
	whole := float64(max(1, p.InScope))
	b.RunningW = 100 * float64(p.Running) / whole
	b.AskedX, b.AskedW = b.RunningW, 100*float64(p.Asked)/whole
	b.FailedX, b.FailedW = b.AskedX+b.AskedW, 100*float64(p.Failed)/whole
	b.WaitingX, b.WaitingW = b.FailedX+b.FailedW, 100*float64(p.Waiting)/whole
	b.Rest = max(0, p.InScope-p.Running-p.Asked-p.Failed-p.Waiting)
	return b
}

func (w *Web) releasesData(r *http.Request) (*releasesData, error) {
	d := &releasesData{listing: w.listing(r, "/releases"), Percent: 10}
	var err error
	if d.Releases, err = w.opts.Releases.View(); err != nil {
		return nil, err
	}
	d.Bar = makeRolloutBar(&d.Progress)
	var inRegions []string
	if d.Rollout != nil {
		d.Percent, inRegions = d.Rollout.Percent, d.Rollout.Regions
		var names []string
		for _, s := range d.Rollout.Stores {
			names = append(names, string(s))
		}
		d.Stores = strings.Join(names, ", ")
	}
	v, n, regions, all := w.view(), map[string]int{}, map[string]bool{}, 0
	for i := range v.Tiles {
		t := &v.Tiles[i]
		if t.Source {
			continue
		}
		if t.Region != "" {
			regions[t.Region] = true
		}
		if t.Version != "" {
			n[t.Version]++
			all++
		}
		if slices.Contains(t.Codes, "update_failed") {
			d.Failed = append(d.Failed, w.failedUpdates(t)...)
		}
	}
	for _, name := range inRegions {
		regions[name] = true
	}
	for _, name := range sorted(regions) {
		d.Regions = append(d.Regions, option{Value: name, On: slices.Contains(inRegions, name)})
	}
	for version, stores := range n {
		x := versionRow{Version: version, Stores: stores, Percent: 100 * float64(stores) / float64(all), Href: "/?version=" + version}
		x.Current = d.Released != nil && d.Released.Version == version
		d.Versions = append(d.Versions, x)
	}
	slices.SortFunc(d.Versions, func(a, b versionRow) int {
		return cmp.Or(cmp.Compare(b.Stores, a.Stores), strings.Compare(a.Version, b.Version))
	})
	return d, nil
}

func (w *Web) failedUpdates(t *protocol.Tile) (out []failedUpdate) {
	s, _ := w.opts.Fleet.Status(t.Store)
	for _, a := range s.Agents {
		if a.Update != nil && a.Update.State == protocol.UpdateFailed {
			out = append(out, failedUpdate{a, t.Name})
		}
	}
	return out
}

func (w *Web) releasesPage(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.releasesData(r)
	if err != nil {
		return w.decided("releases", err)
	}
	return w.show(rw, r, "releases", "Releases", d)
}

func (w *Web) releasesCSV(rw http.ResponseWriter, r *http.Request) error {
	wanted := ""
	if v, err := w.opts.Releases.View(); err == nil && v.Rollout != nil {
		wanted = v.Rollout.Version
	}
	return w.csv(rw, "releases", []string{"store", "name", "region", "agent", "version", "rollout", "update", "reason"}, func(put func(...string)) {
		for _, t := range w.view().Tiles {
			s, ok := w.opts.Fleet.Status(t.Store)
			if !ok || t.Source {
				continue
			}
			for i := range s.Agents {
				a := &s.Agents[i]
				state, reason := "", ""
				if a.Update != nil {
					state, reason = a.Update.State, a.Update.Reason
				}
				put(string(s.Store), s.Name, s.Region, string(a.Agent), a.AgentVersion, wanted, state, reason)
			}
		}
	})
}

// rollOut sets a rollout and says what follows.
func (w *Web) rollOut(rw http.ResponseWriter, r *http.Request, next protocol.Rollout, say string) error {
	if _, err := w.opts.Releases.Set(context.WithoutCancel(r.Context()), next, who(r)); err != nil {
		return w.decided("rollout", err)
	}
	return done(rw, r, say)
}

func (w *Web) setRollout(rw http.ResponseWriter, r *http.Request) error {
	in, err := formFields(r)
	if err != nil {
		return err
	}
	percent, err := strconv.Atoi(in["percent"])
	if err != nil {
		return badRequest("percent is not a whole number from 0 to 100.")
	}
	next := protocol.Rollout{Version: in["version"], Percent: percent}
	for _, s := range parts(in["stores"]) {
		if _, ok := w.opts.Fleet.Status(protocol.StoreID(s)); !ok {
			return badRequest("There is no store " + s + ".")
		}
		next.Stores = append(next.Stores, protocol.StoreID(s))
	}
	for k := range in {
		if name, ok := strings.CutPrefix(k, "region:"); ok {
			next.Regions = append(next.Regions, name)
		}
	}
	slices.Sort(next.Regions)
	return w.rollOut(rw, r, next, "Version "+next.Version+" goes to "+strconv.Itoa(percent)+" % of those in scope, a few at a time.")
}

// current is the rollout that is under way.
func (w *Web) currentRollout() (protocol.Rollout, error) {
	v, err := w.opts.Releases.View()
	if err != nil {
		return protocol.Rollout{}, w.decided("releases", err)
	}
	if v.Rollout == nil {
		return protocol.Rollout{}, notFound("There is no rollout.")
	}
	return *v.Rollout, nil
}

func (w *Web) pauseRollout(rw http.ResponseWriter, r *http.Request) error {
	note, err := noted(r)
	if err == nil && note == "" {
		err = noteMissing()
	}
	if err != nil {
		return err
	}
	now, err := w.currentRollout()
	if err != nil {
		return err
	}
	now.Paused = note
	return w.rollOut(rw, r, now, "Paused: nobody further is asked. Who runs the version goes on with it.")
}

func (w *Web) goOnRollout(rw http.ResponseWriter, r *http.Request) error {
	if _, err := noted(r); err != nil {
		return err
	}
	now, err := w.currentRollout()
	if err != nil {
		return err
	}
	now.Paused = ""
	return w.rollOut(rw, r, now, "The rollout goes on.")
}
