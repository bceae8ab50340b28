package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// result is what one run saw, as the benchmark reads it.
type result struct {
	Requests int           `json:"requests"`
	Sent     int           `json:"sent"` // with those that warmed up
	PerS     float64       `json:"per_s"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
}

const samplesMax = 400_000 // kept per writer

// measure runs a closed loop: each writer appends as soon as its last record was
// durable. Whatever warmed up is not counted. In the end the store must hold
// exactly what was acknowledged.
func measure(s store, j job) (result, error) {
	writers := make([]func([]byte) error, j.Writers)
	for w := range writers {
		var err error
		if writers[w], err = s.writer(w); err != nil {
			return result{}, err
		}
	}
	from := time.Now().Add(j.Warm)
	until := from.Add(j.For)
	samples, errs := make([][]time.Duration, j.Writers), make([]error, j.Writers)
	var sent atomic.Int64
	var wg sync.WaitGroup
	for w, appendRecord := range writers {
		wg.Go(func() {
			for n := w; ; n++ {
				began := time.Now()
				if began.After(until) {
					return
				}
				if errs[w] = appendRecord(j.Records[n%len(j.Records)]); errs[w] != nil {
					return
				}
				sent.Add(1)
				if began.After(from) && len(samples[w]) < samplesMax {
					samples[w] = append(samples[w], time.Since(began))
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return result{}, err
	}
	held, err := s.count()
	if err == nil && held != int(sent.Load()) {
		err = fmt.Errorf("%d records were acknowledged, %d are there", sent.Load(), held)
	}
	return summarise(slices.Concat(samples...), int(sent.Load()), j.For), err
}

func summarise(all []time.Duration, sent int, d time.Duration) result {
	slices.Sort(all)
	r := result{Requests: len(all), Sent: sent, PerS: float64(len(all)) / d.Seconds()}
	if len(all) > 0 {
		r.P50, r.P99, r.Max = all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	}
	return r
}
