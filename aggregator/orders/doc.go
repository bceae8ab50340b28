// Package orders keeps what one agent is to be like and to do: its desired state,
// by version, and its commands until their results are merged. It promises that a
// version and a command's number never repeat, that a command which has ended never
// begins again, and that what is kept is bounded. It is pure: the ledger, the line
// and the clock belong to ingest.
package orders
