package protocol

import "time"

// Certificate is the convergence certificate: two aggregators whose Marks are
// equal have an equal StateHash, whatever order the events came in.
type Certificate struct {
	At        time.Time         `json:"at"`
	Position  uint64            `json:"position"` // of the ledger's log
	Cells     int               `json:"cells"`
	StateHash string            `json:"state_hash"`
	Marks     []CertificateMark `json:"marks"` // in order of store and agent
}

// CertificateMark is how far one journal is merged.
type CertificateMark struct {
	Origin
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
	Chain Chain  `json:"chain"`
}
