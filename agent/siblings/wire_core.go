package siblings

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"tillwire/protocol"
)

// Path and signature header of the question.
const (
	Path            = "/v1/cuts"
	signatureHeader = "X-Tillwire-Signature"
)

// ask asks for cuts. Moments are on the asker's clock, as is NowUS: the answerer
// only uses their distance, so that the two clocks need not agree.
type ask struct {
	Store protocol.StoreID `json:"store"`
	Agent protocol.AgentID `json:"agent"`
	Nonce string           `json:"nonce"`
	NowUS int64            `json:"now_us"`
	AtUS  []int64          `json:"at_us"`
}

// told answers it, cut by moment.
type told struct {
	Store protocol.StoreID `json:"store"`
	Agent protocol.AgentID `json:"agent"`
	Epoch uint64           `json:"epoch"`
	Cuts  []uint64         `json:"cuts"`
}

var (
	errSignature = errors.New("the signature does not fit: both agents need the same lan.secret")
	errShop      = errors.New("another shop's agent")
)

// sign binds a body to the shop's secret, to its purpose and to the question.
func sign(secret, purpose, nonce string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(purpose + "\n" + nonce + "\n"))
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

func signed(secret, purpose, nonce string, body []byte, signature string) bool {
	return hmac.Equal([]byte(sign(secret, purpose, nonce, body)), []byte(signature))
}

// readAsk checks a question. The caller has checked its signature.
func readAsk(body []byte, store protocol.StoreID) (*ask, error) {
	var q ask
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("read question: %w", err)
	}
	switch {
	case q.Store != store:
		return nil, fmt.Errorf("%w: the question is for store %q, this is %q", errShop, q.Store, store)
	case len(q.AtUS) == 0 || len(q.AtUS) > MomentsMax:
		return nil, fmt.Errorf("at_us has %d moments, expected 1 to %d", len(q.AtUS), MomentsMax)
	}
	return &q, nil
}

// answer computes the cuts. cutAt is the journal's: the highest seq whose record
// time is at most a moment of this machine's clock.
func (q *ask) answer(nowUS int64, cutAt func(us int64) uint64) []uint64 {
	cuts := make([]uint64, len(q.AtUS))
	for i, at := range q.AtUS {
		cuts[i] = cutAt(nowUS - max(q.NowUS-at, 0))
	}
	return cuts
}

// readTold checks an answer against its question.
func readTold(body []byte, q *ask, peer protocol.AgentID) (*told, error) {
	var a told
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	switch {
	case a.Store != q.Store:
		return nil, fmt.Errorf("%w: %q answered at the address of %s", errShop, a.Store, peer)
	case a.Agent != peer:
		return nil, fmt.Errorf("agent %q answered at the address of %q: mend lan.siblings", a.Agent, peer)
	case len(a.Cuts) != len(q.AtUS):
		return nil, fmt.Errorf("%d cuts for %d moments", len(a.Cuts), len(q.AtUS))
	}
	return &a, nil
}

// moments lists when a count's lines were counted, each moment once.
func moments(e *protocol.Event) []int64 {
	var out []int64
	for i := range e.Lines {
		out = append(out, momentOf(e, &e.Lines[i]))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func momentOf(e *protocol.Event, l *protocol.Line) int64 {
	if l.CountedAt.IsZero() {
		return e.EventTime.US
	}
	return l.CountedAt.US
}

// fill gives each line the cuts of its moment. e's lines are not the caller's.
func fill(e *protocol.Event, at []int64, cuts [][]protocol.SiblingCut) {
	for i := range e.Lines {
		k, _ := slices.BinarySearch(at, momentOf(e, &e.Lines[i]))
		e.Lines[i].Cuts = cuts[k]
	}
}
