// Package telemetry tells a collector of OpenTelemetry the way of documents whose
// sender asked for it by a sampled traceparent. It promises to cost the merge
// nothing that waits: what a slow collector does not take is dropped and counted.
// The truth of a document's way stands in the ledger (GET /v1/traces/{id}); this is
// a copy for those who look at all their systems in one place.
package telemetry
