// Command peers makes stores of others do the work of Tillwire's journal: keep a
// small record durably before each of many writers goes on. The benchmark of
// tillwire-simulator builds and asks it; a job comes in on stdin, a result goes out
// on stdout. It is a Go module of its own, so that the libraries that it needs are
// none of the product's, and it knows nothing of the product.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// job says what to measure; package simulator declares the same.
type job struct {
	Engine  string        `json:"engine"` // sqlite or nats
	Dir     string        `json:"dir"`    // exists and is empty
	Writers int           `json:"writers"`
	For     time.Duration `json:"for_ns"`
	Warm    time.Duration `json:"warm_ns"`
	Records [][]byte      `json:"records"`
}

const (
	jobBytesMax = 16 << 20
	writersMax  = 1024
	forMax      = 10 * time.Minute
)

// store keeps records. Each writer has an append of its own, which returns when
// its record is on disk.
type store interface {
	writer(n int) (appendRecord func([]byte) error, err error)
	count() (int, error) // of records that are there
	close() error
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(io.LimitReader(in, jobBytesMax)).Decode(&j); err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	if len(j.Records) == 0 || j.Writers < 1 || j.Writers > writersMax || j.For <= 0 || j.For > forMax || j.Warm < 0 || j.Warm > forMax {
		return fmt.Errorf("read job: %d records, %d writers, %s: records, 1 to %d writers and a duration up to %s are needed", len(j.Records), j.Writers, j.For, writersMax, forMax)
	}
	s, err := open(j)
	if err != nil {
		return err
	}
	res, err := measure(s, j)
	if err = errors.Join(err, s.close()); err != nil {
		return fmt.Errorf("measure %s: %w", j.Engine, err)
	}
	return json.NewEncoder(out).Encode(res)
}

func open(j job) (store, error) {
	switch j.Engine {
	case "sqlite":
		return openSQLite(j.Dir)
	case "nats":
		return openNATS(j.Dir)
	}
	return nil, fmt.Errorf("open store: engine %q is neither sqlite nor nats", j.Engine)
}
