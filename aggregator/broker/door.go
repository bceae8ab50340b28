package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"time"
)

// accept takes connections until the listener is closed.
func (b *Broker) accept(ctx context.Context) error {
	pause := acceptPauseMin
	for {
		c, err := b.o.Listener.Accept()
		switch {
		case err == nil:
			pause = acceptPauseMin
			b.admit(ctx, c)
			continue
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return err
		}
		// Out of file descriptors, most likely: wait for some to be given back.
		b.log.Warn().Err(err).Msg("connection not accepted")
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
		pause = min(2*pause, acceptPauseMax)
	}
}

// admit counts a connection under its address and serves it, or closes it.
func (b *Broker) admit(ctx context.Context, c net.Conn) {
	addr, limit := b.place(c.RemoteAddr())
	b.mu.Lock()
	ok := !b.closed && len(b.open) < b.o.ClientsMax+strangersMax && b.perAddr[addr] < limit
	if ok {
		b.open[c] = addr
		b.perAddr[addr]++
		b.wg.Add(1)
	}
	b.mu.Unlock()
	if !ok {
		b.n.refusedCap.Add(1)
		_ = c.Close()
		return
	}
	b.n.accepted.Add(1)
	go func() {
		defer b.wg.Done()
		b.serve(ctx, c)
		_ = c.Close()
		b.mu.Lock()
		delete(b.open, c)
		if b.perAddr[addr]--; b.perAddr[addr] == 0 {
			delete(b.perAddr, addr)
		}
		b.mu.Unlock()
	}()
}

// place says under what a peer is counted: IPv4 by address, IPv6 by /64, which
// is what one host can easily have; all of loopback (and of in-memory networks)
// together.
func (b *Broker) place(a net.Addr) (string, int) {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil || ap.Addr().Unmap().IsLoopback() {
		return "loopback", b.o.PerLoopbackMax
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		p, err := ip.Prefix(64)
		if err == nil {
			return p.String(), b.o.PerAddrMax
		}
	}
	return ip.String(), b.o.PerAddrMax
}

// serve is one connection's life. Whatever panics in the library's decoders
// ends this connection and nothing else.
func (b *Broker) serve(ctx context.Context, raw net.Conn) {
	var c *conn
	defer func() {
		if r := recover(); r != nil {
			b.n.panics.Add(1)
			b.log.Error().Str("remote", raw.RemoteAddr().String()).Str("err", fmt.Sprint(r)).Bytes("stack", debug.Stack()).Msg("connection panicked")
		}
		if c != nil {
			b.leave(c.session)
		}
	}()
	if err := raw.SetDeadline(time.Now().Add(b.o.handshake)); err != nil {
		return
	}
	stream := raw
	var shown []*x509.Certificate
	if b.o.TLS != nil {
		t := tls.Server(raw, b.o.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			b.turnAway(raw, err)
			return
		}
		stream, shown = t, t.ConnectionState().PeerCertificates
	}
	pk, err := readConnect(stream)
	if err != nil {
		b.turnAway(raw, err)
		return
	}
	c = &conn{Conn: stream, prefix: pk, shown: shown}
	if err := b.server.EstablishConnection("mqtt", c); err != nil {
		b.log.Debug().Str("remote", raw.RemoteAddr().String()).Err(err).Msg("connection ended")
	}
}

func (b *Broker) turnAway(c net.Conn, err error) {
	b.n.refusedHandshake.Add(1)
	b.log.Debug().Str("remote", c.RemoteAddr().String()).Err(err).Msg("handshake refused")
}
