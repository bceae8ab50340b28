// Package api is the aggregator's HTTP contract as JSON: availability,
// explanations, changes, stores, exceptions, feeds, enrolment, health.
//
// Promises: every error is an RFC 9457 problem with a stable code, the field
// and the remedy; bodies, tables and streams are bounded; what a caller may do
// is decided in one table (routes). It stops at translating: what a number is,
// and what becomes of a document, others decide.
package api
