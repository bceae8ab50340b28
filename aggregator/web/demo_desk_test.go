package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"tillwire/aggregator/reconcile"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

// demoDesk is where people decide in the made-up chain. It remembers what was asked
// of it.
type demoDesk struct {
	mu       sync.Mutex // guards all below
	held     []protocol.Reservation
	drift    []protocol.Reconciliation
	desired  protocol.DesiredState
	commands []protocol.CommandState
	policies []protocol.Policy
	trail    []protocol.AuditEntry
	accounts []Account
	revoked  []string
}

func newDemoDesk() *demoDesk {
	at := time.Now().UTC().Add(-time.Hour)
	until := at.Add(2 * time.Hour)
	d := &demoDesk{accounts: []Account{{Name: "ann", Role: Admin, CreatedAt: at, ChangedAt: at, Sessions: 1}, {Name: "bob", Role: Viewer, CreatedAt: at, ChangedAt: at}}}
	for i, s := range []protocol.ReservationState{protocol.ReservationHeld, protocol.ReservationConfirmed, protocol.ReservationPicked, protocol.ReservationCollected} {
		r := protocol.Reservation{
			ReservationID: fmt.Sprintf("web-%d", 100+i), Channel: "web", OrderID: fmt.Sprintf("W-%d", 7000+i), Mode: protocol.ModeAllOrNothing, Fulfilment: protocol.FulfilmentPickup, State: s,
			CreatedAt: at, UpdatedAt: at, AtRisk: i == 1, Lines: []protocol.ReservationLine{{SKU: demoSKU, Quantity: protocol.Units(2), Location: "S0003", State: s}},
		}
		if s == protocol.ReservationHeld {
			r.ExpiresAt = &until
		}
		d.held = append(d.held, r)
	}
	for i, src := range []string{"erp", "wms"} {
		d.drift = append(d.drift, protocol.Reconciliation{
			ID: src + "/S0003/" + string(demoSKU), Kind: "drift", Source: src, Location: "S0003", SKU: demoSKU, AsOf: at, Cut: "inferred", Stated: protocol.Units(12), Book: protocol.Units(8),
			Difference: protocol.Units(4), Cycles: 1, Needed: 2, Owner: "store", State: "open", Reason: "The store is the record here; erp states something else.", FirstAt: at, LastAt: at, Actions: []string{protocol.DecideAdopt, protocol.DecideDismiss}[:2-i],
		})
	}
	return d
}

func (d *demoDesk) record(who, action, object, note string, before, after any) {
	b, _ := json.Marshal(before)
	a, _ := json.Marshal(after)
	d.trail = append([]protocol.AuditEntry{{No: uint64(len(d.trail) + 1), At: time.Now().UTC(), Who: who, Via: protocol.ViaUI, Action: action, Object: object, Note: note, Before: b, After: a}}, d.trail...)
}

func (d *demoDesk) Reservations(_ context.Context, f reserve.Filter) (out []protocol.Reservation, _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.held {
		if (f.State == "" || r.State == f.State) && (!f.AtRisk || r.AtRisk) && (f.Location == "" || r.Lines[0].Location == f.Location) && r.ReservationID > f.After && len(out) < f.Limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (d *demoDesk) Reservation(_ context.Context, id string) (protocol.Reservation, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.held {
		if r.ReservationID == id {
			return r, true, nil
		}
	}
	return protocol.Reservation{}, false, nil
}

func (d *demoDesk) DecideReservation(_ context.Context, id string, what reserve.Command, _ int64, note, who string) (protocol.Reservation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.held, func(r protocol.Reservation) bool { return r.ReservationID == id })
	r := &d.held[i]
	before := r.State
	switch what {
	case reserve.Confirm:
		r.State, r.ExpiresAt = protocol.ReservationConfirmed, nil
	case reserve.Release:
		r.State, r.AtRisk = protocol.ReservationReleased, false
	case reserve.Fulfil:
		r.State = protocol.ReservationCollected
	case reserve.Extend:
		t := r.ExpiresAt.Add(15 * time.Minute)
		r.ExpiresAt = &t
	}
	d.record(who, "reservation."+string(what), id, note, map[string]any{"state": before}, map[string]any{"state": r.State})
	return *r, nil
}

func (d *demoDesk) Reconciliations(_ context.Context, f reconcile.Filter) (out []protocol.Reconciliation, _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.drift {
		if r.State == f.State && (f.Source == "" || r.Source == f.Source) && (f.Kind == "" || r.Kind == f.Kind) && r.ID > f.After {
			out = append(out, r)
		}
	}
	return out, nil
}

func (d *demoDesk) Decide(_ context.Context, id, action, who, note string) (protocol.Reconciliation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.drift, func(r protocol.Reconciliation) bool { return r.ID == id })
	if i < 0 || !slices.Contains(d.drift[i].Actions, action) {
		return protocol.Reconciliation{}, protocol.NewProblem(409, "not_now", "Not now", "This row cannot be decided so.", "")
	}
	r := &d.drift[i]
	r.State, r.Actions, r.DecidedBy, r.Note = map[string]string{"adopt": "adopted", "dismiss": "dismissed"}[action], nil, who, note
	d.record(who, "reconciliation."+action, id, note, map[string]any{"state": "open"}, map[string]any{"state": r.State})
	return *r, nil
}

func (d *demoDesk) openDrift() int {
	list, _ := d.Reconciliations(context.Background(), reconcile.Filter{State: "open"})
	return len(list)
}

func (d *demoDesk) WantState(_ context.Context, o protocol.Origin, values map[string]json.RawMessage, _ *uint64, who string) (protocol.DesiredState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record(who, "agent.desired", o.String(), "", d.desired.Values, values)
	d.desired.Values, d.desired.By = values, who
	d.desired.Version++
	return d.desired, nil
}

func (d *demoDesk) DesiredState(context.Context, protocol.Origin) (protocol.DesiredState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.desired, nil
}

func (d *demoDesk) IssueCommand(_ context.Context, o protocol.Origin, c protocol.Command, valid time.Duration, who string) (protocol.CommandState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now().UTC()
	s := protocol.CommandState{CommandID: c.CommandID, Kind: c.Kind, FromSeq: c.FromSeq, State: protocol.CommandDone, IssuedBy: who, IssuedAt: now, NotAfter: now.Add(valid), EndedAt: &now}
	d.commands = append([]protocol.CommandState{s}, d.commands...)
	d.record(who, "agent.command", o.String(), "", nil, s)
	return s, nil
}

func (d *demoDesk) ListCommands(context.Context, protocol.Origin) ([]protocol.CommandState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.commands), nil
}

func (d *demoDesk) bundle(_ protocol.Origin, id string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(d.commands, func(c protocol.CommandState) bool { return c.CommandID == id }) {
		return []byte("gzip"), nil
	}
	return nil, fs.ErrNotExist
}

func (d *demoDesk) Copies(_ context.Context, o protocol.Origin) (protocol.Copies, bool, error) {
	if o.Store != "S0002" {
		return protocol.Copies{}, false, nil
	}
	return protocol.Copies{Store: o.Store, Agent: o.Agent, State: protocol.CopiesQuarantined, Reason: "Two machines speak as one.", Copies: []protocol.Copy{{BootID: "b1", Version: "1.8.2"}, {BootID: "b2", Version: "1.8.2"}}}, true, nil
}

func (d *demoDesk) PickCopy(_ context.Context, o protocol.Origin, boot, who string) (protocol.Copies, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record(who, "agent.pick_copy", o.String(), boot, nil, nil)
	return protocol.Copies{Picked: boot}, nil
}

func (d *demoDesk) ListPolicies(context.Context) ([]protocol.Policy, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.policies), nil
}

func (d *demoDesk) PolicyHistory(_ context.Context, id string) ([]protocol.Policy, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []protocol.Policy
	for _, p := range d.policies {
		if p.PolicyID == id {
			out = append(out, p)
		}
	}
	return out, nil
}

func (d *demoDesk) PutPolicy(_ context.Context, p *protocol.Policy, who string) (protocol.Policy, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p.Version, p.ChangedBy, p.ChangedAt = 1, who, time.Now().UTC()
	d.policies = append(d.policies, *p)
	d.record(who, "policy.put", p.PolicyID, p.Note, nil, p)
	return *p, nil
}

func (d *demoDesk) DeletePolicy(_ context.Context, id, who string) (protocol.Policy, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.policies = slices.DeleteFunc(d.policies, func(p protocol.Policy) bool { return p.PolicyID == id })
	d.record(who, "policy.delete", id, "", nil, nil)
	return protocol.Policy{}, nil
}

func (d *demoDesk) Issue(_ context.Context, s protocol.StoreID, a protocol.AgentID, valid time.Duration, who string) (string, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record(who, "enrolment.issue", string(s)+"/"+string(a), "", nil, nil)
	return "twe1.secret", time.Now().Add(valid)
}

func (d *demoDesk) Revoke(_ context.Context, name, note, who string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revoked = append(d.revoked, name)
	d.record(who, "credential.revoke", name, note, nil, nil)
	return nil
}

func (d *demoDesk) Revoked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.revoked)
}

func (d *demoDesk) audit(f protocol.AuditFilter) (out []protocol.AuditEntry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.trail {
		if f.Match(&d.trail[i]) && len(out) < f.Limit {
			out = append(out, d.trail[i])
		}
	}
	return out
}

func (d *demoDesk) Accounts() []Account {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.accounts)
}

func (d *demoDesk) account(name string) (*Account, error) {
	if i := slices.IndexFunc(d.accounts, func(a Account) bool { return a.Name == name }); i >= 0 {
		return &d.accounts[i], nil
	}
	return nil, protocol.NewProblem(422, "account_refused", "", "there is no such account", "")
}

func (d *demoDesk) AddAccount(_ context.Context, name, role, password, who string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(password) < 10 {
		return protocol.NewProblem(422, "account_refused", "", "password has too few bytes, at least 10 are needed", "")
	}
	d.accounts = append(d.accounts, Account{Name: name, Role: roleNamed(role), CreatedAt: time.Now().UTC(), ChangedAt: time.Now().UTC()})
	d.record(who, "account.add", name, "", nil, map[string]string{"role": role})
	return nil
}

func roleNamed(s string) Role {
	return Role(max(0, slices.Index([]string{"nobody", "viewer", "ops", "admin"}, s)))
}

func (d *demoDesk) SetPassword(_ context.Context, name, _, who string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.account(name)
	d.record(who, "account.password", name, "", nil, nil)
	return err
}

func (d *demoDesk) SetRole(_ context.Context, name, role, who string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, err := d.account(name)
	if err == nil {
		d.record(who, "account.role", name, "", map[string]string{"role": a.Role.String()}, map[string]string{"role": role})
		a.Role = roleNamed(role)
	}
	return err
}

func (d *demoDesk) RemoveAccount(_ context.Context, name, who string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accounts = slices.DeleteFunc(d.accounts, func(a Account) bool { return a.Name == name })
	d.record(who, "account.remove", name, "", nil, nil)
	return nil
}

func demoItem(sku protocol.SKU) []protocol.Item {
	if sku != demoSKU {
		return nil
	}
	return []protocol.Item{{SKU: sku, Name: "Oat drink 1 l", Category: "drinks", BaseUnit: "EA", Version: 2}, {SKU: sku, BaseUnit: "EA", Version: 1}}
}

func demoItems(after protocol.SKU, _ int) []protocol.Item {
	if after >= demoSKU {
		return nil
	}
	return demoItem(demoSKU)[:1]
}

func demoCountNext(_ context.Context, s protocol.StoreID, _ int) ([]protocol.CountNext, error) {
	if !strings.HasPrefix(string(s), "S") {
		return nil, nil
	}
	return []protocol.CountNext{{SKU: demoSKU, OnHand: protocol.Units(3), Worth: 1.4, Demand: 2.2, Doubt: .6, Reason: "sells twice a day and was counted 80 days ago"}}, nil
}

func (d *demoDesk) into(o *Options) {
	o.Reservations, o.Reconciliations, o.OpenDrift, o.Orders, o.Bundle, o.Policies = d, d, d.openDrift, d, d.bundle, d
	o.Items, o.Item, o.Enrolment, o.Audit, o.Accounts, o.CountNext = demoItems, demoItem, d, d.audit, d, demoCountNext
}
