// Package openapi holds the two HTTP contracts as OpenAPI 3.1 documents. The
// programs serve them at /openapi.json; tests hold code and documents together.
// It embeds files and does nothing else.
package openapi

import "embed"

//go:embed *.json
var files embed.FS

// Agent is the document of the port that points of sale talk to.
func Agent() []byte { return read("agent.json") }

// Aggregator is the document of the port that channels, feeds and people use.
func Aggregator() []byte { return read("aggregator.json") }

// read gives a fresh copy; a missing file is a build mistake, and nil.
func read(name string) []byte {
	b, err := files.ReadFile(name)
	if err != nil {
		return nil
	}
	return b
}
