package simulator

import (
	"context"
	"io"
	"time"

	"github.com/rs/zerolog"

	"tillwire/simulator/scenario"
)

// DemoOptions say what to show.
type DemoOptions struct {
	Stores  int
	Speed   float64       // sales and the profile's clock, beside real life
	For     time.Duration // 0 = until interrupted
	DataDir string        // "" = temporary, removed at the end
	HTTP    string        // address of the UI
	Seed    uint64
	Calm    bool   // no link is cut
	AtLeast uint64 // documents to journal before For ends the sales; 0 = any number
	Log     zerolog.Logger
	Out     io.Writer
}

// Demo is the story "demo" on the machine's clock: what the pages show then are
// the hours of whoever looks at them.
func Demo(ctx, abort context.Context, o DemoOptions) (*DemoResult, error) {
	story, err := scenario.Load("demo")
	if err != nil {
		return nil, err
	}
	if o.Calm {
		story.Faults = nil
	}
	if o.Speed <= 0 {
		return nil, usageError{"--speed is not above 0"}
	}
	return Rehearse(ctx, abort, RehearsalOptions{
		Story: story, Stores: o.Stores, Speed: o.Speed, For: o.For, AtLeast: o.AtLeast, Machine: true,
		DataDir: o.DataDir, HTTP: o.HTTP, Seed: o.Seed, Log: o.Log, Out: o.Out,
	})
}
