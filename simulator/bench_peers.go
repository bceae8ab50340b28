package simulator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// peersFolder is a Go module of its own, so that the libraries of others that are
// only measured beside are none of the product's.
const peersFolder = "simulator/peers"

// peersBuilt is where make puts its program.
const peersBuilt = ".bin/tillwire-peers"

// peersBuildMax bounds the first build: a C compiler works through SQLite.
const peersBuildMax = 8 * time.Minute

// journalPeer is another store that is asked to do the journal's work.
type journalPeer struct {
	name, how string
	run       func(ctx context.Context, writers int) (loadResult, error)
}

// peersJob is what the program of simulator/peers reads on its stdin; that
// program declares it too.
type peersJob struct {
	Engine  string        `json:"engine"`
	Dir     string        `json:"dir"`
	Writers int           `json:"writers"`
	For     time.Duration `json:"for_ns"`
	Warm    time.Duration `json:"warm_ns"`
	Records [][]byte      `json:"records"` // written over and over
}

// journalPeers builds the peers' program; the error says what is missing here.
func (b *bench) journalPeers(ctx context.Context) ([]journalPeer, error) {
	if b.alone {
		return nil, nil
	}
	program, err := b.peersProgram(ctx)
	if err != nil {
		return nil, err
	}
	records := make([][]byte, 256)
	for i := range records {
		records[i] = sampleRecord(i)
	}
	run := func(engine string) func(context.Context, int) (loadResult, error) {
		return func(ctx context.Context, writers int) (res loadResult, err error) {
			dir, err := b.fresh(engine)
			if err != nil {
				return res, err
			}
			return res, askProcess(exec.CommandContext(ctx, program), peersJob{
				Engine: engine, Dir: dir, Writers: writers, For: b.slice, Warm: b.slice / 10, Records: records,
			}, &res)
		}
	}
	return []journalPeer{
		{"SQLite", "SQLite, WAL, synchronous=FULL, one transaction per group of waiting writers, prepared", run("sqlite")},
		{"NATS JetStream", "NATS JetStream, file storage, sync always, embedded, connections in memory", run("nats")},
	}, nil
}

// peersProgram builds what stands in simulator/peers, where the sources are here.
func (b *bench) peersProgram(ctx context.Context) (string, error) {
	if path, err := filepath.Abs(peersBuilt); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	if _, err := os.Stat(filepath.Join(peersFolder, "go.mod")); err != nil {
		return "", fmt.Errorf("%s is not here: run `make bench`, which builds it", peersFolder)
	}
	for _, tool := range []struct{ name, install string }{{"go", "the Go of go.mod"}, {"gcc", "gcc and libc6-dev"}} {
		if _, err := exec.LookPath(tool.name); err != nil {
			return "", fmt.Errorf("%s is not here: install %s", tool.name, tool.install)
		}
	}
	out := filepath.Join(b.dir, "tillwire-peers")
	ctx, cancel := context.WithTimeout(ctx, peersBuildMax)
	defer cancel()
	b.errorf("         building %s; the first time it takes a minute or two\n", peersFolder)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, ".")
	cmd.Dir = peersFolder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build %s: %w: %.600s", peersFolder, err, said), ctx.Err())
	}
	return out, nil
}
