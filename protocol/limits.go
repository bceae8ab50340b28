package protocol

import "time"

// The bounds of the wire. Each is refused at the edge with the field's name;
// none is a tuning knob.
const (
	SKUBytesMax         = 64
	IDBytesMax          = 128  // document_id, register, transfer_id, …
	NameBytesMax        = 64   // store, agent, location, source
	DocumentLinesMax    = 1000 // lines in one POS or feed document
	CutsMax             = 64   // sibling journals cut by one count line
	AcksMax             = 5000 // journals that one snapshot acknowledges
	RCNSchemesMax       = 32   // families of price- and weight-embedded barcodes
	ItemNameBytesMax    = 200
	PolicyNoteBytesMax  = 500
	DarkAfterMaxS       = 366 * 86400 // seconds of silence that a policy may allow
	BodyBytesMax        = 1 << 20     // agent HTTP bodies
	FeedBodyBytesMax    = 16 << 20
	BulkEventsMax       = 1000 // documents in one POST /v1/events or feed call
	QueryCellsMax       = 1000 // SKUs in one availability query
	RecordBytesMax      = 224 << 10
	FrameEventsMax      = 200
	FrameRawBytesMax    = 256 << 10 // raw bytes of records in one frame
	FrameBytesMax       = 384 << 10 // whole encoded frame
	ControlBytesMax     = 64 << 10  // hello, welcome, ack, heartbeat
	FrameHeaderBytesMax = 4 << 10   // header of a frame
	DigestPartsMax      = 64        // messages of one digest
	DigestStretchMax    = 2_000_000 // records that one digest sums up
	digestPartBytes     = 192 << 10 // of rows in one message, before compression
	FrameLinger         = 100 * time.Millisecond
	CreditMax           = 8
	HeartbeatEvery      = 15 * time.Second
	PresenceGrace       = 45 * time.Second
	AckCoalesce         = 50 * time.Millisecond
	LateToleranceUS     = 60_000_000 // record_time − event_time beyond which a document was posted late
	ClockSetBackUS      = 1_000_000  // record times ahead of the agent's clock by more: it was set back
	traceparentMaxByte  = 128
	lineOnWireMax       = 1<<31 - 1 // int32 of other implementers
)
