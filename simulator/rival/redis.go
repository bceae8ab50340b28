package rival

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"
)

// StartRedis runs a redis-server without persistence that holds values by key.
func StartRedis(ctx context.Context, dir string, keys []string, values [][]byte) (*Server, error) {
	path, err := find("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	addr, port, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, exec.CommandContext(ctx, path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir, "--daemonize", "no"), addr)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, addr, keys, values); err != nil {
		_ = s.Stop() //nolint:errcheck // the first error counts
		return nil, err
	}
	return s, nil
}

func fill(ctx context.Context, addr string, keys []string, values [][]byte) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("fill redis: %w", err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return fmt.Errorf("fill redis: %w", err)
	}
	r := bufio.NewReader(c)
	for i, k := range keys {
		v := values[i]
		req := fmt.Appendf(nil, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(k), k, len(v), v)
		if _, err := c.Write(req); err != nil {
			return fmt.Errorf("fill redis: %w", err)
		}
		if ok, err := r.ReadString('\n'); err != nil || ok != "+OK\r\n" {
			return fmt.Errorf("fill redis: answer %q, %w", ok, err)
		}
	}
	return nil
}
