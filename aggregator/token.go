package aggregator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"tillwire/protocol"
)

var errToken = errors.New("is no token of ours")

// settled returns when readers see what a token speaks of: a ledger position, as
// reservations are answered with, or STORE/AGENT:EPOCH:SEQ of a document that an
// agent or a feed has journaled.
func (a *Aggregator) settled(ctx context.Context, token string) error {
	if n, err := strconv.ParseUint(token, 10, 64); err == nil {
		return a.model.WaitApplied(ctx, n)
	}
	head, seq, ok := cutLast(token)
	journal, epoch, two := cutLast(head)
	store, agent, three := strings.Cut(journal, "/")
	e, err1 := strconv.ParseUint(epoch, 10, 64)
	q, err2 := strconv.ParseUint(seq, 10, 64)
	if !ok || !two || !three || err1 != nil || err2 != nil {
		return fmt.Errorf("%w: want STORE/AGENT:EPOCH:SEQ", errToken)
	}
	return a.model.WaitMark(ctx, protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}, e, q)
}

// cutLast cuts at the last colon: a feed's journal has one in its name.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
