package broker

import "time"

// Bounds of the door. None is a tuning knob but the caps in Options.
const (
	handshakeTimeout  = 5 * time.Second  // TCP accept to the whole CONNECT, TLS included
	writeTimeout      = 10 * time.Second // one write to one agent
	takeoverTimeout   = 10 * time.Second // for the former connection of an agent to end
	connectBytesMax   = 4 << 10          // of the CONNECT packet, all that is read from a stranger
	packetBytesMax    = 512 << 10        // a frame has at most 384 KiB
	tokenBytesMax     = 1 << 10
	willBytesMax      = 1 << 10
	keepaliveMaxS     = 300 // an agent that promises no sign of life is refused
	writesPendingMax  = 256 // mochi's queue per agent: 30 KiB instead of 90
	downQueueMax      = 64  // messages on their way to one agent
	filtersMax        = 8   // topic filters in one SUBSCRIBE
	inflightMax       = 256
	sysTickS          = 3600 // $SYS is read by nobody; each second it cost a third of a CPU
	strangersMax      = 1024 // connections above ClientsMax, which are still to authenticate
	acceptPauseMin    = 5 * time.Millisecond
	acceptPauseMax    = time.Second
	clientsDefault    = 8192
	perAddrDefault    = 64
	perLoopbackMaxDef = 8192 // a simulated fleet or a proxy stands behind one address
)
