package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
)

const (
	notifyEvery = 10 * time.Second // where no watchdog asks for more
	probeWait   = 5 * time.Second
)

// notifier tells systemd how the service is doing (sd_notify): ready when the POS
// port serves, and from then on a sign of life as long as that port answers and
// the journal can be asked. An agent that hangs gives no sign, and is replaced.
type notifier struct {
	socket string
	every  time.Duration
	log    zerolog.Logger
}

// newNotifier is nil where no manager listens: on Windows, in a terminal.
func newNotifier(lookup func(string) (string, bool), log zerolog.Logger) *notifier {
	socket, _ := lookup("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	n := &notifier{socket: socket, every: notifyEvery, log: log}
	pid, _ := lookup("WATCHDOG_PID")
	us, _ := lookup("WATCHDOG_USEC")
	if limit, err := strconv.ParseInt(us, 10, 64); err == nil && limit > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.every = max(time.Duration(limit)*time.Microsecond/3, time.Millisecond) // two probes may be lost
	}
	return n
}

func (n *notifier) say(state string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("reach the service manager: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// follow tells about an agent until ctx ends.
func (n *notifier) follow(ctx context.Context, a *agent.Agent) {
	select {
	case <-ctx.Done():
		return
	case <-a.Ready():
	}
	state := "READY=1\n"
	tick := time.NewTicker(n.every)
	defer tick.Stop()
	for {
		if err := probe(ctx, a.HTTPAddr()); err == nil {
			st := a.State()
			state += fmt.Sprintf("WATCHDOG=1\nSTATUS=journal %s; %d events journaled, %d wait for the aggregator", st.Phase, st.Head, st.BacklogEvents)
		} else if ctx.Err() == nil {
			n.log.Warn().Err(err).Msg("own port does not answer; no sign of life for the service manager")
		}
		if err := n.say(state); err != nil && ctx.Err() == nil {
			n.log.Warn().Err(err).Msg("service manager not told")
		}
		state = ""
		select {
		case <-ctx.Done():
			_ = n.say("STOPPING=1") // it asked for the end; if it does not hear, it still sees it
			return
		case <-tick.C:
		}
	}
}

// probe asks the POS port as a till would.
func probe(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(addr)+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the POS port answers %s", resp.Status)
	}
	return nil
}
