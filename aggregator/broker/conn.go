package broker

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// conn is a connection whose CONNECT packet is read already. The MQTT library
// sees that packet first and cannot read on before it is authenticated, so
// what a stranger can make us allocate is bounded by connectBytesMax.
type conn struct {
	net.Conn
	prefix  []byte              // of the CONNECT packet, what the library has yet to read
	shown   []*x509.Certificate // by a TLS client, its own first
	session *session            // set once authenticated; touched by the serving goroutine only
}

// Read hands out the CONNECT packet, then the network.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		if c.prefix = c.prefix[n:]; len(c.prefix) == 0 {
			c.prefix = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// Write bounds each write by itself: an agent that pings but does not read must
// not keep its writer for ever.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// SetDeadline is called by the library with the keep-alive; Write has its own.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

var (
	errNotConnect = errors.New("first packet is not an MQTT CONNECT")
	errProtocol   = errors.New("protocol is not MQTT 3.1.1")
)

// unacceptable is the CONNACK with return code 1, unacceptable protocol version.
var unacceptable = []byte{0x20, 2, 0, 1}

// readConnect reads exactly the CONNECT packet: fixed header, remaining length
// (at most two bytes of it are needed), body. Protocols other than 3.1.1 are
// told so and refused, because the library's MQTT 5 decoder can be made to panic.
func readConnect(c net.Conn) ([]byte, error) {
	var head [3]byte
	if _, err := io.ReadFull(c, head[:2]); err != nil {
		return nil, fmt.Errorf("read connect: %w", err)
	}
	if head[0] != 0x10 {
		return nil, errNotConnect
	}
	n, size := 2, int(head[1])
	if size >= 0x80 {
		if _, err := io.ReadFull(c, head[2:]); err != nil {
			return nil, fmt.Errorf("read connect: %w", err)
		}
		if head[2] >= 0x80 {
			return nil, fmt.Errorf("read connect: packet is larger than %d bytes", connectBytesMax)
		}
		n, size = 3, size&0x7f|int(head[2])<<7
	}
	if size > connectBytesMax {
		return nil, fmt.Errorf("read connect: packet has %d bytes, at most %d are allowed", size, connectBytesMax)
	}
	pk := make([]byte, n+size)
	copy(pk, head[:n])
	if _, err := io.ReadFull(c, pk[n:]); err != nil {
		return nil, fmt.Errorf("read connect: %w", err)
	}
	if body := pk[n:]; len(body) < 10 || string(body[:7]) != "\x00\x04MQTT\x04" {
		_, _ = c.Write(unacceptable)
		return nil, errProtocol
	}
	return pk, nil
}
