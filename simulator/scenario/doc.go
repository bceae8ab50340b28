// Package scenario reads the stories that a fleet lives through: when shops open,
// how much they sell, what customers order and what goes wrong, and when. It
// embeds ready-made ones. It promises that a story which loads makes sense, and
// that one which does not says where and how to mend it. It stops at the story:
// who acts it out is package simulator.
package scenario
