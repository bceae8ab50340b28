// Package yardstick holds the bare limits that the benchmarks stand beside: a
// preallocated file with one fdatasync per group of writers, bare bbolt batches,
// a bare net/http server that decodes and answers, bare zstd, and a bare MQTT
// client and broker. They promise to do the least that the same hardware must do
// for the same bytes, and nothing that a product needs: no index, no checksum, no
// recovery. Nothing but the benchmark may import this.
package yardstick
