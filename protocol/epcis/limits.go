package epcis

// The bounds of one capture.
const (
	EventsMax   = 10_000 // events in one document; told as GS1-EPCIS-Capture-Limit
	epcsMax     = 10_000 // instances and classes in one event
	uriBytesMax = 2_000  // of an identifier
	errorsMax   = 20     // findings told of one event
	eventIDMax  = 128    // longer ids are hashed to a document id
	cardDigits  = 13     // of the shortest payment card numbers
)
