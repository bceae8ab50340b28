package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// token is a read-your-writes token: the ledger's position after a write.
func token(p ledger.Position) string { return strconv.FormatUint(uint64(p), 10) }

var errToken = errors.New("is no token of ours")

// shown is what readers can see: the position, and who waits for more of it.
// Writers pay a comparison; those who wait poll by the batch.
type shown struct {
	position ledger.Position
	waiting  []waiter
}

type waiter struct {
	ready func() bool
	done  chan struct{}
}

// Settled returns when readers see what a token speaks of: a ledger position, or
// store/agent:epoch:seq of a journaled document.
func (i *Ingest) Settled(ctx context.Context, token string) error {
	ready, err := i.condition(token)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	err = i.call(ctx, func(i *Ingest, _ int64) error {
		if ready() {
			close(done)
		} else if len(i.shown.waiting) < waitersMax {
			i.shown.waiting = append(i.shown.waiting, waiter{ready, done})
		}
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		_ = i.enqueue(item{do: func(i *Ingest, _ int64) error { i.forget(done); return nil }}) // a full queue forgets it at the next batch that readies it
		return ctx.Err()
	case <-i.done:
		return ErrStopped
	}
}

func (i *Ingest) forget(done chan struct{}) {
	i.shown.waiting = slices.DeleteFunc(i.shown.waiting, func(w waiter) bool { return w.done == done })
}

// wake tells those whose write is shown now.
func (i *Ingest) wake() {
	i.shown.position = i.eng.Head()
	if len(i.shown.waiting) == 0 {
		return
	}
	i.shown.waiting = slices.DeleteFunc(i.shown.waiting, func(w waiter) bool {
		if !w.ready() {
			return false
		}
		close(w.done)
		return true
	})
}

// condition reads a token. What it returns is asked on the writer's goroutine.
func (i *Ingest) condition(token string) (func() bool, error) {
	journal, place, named := strings.Cut(token, ":")
	if !named {
		n, err := strconv.ParseUint(token, 10, 64)
		if err != nil {
			return nil, errToken
		}
		return func() bool { return i.shown.position >= ledger.Position(n) }, nil
	}
	store, agent, ok := strings.Cut(journal, "/")
	if rest, cut := strings.CutPrefix(token, journal+":"); ok && agent+":" == protocol.FeedAgentPrefix && cut { // store/feed:name:epoch:seq
		name, more, _ := strings.Cut(rest, ":")
		agent, place = protocol.FeedAgentPrefix+name, more
	}
	e, q, two := strings.Cut(place, ":")
	epoch, err1 := strconv.ParseUint(e, 10, 64)
	seq, err2 := strconv.ParseUint(q, 10, 64)
	if !ok || !two || err1 != nil || err2 != nil {
		return nil, fmt.Errorf("%w: want STORE/AGENT:EPOCH:SEQ", errToken)
	}
	o := protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}
	return func() bool {
		s := i.sessions[o]
		return s != nil && (s.was.Epoch > epoch || s.was.Epoch == epoch && s.was.Seq >= seq)
	}, nil
}

// Certificate tells the vector of marks and the digest of the positions.
func (i *Ingest) Certificate(ctx context.Context) (protocol.Certificate, error) {
	var c protocol.Certificate
	err := i.call(ctx, func(i *Ingest, nowUS int64) error {
		c = protocol.Certificate{
			At: time.UnixMicro(nowUS).UTC(), Position: uint64(i.eng.Head()), Cells: i.eng.Cells(), StateHash: i.eng.Certificate(),
			Marks: make([]protocol.CertificateMark, 0, len(i.sessions)),
		}
		for _, s := range i.sessions {
			c.Marks = append(c.Marks, protocol.CertificateMark{Origin: s.origin, Epoch: s.mark.Epoch, Seq: s.mark.Seq, Chain: s.mark.Chain})
		}
		slices.SortFunc(c.Marks, func(x, y protocol.CertificateMark) int {
			return cmp.Or(cmp.Compare(x.Store, y.Store), cmp.Compare(x.Agent, y.Agent))
		})
		return nil
	})
	return c, err
}
