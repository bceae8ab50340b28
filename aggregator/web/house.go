package web

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// Pages of the house itself: who may look, what they did, which machines are in.

// noted reads a button's body: why it was pressed.
func noted(r *http.Request) (string, error) {
	var in struct {
		Note string `json:"note"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return "", badRequest("The body must be JSON with a note.")
	}
	if in.Note = strings.TrimSpace(in.Note); len(in.Note) > noteBytesMax {
		return "", noteMissing()
	}
	return in.Note, nil
}

type auditData struct {
	*listing
	List []auditRow
}

type auditRow struct {
	protocol.AuditEntry
	Changes []change
	Href    string // of what it was done to
}

// change is one field of what was before and after.
type change struct{ Name, Before, After string }

// changes compares two states field by field; what is the same is left out.
func changes(before, after json.RawMessage) (out []change) {
	var a, b map[string]json.RawMessage
	if (len(before) > 0 && json.Unmarshal(before, &a) != nil) || (len(after) > 0 && json.Unmarshal(after, &b) != nil) {
		return []change{{"", string(before), string(after)}}
	}
	names := map[string]bool{}
	for k := range a {
		names[k] = true
	}
	for k := range b {
		names[k] = true
	}
	for _, k := range sorted(names) {
		if x, y := string(a[k]), string(b[k]); x != y {
			out = append(out, change{k, strings.Trim(x, `"`), strings.Trim(y, `"`)})
		}
	}
	return out
}

// objectPage is where what was decided on can be looked at.
func objectPage(e *protocol.AuditEntry) string {
	area, _, _ := strings.Cut(e.Action, ".")
	store, _, _ := strings.Cut(e.Object, "/")
	switch area {
	case "reservation":
		return "/reservations/" + e.Object
	case "policy":
		return "/policies/" + e.Object
	case "posting", "connector", "feed", "subscription", "release", "item":
		return flowPage(area, e)
	case "agent":
		return "/stores/" + store
	case "reconciliation":
		if p := strings.SplitN(e.Object, "/", 3); len(p) == 3 {
			return "/availability?sku=" + p[2] + "&location=" + p[1]
		}
	}
	return ""
}

func (w *Web) auditData(r *http.Request, limit int) *auditData {
	d := &auditData{listing: w.listing(r, "/audit")}
	f := protocol.AuditFilter{
		Action: d.field("action", "Area", "", "account", "agent", "backup", "connector", "credential", "enrolment", "exception", "feed", "identity", "incident", "item", "policy", "posting", "reconciliation", "release", "reservation", "session", "source", "subscription"),
		Who:    d.field("who", "Who", "ann"), Object: d.field("object", "Done to", "S0042"), Limit: limit + 1,
	}
	f.Before, _ = strconv.ParseUint(d.query.Get("after"), 10, 64)
	list := page(d.listing, w.opts.Audit(f), limit, func(e *protocol.AuditEntry) string { return strconv.FormatUint(e.No, 10) })
	for i := range list {
		e := &list[i]
		d.List = append(d.List, auditRow{*e, changes(e.Before, e.After), objectPage(e)})
	}
	return d
}

func (w *Web) auditPage(rw http.ResponseWriter, r *http.Request) error {
	return w.show(rw, r, "audit", "Audit", w.auditData(r, rowsPerPage))
}

func (w *Web) auditCSV(rw http.ResponseWriter, r *http.Request) error {
	d := w.auditData(r, 999)
	return w.csv(rw, "audit", []string{"no", "at", "who", "via", "action", "object", "note", "refused", "before", "after"}, func(put func(...string)) {
		for _, e := range d.List {
			put(strconv.FormatUint(e.No, 10), stamp(&e.At), e.Who, e.Via, e.Action, e.Object, e.Note, e.Refused, string(e.Before), string(e.After))
		}
	})
}

type accountsData struct {
	*listing
	List []Account
	Self string
	OIDC string
}

func (w *Web) accountsPage(rw http.ResponseWriter, r *http.Request) error {
	d := &accountsData{listing: w.listing(r, "/accounts"), List: w.opts.Accounts.Accounts(), Self: who(r)}
	if w.opts.OIDC != nil {
		d.OIDC = w.opts.OIDCName
	}
	return w.show(rw, r, "accounts", "Accounts", d)
}

// accountForm is what the forms of the page send.
type accountForm struct {
	Name     string `json:"name"`
	Role     string `json:"role"`
	Password string `json:"password"`
	Note     string `json:"note"`
}

func (w *Web) account(rw http.ResponseWriter, r *http.Request, say string, do func(ctx context.Context, in *accountForm) error) error {
	var in accountForm
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return badRequest("The body must be JSON with name, role and password.")
	}
	if name := r.PathValue("name"); name != "" {
		in.Name = name
	}
	if err := do(context.WithoutCancel(r.Context()), &in); err != nil {
		return w.decided("account", err)
	}
	return done(rw, r, strings.ReplaceAll(say, "{name}", in.Name))
}

func (w *Web) addAccount(rw http.ResponseWriter, r *http.Request) error {
	return w.account(rw, r, "{name} can log in now.", func(ctx context.Context, in *accountForm) error {
		return w.opts.Accounts.AddAccount(ctx, strings.TrimSpace(in.Name), in.Role, in.Password, who(r))
	})
}

func (w *Web) setPassword(rw http.ResponseWriter, r *http.Request) error {
	return w.account(rw, r, "{name} has a new password; sessions with the old one are over.", func(ctx context.Context, in *accountForm) error {
		return w.opts.Accounts.SetPassword(ctx, in.Name, in.Password, who(r))
	})
}

func (w *Web) setRole(rw http.ResponseWriter, r *http.Request) error {
	return w.account(rw, r, "{name} has another role and must log in again.", func(ctx context.Context, in *accountForm) error {
		return w.opts.Accounts.SetRole(ctx, in.Name, in.Role, who(r))
	})
}

func (w *Web) removeAccount(rw http.ResponseWriter, r *http.Request) error {
	return w.account(rw, r, "{name} is removed.", func(ctx context.Context, in *accountForm) error {
		return w.opts.Accounts.RemoveAccount(ctx, in.Name, who(r))
	})
}

type enrolmentData struct {
	*listing
	List    []enrolled
	Revoked []string
	Never   int // stores that have no agent yet
	Store   string
	Keys    []protocol.APIKey // that were issued
}

type enrolled struct {
	protocol.AgentStatus
	Name    string
	Key     string // as it is revoked
	Revoked bool
	Proof   *protocol.Identity // what it shows at the door; nil: not known
}

func (w *Web) enrolmentData(r *http.Request) *enrolmentData {
	d := &enrolmentData{listing: w.listing(r, "/enrolment"), Revoked: w.opts.Enrolment.Revoked(), Store: query(r, "store")}
	state := d.tabs("state", option{Text: "All"}, option{Value: "connected", Text: "Connected"}, option{Value: "away", Text: "Not connected"}, option{Value: "revoked", Text: "Revoked"})
	q := strings.ToLower(d.field("q", "Store or agent", "S0042"))
	proofs := map[string]*protocol.Identity{}
	if w.opts.Identities != nil {
		all := w.opts.Identities()
		for i := range all {
			proofs[string(all[i].Store)+"/"+string(all[i].Agent)] = &all[i]
		}
	}
	tiles := w.view().Tiles
	for i := range tiles {
		s, ok := w.opts.Fleet.Status(tiles[i].Store)
		if !ok {
			continue
		}
		if len(s.Agents) == 0 && s.Type == "store" {
			d.Never++
		}
		for k := range s.Agents {
			a := enrolled{AgentStatus: s.Agents[k], Name: s.Name, Key: string(s.Store) + "/" + string(s.Agents[k].Agent)}
			a.Proof = proofs[a.Key]
			a.Revoked = slices.Contains(d.Revoked, a.Key) || a.Proof != nil && a.Proof.Status == "revoked"
			feed := protocol.Origin{Agent: a.Agent}.IsFeed()
			hit := q == "" || strings.Contains(strings.ToLower(a.Key+" "+s.Name), q)
			if !feed && hit && (state == "" || state == "connected" && a.Connected || state == "away" && !a.Connected || state == "revoked" && a.Revoked) {
				d.List = append(d.List, a)
			}
		}
	}
	return d
}

func (w *Web) enrolmentPage(rw http.ResponseWriter, r *http.Request) error {
	d := w.enrolmentData(r)
	if w.opts.APIKeys != nil {
		var err error
		if d.Keys, err = w.opts.APIKeys(); err != nil {
			return w.decided("keys", err)
		}
	}
	if after := d.query.Get("after"); after != "" {
		d.List = slices.DeleteFunc(d.List, func(e enrolled) bool { return e.Key <= after })
	}
	d.List = page(d.listing, d.List, rowsPerPage, func(e *enrolled) string { return e.Key })
	return w.show(rw, r, "enrolment", "Enrolment", d)
}

func (w *Web) enrolmentCSV(rw http.ResponseWriter, r *http.Request) error {
	d := w.enrolmentData(r)
	return w.csv(rw, "enrolment", []string{"store", "name", "agent", "connected", "revoked", "version", "last_heartbeat_at", "epoch", "lease"}, func(put func(...string)) {
		for _, a := range d.List {
			put(string(a.Store), a.Name, string(a.Agent), strconv.FormatBool(a.Connected), strconv.FormatBool(a.Revoked), a.AgentVersion, stamp(a.LastHeartbeatAt), strconv.FormatUint(a.Epoch, 10), strconv.FormatUint(a.Lease, 10))
		}
	})
}

func (w *Web) issueToken(rw http.ResponseWriter, r *http.Request) error {
	var in struct {
		Store string `json:"store"`
		Agent string `json:"agent"`
		Hours string `json:"hours"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return badRequest("The body must be JSON with store, agent and hours.")
	}
	in.Store, in.Agent = strings.TrimSpace(in.Store), strings.TrimSpace(in.Agent)
	hours, err := strconv.Atoi(in.Hours)
	if err != nil || hours < 1 || hours > 24 {
		return badRequest("A token is good for 1 to 24 hours.")
	}
	if err := protocol.CheckName(in.Store); err != nil {
		return badRequest("The store " + err.Error() + ". Name the shop that will enrol, e.g. S0042.")
	}
	if in.Agent != "" {
		if err := protocol.CheckName(in.Agent); err != nil {
			return badRequest("The agent " + err.Error() + ". Leave it empty to let the host name itself.")
		}
	}
	code, until := w.opts.Enrolment.Issue(r.Context(), protocol.StoreID(in.Store), protocol.AgentID(in.Agent), time.Duration(hours)*time.Hour, who(r))
	return writeJSON(rw, r, map[string]any{
		"ok": true, "say": "The token for " + in.Store + " is shown once, below.",
		"show": "tillwire-agent enroll --aggregator http" + map[bool]string{true: "s"}[r.TLS != nil || w.opts.Secure] + "://" + r.Host + " --token " + code + " --store " + in.Store,
		"note": "Good once, until " + until.UTC().Format("15:04 MST") + ".",
	})
}

func (w *Web) revoke(rw http.ResponseWriter, r *http.Request) error {
	note, err := noted(r)
	if err != nil {
		return err
	}
	if note == "" {
		return noteMissing()
	}
	name := query(r, "name")
	if err := w.opts.Enrolment.Revoke(r.Context(), name, note, who(r)); err != nil {
		return w.decided("revoke", err)
	}
	return done(rw, r, name+" is let in no more.")
}
