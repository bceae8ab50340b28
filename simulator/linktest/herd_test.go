package linktest

import (
	"fmt"
	"testing"

	"tillwire/protocol"
)

// TestDrainsAreStaggered: each store that comes back with a backlog is told to begin
// a little after the one before; who has none begins at once.
func TestDrainsAreStaggered(t *testing.T) {
	c := newChain(t)
	last := int64(0)
	for n := range 5 {
		p := newPeer(c, protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%d", n)), Agent: "server"})
		w := p.hello(protocol.Hello{InstallID: "i", BootID: "b", Tail: 1, Head: 100_000})
		if w.StartAfterMS <= last || w.StartAfterMS > 1000 || w.Credit != 1 {
			t.Errorf("store %d may begin after %d ms, the one before after %d; credit %d", n, w.StartAfterMS, last, w.Credit)
		}
		last = w.StartAfterMS
	}
	p := newPeer(c, protocol.Origin{Store: "S9", Agent: "server"})
	if w := p.hello(protocol.Hello{InstallID: "i", BootID: "b", Tail: 1, Head: 20}); w.StartAfterMS != 0 {
		t.Errorf("a store without a backlog may begin after %d ms", w.StartAfterMS)
	}
}
