package protocol

import "time"

// CaptureJob is what became of one EPCIS capture: GET /epcis/v2/capture/{id}.
// The names are the standard's, but for results.
type CaptureJob struct {
	CaptureID             string       `json:"captureID"`
	CreatedAt             time.Time    `json:"createdAt"`
	FinishedAt            time.Time    `json:"finishedAt"`
	Running               bool         `json:"running"` // never: a capture is answered when it is durable
	Success               bool         `json:"success"` // no event was refused
	CaptureErrorBehaviour string       `json:"captureErrorBehaviour"`
	Errors                []Problem    `json:"errors"`
	Results               []FeedResult `json:"results"` // of the first 100 events, in their order
}
