package aggregator_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"tillwire/aggregator"
)

// BenchmarkEPCISCapture captures documents of 100 events over HTTP, each merged and
// durable in the ledger with its job before it is answered: what a WMS sees.
func BenchmarkEPCISCapture(b *testing.B) {
	c := aggregator.Defaults()
	c.DataDir, c.Dev, c.HTTP.Listen, c.MQTT.Listen = b.TempDir(), true, "127.0.0.1:0", "127.0.0.1:0"
	a, err := aggregator.New(c, aggregator.Deps{Log: zerolog.Nop(), Version: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	<-a.Ready()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	const events = 100
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(4) // senders at once, per core
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			no := next.Add(1)
			list := make([]string, events)
			for i := range list {
				list[i] = epcisAt(fmt.Sprintf("95213210000%02d", no%16), fmt.Sprintf("urn:uuid:%d-%d", no, i), "receiving", "")
			}
			resp, err := http.Post("http://"+a.HTTPAddr()+"/epcis/v2/capture?source=wms", "application/json", strings.NewReader(
				`{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-11-23T10:00:01Z","epcisBody":{"eventList":[`+strings.Join(list, ",")+`]}}`))
			if err != nil {
				b.Error(err)
				return
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted || strings.Count(string(body), `"accepted"`) != events {
				b.Errorf("%d %.300s", resp.StatusCode, body)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
}
