// Package siblings lets the agents of one shop ask each other how far their
// journals stood at a moment.
//
// Where each till has an agent of its own, a count is journaled by one of them
// and the goods were sold by all. The counter's journal knows its own order; this
// package brings the others' (protocol.SiblingCut), over the shop's LAN, at the
// moment of counting. It promises that a cut it returns was answered by a holder
// of the shop's secret within AskTimeout. It does not wait longer: a sibling that
// cannot be seen is left out, and the chain then judges by the journals' clocks.
package siblings
