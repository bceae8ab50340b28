package link

import (
	"time"

	"tillwire/protocol"
)

// Bounds of a link.
const (
	inboxMax       = 64 // control messages that wait for the loop
	helloTriesMax  = 3  // unanswered, before the connection is given up
	resendsMax     = 1  // of a window without an answer, before the connection is given up
	malformedMax   = 3  // refusals in a row, before HELLO
	strikesForRest = 1  // HELLOs without progress before they are spaced
	clockSamples   = 8
	clockRTTMax    = 60 * time.Second // older echoes say nothing about clocks
	restMin        = time.Second
	restMax        = time.Minute
	busyRest       = 250 * time.Millisecond
	paceMax        = time.Minute
	gapRepeat      = time.Second      // the same gap told again within it is an echo
	startAfterMax  = 10 * time.Minute // whatever a WELCOME says
	renewRestMax   = time.Hour        // between requests for a certificate that are refused or not answered
	renewRestShare = 24               // of the time that the certificate has left: nor is more waited
	settledAfter   = time.Minute      // a session this old was not superseded at once
	disconnectMS   = 250
	writeTimeout   = 10 * time.Second       // one packet to the network
	handTimeout    = time.Second            // one try to hand a message to the MQTT client
	replayLook     = 100 * time.Millisecond // how often Replay looks whether it was answered
	errorBytesMax  = 256

	// Room for the length in front of each record of a frame.
	frameReadBytes = protocol.FrameRawBytesMax - 4*protocol.FrameEventsMax
)

// digestBacklog is how many events more than two frames must wait to be worth
// announcing.
const digestBacklog = 2 * protocol.FrameEventsMax

// Timing are the durations of a link; zero values take the defaults named.
type Timing struct {
	ReconnectMin     time.Duration // 1 s: first window of the full-jitter backoff
	ReconnectCap     time.Duration // 120 s: its largest window
	StableAfter      time.Duration // 60 s: a connection this old resets the backoff
	LongOutage       time.Duration // 60 s: after it, dials are spread wider
	LongOutageSpread time.Duration // 30 s: over at least this
	Heartbeat        time.Duration // 15 s, ± 20 %
	AckTimeout       time.Duration // 10 s: for an answer to HELLO or a frame
	Linger           time.Duration // 100 ms: a live event waits so long for others
	RefusedRest      time.Duration // 60 s: after a refused WELCOME, NACK(upgrade) or NACK(quarantined)
	ConnectTimeout   time.Duration // 15 s: dial, TLS, CONNECT, SUBSCRIBE each
}

func (t *Timing) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&t.ReconnectMin, time.Second)
	def(&t.ReconnectCap, 2*time.Minute)
	def(&t.StableAfter, time.Minute)
	def(&t.LongOutage, time.Minute)
	def(&t.LongOutageSpread, 30*time.Second)
	def(&t.Heartbeat, protocol.HeartbeatEvery)
	def(&t.AckTimeout, 10*time.Second)
	def(&t.Linger, protocol.FrameLinger)
	def(&t.RefusedRest, time.Minute)
	def(&t.ConnectTimeout, 15*time.Second)
}
