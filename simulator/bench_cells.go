package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"

	"tillwire/aggregator/availability"
	"tillwire/protocol"
)

// The read model at the size of a large chain: 50,000 articles in 400 stores.
const (
	cellSKUs      = 50_000
	cellSKUsQuick = 5_000
	cellLocations = 400
	cellPayload   = 16 // bytes that nobody can do without: on hand and promised
)

// cells: memory of the read model per (article, location). It is filled in a
// process of its own, so that nothing else stands in the heap.
func (b *bench) cells(ctx context.Context) error {
	job := cellsJob{SKUs: cellSKUs, Locations: cellLocations}
	if b.quick {
		job.SKUs = cellSKUsQuick
	}
	var heap, rss, fill []float64
	reps := 1 // what it comes to does not depend on the neighbours
	if b.quick {
		reps = b.reps
	}
	var cells int
	for range reps {
		var r cellsResult
		if err := b.child(ctx, "cells", job, &r); err != nil {
			return err
		}
		cells = r.Cells
		heap = append(heap, float64(r.Heap)/float64(r.Cells))
		rss = append(rss, float64(r.RSS)/float64(r.Cells))
		fill = append(fill, float64(r.Cells)/r.FillS)
	}
	payload := make([]float64, len(heap))
	for i := range payload {
		payload[i] = cellPayload
	}
	row := beside(fmt.Sprintf("memory per cell at %s", millions(cells)), "B", heap, "bytes of a bare pair of numbers", payload)
	row.aimMost(48)
	row.note("%d articles × %d locations, every cell with a rate and a count, a tenth with holds and goods in transit; index and names included; live heap after a collection", job.SKUs, job.Locations)
	row.note("resident memory of the whole process %s B per cell; filled at %s cells/s", figure(spread(rss).Median), figure(spread(fill).Median))
	b.row(row)
	return nil
}

func millions(n int) string { return fmt.Sprintf("%g million", float64(n)/1e6) }

// cellsJob is what the bench tells a process that fills a read model.
type cellsJob struct {
	SKUs      int `json:"skus"`
	Locations int `json:"locations"`
}

type cellsResult struct {
	Cells int     `json:"cells"`
	Heap  int64   `json:"heap_bytes"` // that the model added
	RSS   int64   `json:"rss_bytes"`
	FillS float64 `json:"fill_s"`
}

func (j cellsJob) run() (r cellsResult, err error) {
	if j.SKUs < 1 || j.Locations < 1 || j.SKUs*j.Locations > 200_000_000 {
		return r, fmt.Errorf("cells: %d skus × %d locations are not between 1 and 200 million", j.SKUs, j.Locations)
	}
	before := heapBytes()
	began := time.Now()
	m := availability.New(time.Now)
	names := make([]protocol.StoreID, j.Locations)
	for l := range names {
		names[l] = protocol.StoreID(fmt.Sprintf("S%04d", l))
	}
	nowUS := time.Now().UnixMicro()
	cells := make([]availability.Cell, j.Locations)
	for s := range j.SKUs {
		sku := protocol.SKU(fmt.Sprintf("%014d", s))
		for l := range cells {
			cells[l] = availability.Cell{SKU: sku, Location: names[l], OnHand: protocol.Units(int64(l)), Rate: 0.05, LastUS: nowUS, CountedUS: nowUS}
			if (s+l)%10 == 0 {
				cells[l].Reserved, cells[l].InTransit = protocol.Units(1), protocol.Units(2)
			}
		}
		m.Apply(cells)
	}
	r.FillS = time.Since(began).Seconds()
	r.Heap = heapBytes() - before
	r.RSS, _ = residentBytes()
	r.Cells = m.Cells()
	runtime.KeepAlive(m)
	return r, nil
}

func heapBytes() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held outlives one
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// serveCells is the outside process.
func serveCells(in io.Reader, out io.Writer) error {
	var j cellsJob
	if err := json.NewDecoder(io.LimitReader(in, answerBytesMax)).Decode(&j); err != nil {
		return fmt.Errorf("read cells job: %w", err)
	}
	r, err := j.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}
