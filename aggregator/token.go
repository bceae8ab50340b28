package aggregator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"tillwire/protocol"
)

var errToken = errors.New("is no token of ours")

// settled returns when readers see what a token speaks of: GENERATION.POSITION of the
// ledger, as reservations are answered with, or STORE/AGENT:EPOCH:SEQ of a document that an
// agent or a feed has journaled.
func (a *Aggregator) settled(ctx context.Context, token string) error {
	if g, n, ok := position(token); ok {
		if own := a.ingest.Generation(); g != own {
			return protocol.NewProblem(http.StatusConflict, "token_outdated", "The ledger was restored since",
				fmt.Sprintf("the token is of generation %d, the ledger of %d", g, own), "the write it speaks of may be lost: read it, and send it again under the same id where it is gone")
		}
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

// position reads GENERATION.POSITION.
func position(token string) (generation, n uint64, ok bool) {
	g, p, ok := strings.Cut(token, ".")
	generation, err1 := strconv.ParseUint(g, 10, 64)
	n, err2 := strconv.ParseUint(p, 10, 64)
	return generation, n, ok && err1 == nil && err2 == nil
}

// cutLast cuts at the last colon: a feed's journal has one in its name.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
