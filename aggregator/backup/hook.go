package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// carry runs the command that takes a copy to another place. Whatever is not its
// exit 0 within the time allowed means that the copy does not count.
func (k *Keeper) carry(ctx context.Context, f *Folder, m *Manifest) error {
	if len(k.o.After) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, k.o.AfterTimeout)
	defer cancel()
	fill := strings.NewReplacer("{dir}", f.dir, "{copy}", m.ID)
	args := make([]string, len(k.o.After))
	for i, a := range k.o.After {
		args[i] = fill.Replace(a)
	}
	var out tail
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the operator's own command, from the configuration
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second // of children that keep the pipe open
	cmd.Env = append(os.Environ(), "TILLWIRE_BACKUP_DIR="+f.dir, "TILLWIRE_BACKUP_COPY="+m.ID)
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("it took longer than %s: %w", k.o.AfterTimeout, err)
	}
	return fmt.Errorf("carry backup away (%s): %w: %s", args[0], err, strings.ToValidUTF8(strings.TrimSpace(out.b.String()), "?"))
}

// tail keeps the end of what is written.
type tail struct{ b bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.b.Write(p)
	if n := t.b.Len() - hookOutputMax; n > 0 {
		t.b.Next(n)
	}
	return len(p), nil
}
