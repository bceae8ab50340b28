package availability

import (
	"fmt"

	"tillwire/protocol"
)

// State is what a channel can do with a SKU.
type State uint8

// The states. There is no hysteresis: they follow the number exactly.
const (
	StateUnknown State = iota // not looked at yet
	StateIn                   // more than low_at is available
	StateLow                  // no more than low_at
	StateOut                  // nothing
)

var stateNames = [...]string{"unknown", "in", "low", "out"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText writes the name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *State) UnmarshalText(b []byte) error {
	for i, n := range stateNames {
		if n == string(b) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("parse state: %q is not in, low or out", b)
}

// Judge is the state of an available quantity.
func Judge(available, lowAt protocol.Quantity) State { return judged(available, lowAt) }

func judged(available, lowAt protocol.Quantity) State {
	switch {
	case available <= 0:
		return StateOut
	case available <= lowAt:
		return StateLow
	}
	return StateIn
}
