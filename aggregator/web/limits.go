package web

import "time"

// The bounds of what a browser can ask for.
const (
	StreamsMax        = 512              // open event streams; beyond, 503
	streamWriteMax    = 10 * time.Second // a reader slower than this is dropped and comes back
	streamIdle        = 15 * time.Second // a comment is sent at least this often
	streamRetryMS     = 2000
	bodyBytesMax      = 64 << 10
	queryBytesMax     = 128 // a search box
	noteBytesMax      = 500 // why an exception was discarded
	exceptionsPerPage = 100
	exceptionsCSVMax  = 10_000
	explainLinesMax   = 100
	suggestionsMax    = 12
	storeExceptions   = 8 // recent ones on a store's page
	denseFrom         = 1200
	callsShown        = 6 // rows of whom to call
	callsMax          = 300
	togetherWithin    = 10 * time.Minute // what strikes a region within this is one trouble
	togetherMin       = 3                // stores; fewer are called one by one
	togetherNames     = 4
	documentBytesMax  = 32 << 10        // of an exception's document, as shown
	bulkStep          = 200             // exceptions that one step of many decides: whoever waits sees it go on
	tallied           = 6               // causes or sources that a preview names
	standingFor       = 4 * time.Second // what is told of all sources is asked for anew after this
	decidedCounted    = 1000            // decided exceptions that the causes are counted of
	rowsPerPage       = 100
	csvRowsMax        = 999
	riskMax           = 200
	driftCounted      = 1000 // rows that the sums by system are of
	historyShown      = 20
	countNextShown    = 25
	foundPerKind      = 6
	outcomeWeeks      = 13               // that are shown where nobody says which
	traceIDMin        = 4                // a shorter text is in too many documents
	curvesShown       = 60               // rows of a table that have curves, the worst first: 2 KB each, every 5 s
	sparksFor         = 10 * time.Second // a curve is drawn anew after this, whoever looks
	lettersShown      = 50               // dead letters of a connector
	divergencesShown  = 100
	driftFieldsShown  = 50
	explainSteps      = 200 // moments that the slider through time stops at
)
