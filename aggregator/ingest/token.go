package ingest

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// token is a read-your-writes token: the ledger's position after a write, and the
// generation of the ledger, for after a restore positions mean something else.
func (i *Ingest) token(p ledger.Position) string {
	return strconv.FormatUint(i.generation.Load(), 10) + "." + strconv.FormatUint(uint64(p), 10)
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
