package rival

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// StartMosquitto runs mosquitto for anonymous clients, nothing persisted. Its
// limits on messages in flight are lifted: the clients keep their own window.
func StartMosquitto(ctx context.Context, dir string) (*Server, error) {
	path, err := find("mosquitto", "mosquitto", "/usr/sbin", "/usr/local/sbin")
	if err != nil {
		return nil, err
	}
	addr, port, err := freeAddr()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\nmax_inflight_messages 0\nmax_queued_messages 0\nlog_type error\n", port)
	if os.Geteuid() == 0 {
		text += "user root\n" // else it looks for a user of its own, who may not read our folder
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("configure mosquitto: %w", err)
	}
	return start(ctx, exec.CommandContext(ctx, path, "-c", conf), addr)
}
