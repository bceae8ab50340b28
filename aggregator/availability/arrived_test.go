package availability

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tillwire/protocol"
)

func TestWritersWaitForTheirOwnWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(time.Now)
		o := protocol.Origin{Store: "S1", Agent: "server"}
		m.Applied(5)
		m.Applied(4)
		m.AppliedMark(o, 1, 10)
		cases := []struct {
			name string
			wait func(context.Context) error
			tell func()
			now  bool
			err  error
		}{
			{"a position that is there", func(ctx context.Context) error { return m.WaitApplied(ctx, 5) }, nil, true, nil},
			{"a position that comes", func(ctx context.Context) error { return m.WaitApplied(ctx, 7) }, func() { m.Applied(9) }, false, nil},
			{"a mark that is there", func(ctx context.Context) error { return m.WaitMark(ctx, o, 1, 10) }, nil, true, nil},
			{"a mark that comes", func(ctx context.Context) error { return m.WaitMark(ctx, o, 1, 12) }, func() { m.AppliedMark(o, 1, 12) }, false, nil},
			{"a journal that nobody has heard of", func(ctx context.Context) error {
				return m.WaitMark(ctx, protocol.Origin{Store: "S2", Agent: "a"}, 1, 1)
			}, func() { m.AppliedMark(protocol.Origin{Store: "S2", Agent: "a"}, 1, 3) }, false, nil},
			{"an epoch that comes", func(ctx context.Context) error { return m.WaitMark(ctx, o, 2, 1) }, func() { m.AppliedMark(o, 2, 1) }, false, nil},
			{"an epoch that is over", func(ctx context.Context) error { return m.WaitMark(ctx, o, 1, 13) }, nil, true, ErrNewEpoch},
			{"an epoch that ends meanwhile", func(ctx context.Context) error { return m.WaitMark(ctx, o, 2, 5) }, func() { m.AppliedMark(o, 3, 1) }, false, ErrNewEpoch},
			{"an impatient caller", func(ctx context.Context) error { return m.WaitApplied(ctx, 100) }, nil, false, context.DeadlineExceeded},
		}
		for _, c := range cases {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			done := make(chan error, 1)
			go func() { done <- c.wait(ctx) }()
			synctest.Wait()
			if c.now != (len(done) == 1) {
				t.Errorf("%s: over at once is %v, want %v", c.name, len(done) == 1, c.now)
			}
			if c.tell != nil {
				m.Applied(m.AppliedPosition() + 1) // somebody else's write
				c.tell()
			}
			if err := <-done; !errors.Is(err, c.err) {
				t.Errorf("%s: %v, want %v", c.name, err, c.err)
			}
			cancel()
		}
		if n := m.arrived.waiting.Load(); n != 0 || len(m.arrived.waiters) != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

func TestNoWaiterIsForgotten(t *testing.T) {
	m := New(time.Now)
	o := protocol.Origin{Store: "S1", Agent: "server"}
	const n = 3000
	done := make(chan error, 8)
	for range cap(done) / 2 {
		go func() {
			var err error
			for i := uint64(1); i <= n && err == nil; i++ {
				err = m.WaitApplied(t.Context(), i)
			}
			done <- err
		}()
		go func() {
			var err error
			for i := uint64(1); i <= n && err == nil; i++ {
				err = m.WaitMark(t.Context(), o, 1, i)
			}
			done <- err
		}()
	}
	for i := uint64(1); i <= n; i++ {
		m.Applied(i)
		m.AppliedMark(o, 1, i)
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestWaitersAreBounded(t *testing.T) {
	m := New(time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, waitersMax+1)
	for range waitersMax + 1 {
		go func() { done <- m.WaitApplied(ctx, 1) }()
	}
	if err := <-done; !errors.Is(err, ErrTooManyWaiting) {
		t.Error(err)
	}
	cancel()
	for range waitersMax {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
