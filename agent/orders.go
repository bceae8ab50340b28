package agent

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tillwire/agent/orders"
	"tillwire/protocol"
	"tillwire/store/config"
	"tillwire/store/journal"
)

// OrdersFile keeps the desired state that is applied and the results of commands.
const OrdersFile = "orders.json"

func (a *Agent) openOrders() error {
	b, err := a.readKept(OrdersFile)
	if err != nil {
		return err
	}
	a.orders = orders.New(orders.Options{
		Origin: a.origin(), Log: a.deps.Log, Kept: b, Now: a.cloudNow,
		Keep: func(b []byte) error { return a.keepFile(OrdersFile, b) },
		Append: func(ctx context.Context, e *protocol.Event) error {
			_, err := a.journal.Append(ctx, e)
			if errors.Is(err, journal.ErrIDReused) { // the same state with another time: it is there
				return nil
			}
			return err
		},
		Apply: a.apply, Replay: a.replay, Bundle: a.bundle,
	})
	return nil
}

// cloudNow is the aggregator's clock, as far as the link knows it.
func (a *Agent) cloudNow() time.Time {
	now := a.deps.Now()
	if a.link != nil {
		now = now.Add(time.Duration(a.link.Status().ClockOffsetUS) * time.Microsecond)
	}
	return now
}

// apply makes what is desired hold.
func (a *Agent) apply(s orders.Settings) {
	if a.link != nil {
		a.link.SetHeartbeat(time.Duration(s.HeartbeatS) * time.Second)
	}
	a.update.Want(s.AgentVersion)
}

func (a *Agent) replay(ctx context.Context, from uint64) (string, error) {
	st := a.journal.State()
	if from > st.Merged {
		return fmt.Sprintf("merged ends at seq %d: from %d on everything is sent anyway", st.Merged, from), nil
	}
	if err := a.link.Replay(ctx, from); err != nil {
		return "", err
	}
	return fmt.Sprintf("seq %d to %d offered again", max(from, st.Tail), st.Head), nil
}

// bundle sends what support needs, over the line that is there anyway: a store's
// firewall that lets MQTT out lets nothing else. There is no event in it, no token
// and no address of a till.
func (a *Agent) bundle(ctx context.Context, command string) (string, error) {
	b, err := a.packBundle()
	if err != nil {
		return "", err
	}
	if err := a.link.SendBundle(ctx, command, b); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d bytes", len(b)), nil
}

func (a *Agent) packBundle() ([]byte, error) {
	st := a.journal.State()
	cfg := a.cfg
	shown := map[string]string{}
	for _, k := range config.Keys(&cfg) {
		shown[k.Name] = k.Shown()
	}
	version, refused := a.orders.State()
	files := []struct {
		name string
		v    any
	}{
		{"agent.json", map[string]any{
			"store": a.cfg.Store, "agent": a.cfg.Agent, "version": a.deps.Version, "boot_id": a.boot, "at": a.deps.Now().UTC(),
			"desired_version": version, "desired_refused": refused, "register_tokens": len(a.cfg.HTTP.Tokens),
		}},
		{"journal.json", st},
		{"link.json", a.link.Status()},
		{"config.json", shown},
		{"counters.json", a.counters()},
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	t := tar.NewWriter(zip)
	for _, f := range files {
		b, err := json.MarshalIndent(f.v, "", " ")
		if err == nil {
			err = t.WriteHeader(&tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(b)), ModTime: a.deps.Now()})
		}
		if err == nil {
			_, err = t.Write(b)
		}
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := errors.Join(t.Close(), zip.Close()); err != nil {
		return nil, fmt.Errorf("pack bundle: %w", err)
	}
	return out.Bytes(), nil
}
