package channel

import (
	"context"
	"net/http"
	"sync"
	"time"

	"tillwire/protocol"
)

// Partner is one outer system that the configuration names.
type Partner interface {
	// Run serves until ctx ends. What goes wrong with the partner is no error of it.
	Run(ctx context.Context) error
	// Status tells how it stands.
	Status() protocol.Connector
	// Deliver takes what the partner posts; it answers when it is durable.
	Deliver(ctx context.Context, h http.Header, body []byte) (protocol.WebhookReceipt, error)
	// Letters are what of it cannot take effect.
	Letters() *DeadLetters
	// Retry lets a dead letter take effect again; nil: it did, or is owed again.
	Retry(ctx context.Context, d *protocol.DeadLetter) error
	// Divergences are what it shows otherwise than it should.
	Divergences() []protocol.Divergence
}

// TakesNothing is the answer of a partner that posts nothing.
func TakesNothing(name string) *protocol.Problem {
	return protocol.NewProblem(http.StatusNotFound, "no_webhooks", "This connector takes no webhooks", name, "GET /v1/connectors tells what a connector does")
}

// Unsigned is the answer to a call whose signature is not accepted.
func Unsigned(why error) *protocol.Problem {
	return protocol.NewProblem(http.StatusUnauthorized, "bad_signature", "The signature is not accepted", why.Error(),
		"sign with the secret of this connector's configuration; the clock of both ends must be right")
}

// Notes are the newest things that happened with a partner.
type Notes struct {
	mu  sync.Mutex // guards what follows
	doc *protocol.ConnectorDoc
	err *protocol.ConnectorErr
	bad bool
}

// Went notes a document that went through; what failed before is over.
func (n *Notes) Went(id, kind string, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.doc, n.bad = &protocol.ConnectorDoc{ID: id, Kind: kind, At: at.UTC()}, false
}

// Failed notes an error; first tells that all was well before.
func (n *Notes) Failed(err error, at time.Time) (first bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	first = !n.bad
	n.err, n.bad = &protocol.ConnectorErr{Message: Excerpt(err.Error()), At: at.UTC()}, true
	return first
}

// Fill writes them into a status.
func (n *Notes) Fill(c *protocol.Connector) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.LastDocument, c.LastError = n.doc, n.err
	c.State = protocol.ConnectorOK
	if n.bad {
		c.State, c.Reason = protocol.ConnectorFailing, n.err.Message
	}
}
