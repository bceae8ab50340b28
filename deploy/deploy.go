// Package deploy carries what an operator of the aggregator needs beside the
// programs. It promises the operations manual as bytes, so that the UI shows the
// very text that stands in the repository. It runs nothing.
package deploy

import _ "embed" // the manual

// Operations is OPERATIONS.md. Its second-level headings are incident codes.
//
//go:embed OPERATIONS.md
var Operations []byte
