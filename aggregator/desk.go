package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"tillwire/aggregator/api"
	"tillwire/aggregator/audit"
	"tillwire/aggregator/credential"
	"tillwire/aggregator/ingest"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

// desk is where people decide, by the UI or with an API key: each action is carried
// out and then recorded, with what was before and what is after. What only reads
// goes through to ingest.
type desk struct {
	*ingest.Ingest
	a   *Aggregator
	via string
}

// record writes an action into the trail, done or refused. The action stands where
// that fails: the log says what the trail lacks.
func (d desk) record(ctx context.Context, who, action, object, note string, before, after any, err error) {
	e := protocol.AuditEntry{Who: who, Via: d.via, Action: action, Object: object, Note: note, Before: encode(before)}
	if err != nil {
		e.Refused = refusal(err)
	} else {
		e.After = encode(after)
	}
	log := d.a.deps.Log.Info().Str("who", who).Str("via", d.via).Str("action", action).Str("object", object).AnErr("err", err)
	log.Msg("action")
	if err := d.a.trail.Record(context.WithoutCancel(ctx), e); err != nil {
		d.a.deps.Log.Error().Err(err).Str("who", who).Str("action", action).Str("object", object).Msg("action not recorded in the audit trail")
	}
}

func encode(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil { // of our own structs: cannot fail
		return nil
	}
	return b
}

func refusal(err error) string {
	var p *protocol.Problem
	if errors.As(err, &p) {
		return p.Code + ": " + p.Detail
	}
	return err.Error()
}

// stateOf is what the trail tells of an exception.
func stateOf(x protocol.Exception) any {
	return struct {
		State  string `json:"state"`
		Code   string `json:"code"`
		Reason string `json:"reason"`
	}{x.State, x.Code, x.Reason}
}

func (d desk) exception(id string) any {
	x, err := d.a.ledger.Exception(id)
	if err != nil {
		return nil
	}
	return stateOf(x)
}

// Retry folds a parked record in again.
func (d desk) Retry(ctx context.Context, id, who string) (protocol.Exception, error) {
	before := d.exception(id)
	x, err := d.Ingest.Retry(ctx, id, who)
	d.record(ctx, who, "exception.retry", id, "", before, stateOf(x), err)
	return x, err
}

// Discard closes an exception.
func (d desk) Discard(ctx context.Context, id, note, who string) (protocol.Exception, error) {
	before := d.exception(id)
	x, err := d.Ingest.Discard(ctx, id, note, who)
	d.record(ctx, who, "exception.discard", id, note, before, stateOf(x), err)
	return x, err
}

// Acknowledge closes a standing incident.
func (d desk) Acknowledge(ctx context.Context, id, who string) bool {
	ok := d.a.fleet.Acknowledge(id)
	var err error
	if !ok {
		err = errors.New("it is not open, or closes by itself")
	}
	d.record(ctx, who, "incident.acknowledge", id, "", nil, nil, err)
	return ok
}

// WantState sets what an agent is to be like.
func (d desk) WantState(ctx context.Context, o protocol.Origin, values map[string]json.RawMessage, base *uint64, who string) (protocol.DesiredState, error) {
	before, _ := d.DesiredState(ctx, o) // an agent that nobody knows has none
	st, err := d.Ingest.WantState(ctx, o, values, base, who)
	d.record(ctx, who, "agent.desired", o.String(), "", before.Values, st.Values, err)
	return st, err
}

// IssueCommand has an agent do something once.
func (d desk) IssueCommand(ctx context.Context, o protocol.Origin, c protocol.Command, valid time.Duration, who string) (protocol.CommandState, error) {
	st, err := d.Ingest.IssueCommand(ctx, o, c, valid, who)
	d.record(ctx, who, "agent.command", o.String(), "", nil, stateOfCommand(st), err)
	return st, err
}

func stateOfCommand(c protocol.CommandState) any {
	return struct {
		Kind    string `json:"kind"`
		FromSeq uint64 `json:"from_seq,omitempty"`
		ID      string `json:"command_id"`
	}{c.Kind, c.FromSeq, c.CommandID}
}

// PickCopy lets one of an agent's copies go on.
func (d desk) PickCopy(ctx context.Context, o protocol.Origin, boot, who string) (protocol.Copies, error) {
	before, _, _ := d.Copies(ctx, o)
	c, err := d.Ingest.PickCopy(ctx, o, boot, who)
	d.record(ctx, who, "agent.pick_copy", o.String(), "", map[string]string{"picked": before.Picked}, map[string]string{"picked": c.Picked}, err)
	return c, err
}

// DecideReservation carries a person's command on a reservation out.
func (d desk) DecideReservation(ctx context.Context, id string, what reserve.Command, ttlS int64, note, who string) (protocol.Reservation, error) {
	before, _, err := d.Reservation(ctx, id)
	if err != nil {
		return before, err
	}
	r, err := d.Command(ctx, id, what, ttlS)
	d.record(ctx, who, "reservation."+string(what), id, note, stateOfReservation(before), stateOfReservation(r), err)
	return r, err
}

func stateOfReservation(r protocol.Reservation) any {
	return struct {
		State     protocol.ReservationState `json:"state"`
		ExpiresAt *time.Time                `json:"expires_at,omitempty"`
		AtRisk    bool                      `json:"at_risk,omitempty"`
	}{r.State, r.ExpiresAt, r.AtRisk}
}

// Decide judges a row of drift.
func (d desk) Decide(ctx context.Context, id, action, who, note string) (protocol.Reconciliation, error) {
	before, _, _ := d.Reconciliation(ctx, id)
	r, err := d.Ingest.Decide(ctx, id, action, who, note)
	d.record(ctx, who, "reconciliation."+action, id, note, stateOfDrift(before), stateOfDrift(r), err)
	return r, err
}

func stateOfDrift(r protocol.Reconciliation) any {
	return struct {
		State      string            `json:"state"`
		Stated     protocol.Quantity `json:"stated"`
		Book       protocol.Quantity `json:"book"`
		Difference protocol.Quantity `json:"difference"`
	}{r.State, r.Stated, r.Book, r.Difference}
}

// PutPolicy stores a policy's next version.
func (d desk) PutPolicy(ctx context.Context, p *protocol.Policy, who string) (protocol.Policy, error) {
	before := d.policy(ctx, p.PolicyID)
	stored, err := d.Ingest.PutPolicy(ctx, p, who)
	d.record(ctx, who, "policy.put", p.PolicyID, p.Note, before, stateOfPolicy(stored), err)
	return stored, err
}

// DeletePolicy ends a policy.
func (d desk) DeletePolicy(ctx context.Context, id, who string) (protocol.Policy, error) {
	before := d.policy(ctx, id)
	stored, err := d.Ingest.DeletePolicy(ctx, id, who)
	d.record(ctx, who, "policy.delete", id, "", before, nil, err)
	return stored, err
}

func (d desk) policy(ctx context.Context, id string) any {
	list, err := d.PolicyHistory(ctx, id)
	if err != nil || len(list) == 0 || list[0].Deleted {
		return nil
	}
	return stateOfPolicy(list[0])
}

func stateOfPolicy(p protocol.Policy) any {
	return struct {
		Scope     protocol.PolicyScope  `json:"scope"`
		Values    protocol.PolicyValues `json:"values"`
		ValidFrom *time.Time            `json:"valid_from,omitempty"`
		ValidTo   *time.Time            `json:"valid_to,omitempty"`
	}{p.Scope, p.Values, p.ValidFrom, p.ValidTo}
}

// Issue makes a one-off enrolment code. The trail has whom it is for, not the code.
func (d desk) Issue(ctx context.Context, store protocol.StoreID, agent protocol.AgentID, valid time.Duration, who string) (string, time.Time) {
	code, until := d.a.keys.Enrolment(store, agent, valid)
	d.record(ctx, who, "enrolment.issue", string(store)+"/"+string(agent), "", nil, map[string]time.Time{"expires_at": until.UTC()}, nil)
	return code, until
}

// Enroll trades a code for an agent's credential.
func (d desk) Enroll(ctx context.Context, code string, o protocol.Origin, csr string) (protocol.Enrolled, error) {
	return d.a.Enroll(ctx, code, o, csr)
}

// Identities lists who may speak as an agent.
func (d desk) Identities() []protocol.Identity { return d.a.book.List() }

// SignIdentity enrols a host whose request was brought by hand.
func (d desk) SignIdentity(ctx context.Context, o protocol.Origin, csr, who string) (protocol.Enrolled, error) {
	e, err := d.a.signIdentity(ctx, o, csr)
	d.record(ctx, who, "identity.sign", o.String(), "", nil, nil, err)
	return e, err
}

// RevokeIdentity shuts an agent out and ends its session.
func (d desk) RevokeIdentity(ctx context.Context, o protocol.Origin, who, reason string) (protocol.Identity, error) {
	i, err := d.a.revokeIdentity(ctx, o, who, reason)
	d.record(ctx, who, "credential.revoke", o.String(), reason, nil, nil, err)
	return i, err
}

// APIKeys lists the keys that were issued.
func (d desk) APIKeys() ([]protocol.APIKey, error) { return d.a.keys.Keys() }

// RevokeAPIKey ends one, or all of a name.
func (d desk) RevokeAPIKey(ctx context.Context, idOrName, who string) error {
	err := d.a.keys.RevokeKey(idOrName)
	if errors.Is(err, credential.ErrUnknownKey) {
		err = api.ErrUnknownKey
	}
	d.record(ctx, who, "credential.revoke", "key/"+idOrName, "", nil, nil, err)
	return err
}

// Revoke makes a credential void: store/agent, or key/name.
func (d desk) Revoke(ctx context.Context, name, note, who string) error {
	if store, agent, ok := strings.Cut(name, "/"); ok && store != "key" && protocol.CheckName(store) == nil && protocol.CheckName(agent) == nil {
		_, err := d.RevokeIdentity(ctx, protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}, who, note)
		return err
	}
	err := d.a.keys.Revoke(name, who)
	d.record(ctx, who, "credential.revoke", name, note, nil, nil, err)
	return err
}

// MakeBackup copies the ledger.
func (d desk) MakeBackup(ctx context.Context, r protocol.BackupRequest, who string) (protocol.BackupCopy, error) {
	made, err := d.a.MakeBackup(ctx, r)
	d.record(ctx, who, "backup.make", made.ID, "", nil, nil, err)
	return made, err
}

// Backups tells of the copies.
func (d desk) Backups() protocol.BackupStatus { return d.a.Backups() }

// openTrail reads the audit trail of the ledger.
func (a *Aggregator) openTrail() (err error) {
	a.trail, err = audit.Open(audit.Options{Now: a.deps.Now, Fact: a.ledger.Fact, Put: a.ingest.PutFacts})
	return err
}
