// Package release serves the newest agent to the shops and says, step by step,
// which of them are to run it. It promises that only what the release keys signed
// is published, and that a rollout which goes wrong stops by itself. It holds no
// private key: who takes the aggregator over can withhold a release, and no more.
package release
