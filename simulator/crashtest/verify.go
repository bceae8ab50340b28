package crashtest

import (
	"context"
	"fmt"
	"path/filepath"

	"tillwire/agent"
	"tillwire/protocol"
	"tillwire/store/journal"
)

// ledger remembers what stands in a journal, so that each look reads only what is
// new since the one before; the chain links them.
type ledger struct {
	path  string
	at    uint64 // seq of the last record seen
	chain protocol.Chain
	docs  map[string]uint64
	twice uint64
}

func newLedger(dir string) *ledger {
	return &ledger{path: filepath.Join(dir, agent.JournalFile), docs: map[string]uint64{}}
}

// look verifies what is new. A journal that was acked from and then lost is an
// error; so is damage, and a record that changed.
func (l *ledger) look(ctx context.Context) error {
	first := true
	found, err := journal.Inspect(ctx, l.path, l.at+1, func(seq uint64, _ int64, rec []byte, before, after protocol.Chain) error {
		if first && (seq != l.at+1 || before != l.chain) {
			return fmt.Errorf("seq %d follows chain %s; %s stood at seq %d", seq, before, l.chain, l.at)
		}
		first = false
		var e protocol.Event
		if _, err := protocol.DecodeRecord(rec, &e); err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		l.at, l.chain = seq, after
		if e.Kind != protocol.KindSale { // the agent's own reading of its clock
			return nil
		}
		if _, again := l.docs[e.DocumentID]; again {
			l.twice++
		}
		l.docs[e.DocumentID] = seq
		return nil
	})
	switch {
	case err != nil:
		return err
	case found.Damage != nil:
		return found.Damage
	case found.Head < l.at:
		return fmt.Errorf("head is %d, it was %d", found.Head, l.at)
	}
	return nil
}

// judge compares with what tills were told since the last time, and adds it to
// the result.
func (l *ledger) judge(ctx context.Context, c *crew, res *Result) error {
	if err := l.look(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	res.mu.Lock()
	defer res.mu.Unlock()
	for doc, seq := range c.acked {
		if l.docs[doc] != seq {
			res.Lost++
			res.Note = fmt.Sprintf("%s was acked at seq %d, the journal has it at %d", doc, seq, l.docs[doc])
		}
	}
	res.Acked += uint64(len(c.acked))
	res.Duplicated += l.twice
	clear(c.acked)
	l.twice = 0
	if c.broken != "" {
		return fmt.Errorf("a broken answer: %s", c.broken)
	}
	return nil
}
