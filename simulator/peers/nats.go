package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jet is a NATS server in this process with one stream on disk that is synced at
// every message. Each writer has a connection of its own, in memory: no network
// stands in its way. JetStream has no group commit that a publisher could join.
type jet struct {
	server *server.Server
	conns  []*nats.Conn
	stream jetstream.Stream
}

const (
	natsWait = 30 * time.Second
	subject  = "journal"
)

func openNATS(dir string) (*jet, error) {
	s, err := server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true, JetStreamMaxStore: 8 << 30, JetStreamMaxMemory: 64 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("make nats server: %w", err)
	}
	go s.Start()
	if !s.ReadyForConnections(natsWait) {
		s.Shutdown()
		return nil, errors.New("nats server does not get ready")
	}
	j := &jet{server: s}
	js, err := j.connect()
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), natsWait)
	defer cancel()
	j.stream, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "journal", Subjects: []string{subject}, Storage: jetstream.FileStorage})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make stream: %w", err), j.close())
	}
	return j, nil
}

func (j *jet) connect() (jetstream.JetStream, error) {
	c, err := nats.Connect("", nats.InProcessServer(j.server))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	j.conns = append(j.conns, c)
	return jetstream.New(c)
}

func (j *jet) writer(int) (func([]byte) error, error) {
	js, err := j.connect()
	if err != nil {
		return nil, err
	}
	return func(rec []byte) error {
		ctx, cancel := context.WithTimeout(context.Background(), natsWait)
		defer cancel()
		_, err := js.Publish(ctx, subject, rec)
		return err
	}, nil
}

func (j *jet) count() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), natsWait)
	defer cancel()
	info, err := j.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	return int(info.State.Msgs), nil
}

func (j *jet) close() error {
	for _, c := range j.conns {
		c.Close()
	}
	j.server.Shutdown()
	j.server.WaitForShutdown()
	return nil
}
