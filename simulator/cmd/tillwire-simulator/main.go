// Command tillwire-simulator runs fleets of real agents against a real
// aggregator and proves what arrived. It promises the exit codes of the
// contract; everything else stands in package simulator.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"tillwire/simulator"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	abort, cancelAbort := context.WithCancel(context.Background())
	defer cancelAbort()
	ctx, cancel := context.WithCancel(abort)
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() { // ends with the process
		<-signals
		cancel() // end the sales, drain, judge
		<-signals
		cancelAbort() // enough
	}()
	t := &simulator.Terminal{Version: version, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Lookup: os.LookupEnv}
	return t.Main(ctx, abort, os.Args[1:])
}
