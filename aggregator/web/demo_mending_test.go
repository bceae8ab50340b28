package web

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// demoMending decides the exceptions of the made-up chain, two in a step. A correction
// needs a quantity that is not 0, and helps where an article was unknown.
type demoMending struct{ d *demo }

func (m demoMending) EditException(_ context.Context, id string, document []byte, who, note string) (protocol.Exception, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	i := slices.IndexFunc(m.d.exc, func(e protocol.Exception) bool { return e.ID == id })
	if i < 0 {
		return protocol.Exception{}, ledger.ErrNotFound
	}
	var doc struct {
		Lines []struct {
			Quantity float64 `json:"quantity"`
		} `json:"lines"`
	}
	var all any
	if json.Unmarshal(document, &doc) != nil || json.Unmarshal(document, &all) != nil || len(doc.Lines) == 0 || doc.Lines[0].Quantity == 0 {
		p := protocol.NewProblem(422, protocol.CodeInvalidField, "The correction is not acceptable", "/lines/0/quantity is 0", "say how many")
		p.Errors = []protocol.FieldError{{Pointer: "/lines/0/quantity", Message: "is 0"}}
		return protocol.Exception{}, p
	}
	x := &m.d.exc[i]
	now, _ := json.Marshal(doc.Lines[0].Quantity)
	x.Original, x.Document = []byte("the record as it came"), all
	if x.Code == "unknown_sku" {
		x.State = "retried"
	}
	x.History = append(x.History, protocol.ExceptionAct{
		At: time.Now().UTC(), Who: who, Action: protocol.ExceptionEdit, Note: note, State: x.State, Changes: []protocol.FieldChange{{Pointer: "/lines/0/quantity", Was: json.RawMessage("2"), Now: now}},
	})
	return *x, nil
}

func (m demoMending) ExceptionStep(_ context.Context, f ledger.Filter, action, _, note string, preview bool) (protocol.ExceptionBulk, error) {
	b := protocol.ExceptionBulk{Action: action, Preview: preview, Causes: map[string]int{}, ByStore: map[string]int{}, BySource: map[string]int{}}
	f.State = "open"
	f.Limit = min(f.Limit, 2) // so that several steps are needed
	list, err := m.d.exceptions(f)
	for _, e := range list {
		b.Matched++
		b.Causes[e.Code]++
		b.ByStore[string(e.Origin.Store)]++
		b.BySource[ledger.SourceOf(e.Origin)]++
		if !preview {
			b.Done++
			err = m.d.decide(e.ID, map[string]string{protocol.ExceptionRetry: "retried", protocol.ExceptionDiscard: "discarded"}[action], note)
		}
	}
	if f.Limit > 0 && len(list) == f.Limit {
		b.More, b.Next = true, list[len(list)-1].ID
	}
	return b, err
}

func (m demoMending) ExceptionCauses(f ledger.Filter) (out []protocol.ExceptionCause, more bool, err error) {
	f.State = "open"
	list, err := m.d.exceptions(f)
	for _, e := range list {
		i := slices.IndexFunc(out, func(c protocol.ExceptionCause) bool { return c.Code == e.Code })
		if i < 0 {
			i, out = len(out), append(out, protocol.ExceptionCause{Code: e.Code, Actions: []string{protocol.ExceptionRetry, protocol.ExceptionEdit, protocol.ExceptionDiscard}})
		}
		out[i].Open++
	}
	return out, false, err
}

func (m demoMending) Sources() ([]protocol.SourceStanding, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	out := []protocol.SourceStanding{{Source: ledger.SourceAgents, Retry: []string{"sku_unknown"}, Open: 9}, {Source: "wms", StopPerHour: 100, ParkedInHour: 3}}
	if p, ok := m.d.paused["wms"]; ok {
		out[1].Paused = &p
	}
	return out, nil
}

func (m demoMending) PauseSource(_ context.Context, source, who, reason string) error {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	m.d.paused[source] = protocol.Pause{Since: time.Now().UTC(), By: who, Reason: reason}
	return nil
}

func (m demoMending) ResumeSource(_ context.Context, source, _, _ string) error {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if _, ok := m.d.paused[source]; !ok {
		return protocol.NewProblem(409, "not_paused", "The source is not paused", source, "")
	}
	delete(m.d.paused, source)
	return nil
}
