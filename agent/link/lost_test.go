package link

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// A heartbeat that meets the end of a connection passes it over, for the next is as
// good; whoever publishes next must hear of it all the same. When the notice could be
// taken once only, such a link waited for ever for a pump that had ended.
func TestEveryoneHearsOfALoss(t *testing.T) {
	l, err := New(stillOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &connection{lost: make(chan struct{}), out: make(chan outgoing), quit: make(chan struct{})}
	c.fail(errors.New("reset by peer"))
	c.fail(errors.New("a later reason"))
	l.beat(t.Context(), c)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.publish(ctx, c, "topic", 1, nil); err == nil || !strings.Contains(err.Error(), "connection lost: reset by peer") {
		t.Errorf("publishing on a lost connection: %v", err)
	}
	if err := l.converse(ctx, c); err == nil || !strings.Contains(err.Error(), "reset by peer") {
		t.Errorf("working a lost connection: %v", err)
	}
}
