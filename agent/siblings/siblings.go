package siblings

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// Peer is another agent of the shop.
type Peer struct {
	Agent protocol.AgentID
	Addr  string // host:port of its lan.listen
}

// ParsePeer reads till-02=192.168.1.12:7412.
func ParsePeer(s string) (Peer, error) {
	agent, addr, found := strings.Cut(s, "=")
	if !found {
		return Peer{}, fmt.Errorf("%q is not of the form agent=host:port, e.g. till-02=192.168.1.12:7412", s)
	}
	if err := protocol.CheckName(agent); err != nil {
		return Peer{}, fmt.Errorf("%q: agent %w", s, err)
	}
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		return Peer{}, fmt.Errorf("%q: %q is not host:port", s, addr)
	}
	return Peer{Agent: protocol.AgentID(agent), Addr: addr}, nil
}

// Options are all required, except Peers: without any it only answers.
type Options struct {
	Store  protocol.StoreID
	Agent  protocol.AgentID
	Secret string // of the shop; at least SecretBytesMin
	Peers  []Peer
	Now    func() time.Time
	Log    zerolog.Logger
	Epoch  func() uint64
	CutAt  func(us int64) uint64 // highest own seq with a record time ≤ us
}

// Siblings asks and answers.
type Siblings struct {
	o      Options
	client *http.Client
	peers  []*peer
}

type peer struct {
	Peer
	mu     sync.Mutex
	seenUS int64 // last answer
	failUS int64 // last failure; 0 since the last answer
	err    string
}

// PeerStatus is what is known of a sibling, for the status page.
type PeerStatus struct {
	Agent     protocol.AgentID
	Addr      string
	SeenAt    time.Time // zero = never
	LastError string    // "" since the last answer
}

// New checks the options; it does no I/O.
func New(o Options) (*Siblings, error) {
	if len(o.Secret) < SecretBytesMin {
		return nil, fmt.Errorf("lan.secret has %d bytes, it needs at least %d: the same for all agents of the shop", len(o.Secret), SecretBytesMin)
	}
	if len(o.Peers) > PeersMax {
		return nil, fmt.Errorf("lan.siblings has %d entries, at most %d can be seen", len(o.Peers), PeersMax)
	}
	s := &Siblings{o: o, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connsPerPeer, MaxConnsPerHost: connsPerPeer, IdleConnTimeout: idleTimeout}}}
	known := map[protocol.AgentID]bool{o.Agent: true}
	for _, p := range o.Peers {
		if known[p.Agent] {
			return nil, fmt.Errorf("lan.siblings names %s twice, or this agent itself", p.Agent)
		}
		known[p.Agent] = true
		s.peers = append(s.peers, &peer{Peer: p})
	}
	return s, nil
}

// See completes a count by the cuts of all siblings that answer in time. It
// returns e itself where there is nothing to complete, else a copy with lines of
// its own.
func (s *Siblings) See(ctx context.Context, e *protocol.Event) *protocol.Event {
	if e.Kind != protocol.KindCount || len(s.peers) == 0 || len(e.Lines) == 0 {
		return e
	}
	at := moments(e)
	answers := make([][]uint64, len(s.peers)) // by peer: its cut at each moment
	epochs := make([]uint64, len(s.peers))
	var wg sync.WaitGroup
	for i, p := range s.peers {
		if !p.awake(s.o.Now().UnixMicro()) {
			continue
		}
		wg.Go(func() { answers[i], epochs[i] = s.askAll(ctx, p, at) })
	}
	wg.Wait()
	cuts := make([][]protocol.SiblingCut, len(at))
	for i, p := range s.peers {
		for k, seq := range answers[i] {
			cuts[k] = append(cuts[k], protocol.SiblingCut{Agent: p.Agent, Epoch: epochs[i], Seq: seq})
		}
	}
	c := *e
	c.Lines = append([]protocol.Line(nil), e.Lines...)
	fill(&c, at, cuts)
	return &c
}

// askAll asks one sibling for all moments; nil where any question stays open, or
// its epoch changed between two of them.
func (s *Siblings) askAll(ctx context.Context, p *peer, at []int64) (cuts []uint64, epoch uint64) {
	for first := 0; first < len(at); first += MomentsMax {
		a, err := s.ask(ctx, p, at[first:min(first+MomentsMax, len(at))])
		if err == nil && first > 0 && a.Epoch != epoch {
			err = errors.New("its epoch changed while it was asked")
		}
		p.note(s.o.Now().UnixMicro(), err)
		if err != nil {
			s.o.Log.Debug().Err(err).Str("sibling", string(p.Agent)).Msg("sibling not seen")
			return nil, 0
		}
		cuts, epoch = append(cuts, a.Cuts...), a.Epoch
	}
	return cuts, epoch
}

func (s *Siblings) ask(ctx context.Context, p *peer, at []int64) (*told, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	q := &ask{Store: s.o.Store, Agent: s.o.Agent, Nonce: hex.EncodeToString(nonce[:]), NowUS: s.o.Now().UnixMicro(), AtUS: at}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("write question: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr+Path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make question: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(signatureHeader, sign(s.o.Secret, "ask", "", body))
	res, err := s.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", p.Agent, err)
	}
	defer res.Body.Close() //nolint:errcheck // read only
	answer, err := io.ReadAll(io.LimitReader(res.Body, bodyBytesMax))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask %s: %w", p.Agent, err)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("ask %s: %s: %s", p.Agent, res.Status, strings.TrimSpace(string(answer)))
	case !signed(s.o.Secret, "answer", q.Nonce, answer, res.Header.Get(signatureHeader)):
		return nil, fmt.Errorf("ask %s: %w", p.Agent, errSignature)
	}
	return readTold(answer, q, p.Agent)
}

// awake tells whether a sibling is worth a question: not just after it failed.
func (p *peer) awake(nowUS int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failUS == 0 || nowUS-p.failUS >= restAfterFailure.Microseconds() || nowUS < p.failUS
}

func (p *peer) note(nowUS int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failUS, p.err = nowUS, err.Error()
		return
	}
	p.seenUS, p.failUS, p.err = nowUS, 0, ""
}

// Status lists the siblings in the order of the configuration.
func (s *Siblings) Status() []PeerStatus {
	out := make([]PeerStatus, 0, len(s.peers))
	for _, p := range s.peers {
		p.mu.Lock()
		st := PeerStatus{Agent: p.Agent, Addr: p.Addr, LastError: p.err}
		if p.seenUS != 0 {
			st.SeenAt = time.UnixMicro(p.seenUS).UTC()
		}
		p.mu.Unlock()
		out = append(out, st)
	}
	return out
}
