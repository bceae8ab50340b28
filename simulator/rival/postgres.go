package rival

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Postgres is a PostgreSQL of our own with one table of stock. It is as initdb
// makes it, so that every commit waits for its WAL to be on disk; only its cache
// is larger and its checkpoints are further apart, both in its favour.
type Postgres struct {
	*Server
	dir, user string
	bin       map[string]string
	rows      int
}

var debianPostgres = "/usr/lib/postgresql/*/bin"

// StartPostgres makes a cluster in dir with rows cells of endless stock.
func StartPostgres(ctx context.Context, dir string, rows int) (*Postgres, error) {
	p := &Postgres{dir: filepath.Join(dir, "postgres"), user: "tillwire", bin: map[string]string{}, rows: rows}
	for _, name := range []string{"initdb", "postgres", "psql", "pgbench"} {
		path, err := find(name, "postgresql", debianPostgres)
		if err != nil {
			return nil, err
		}
		p.bin[name] = path
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make postgres's folder: %w", err)
	}
	if err := givePostgres(dir, p.dir); err != nil {
		return nil, err
	}
	data := filepath.Join(p.dir, "data")
	if _, err := output(p.command(ctx, "initdb", "-D", data, "-U", p.user, "-A", "trust", "-E", "UTF8", "--locale=C")); err != nil {
		return nil, err
	}
	addr, port, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p.Server, err = start(ctx, p.command(ctx, "postgres", "-D", data, "-p", port, "-h", "127.0.0.1", "-k", p.dir,
		"-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB", "-c", "max_connections=120", "-c", "synchronous_commit=on", "-c", "fsync=on"), addr)
	if err != nil {
		return nil, err
	}
	if err := p.load(ctx); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// command runs a program of PostgreSQL as the user that it insists on.
func (p *Postgres) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.bin[name], args...)
	cmd.Dir = p.dir
	asPostgres(cmd)
	return cmd
}

func (p *Postgres) ask(ctx context.Context, sql string) (string, error) {
	_, port, _ := strings.Cut(p.Addr, ":")
	out, err := output(p.command(ctx, "psql", "-h", "127.0.0.1", "-p", port, "-U", p.user, "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-Atqc", sql))
	return strings.TrimSpace(string(out)), err
}

// load makes the table; a server that takes connections may still be starting.
func (p *Postgres) load(ctx context.Context) (err error) {
	for deadline := time.Now().Add(startMax); ; {
		if _, err = p.ask(ctx, "select 1"); err == nil {
			break
		}
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
	if _, err = p.ask(ctx, fmt.Sprintf(`create table stock (id int primary key, sku text not null, location text not null, on_hand bigint not null, reserved bigint not null);
insert into stock select n, lpad(n::text, 14, '0'), 'S0001', 1000000000000, 0 from generate_series(1, %d) n`, p.rows)); err != nil {
		return err
	}
	for _, sql := range []string{"vacuum analyze stock", "checkpoint"} {
		if _, err = p.ask(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// Figures are what a run of transactions came to.
type Figures struct {
	PerS     float64
	P50, P99 time.Duration
	Done     int
}

// Reserve runs pgbench: clients connections, each of which takes one unit of a
// random cell if it is there, one UPDATE per transaction, prepared once.
func (p *Postgres) Reserve(ctx context.Context, clients int, d time.Duration) (f Figures, err error) {
	script := filepath.Join(p.dir, "reserve.sql")
	text := fmt.Sprintf("\\set id random(1, %d)\nupdate stock set reserved = reserved + 1 where id = :id and on_hand - reserved >= 1;\n", p.rows)
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil { //nolint:gosec // another user reads it
		return f, fmt.Errorf("write pgbench's script: %w", err)
	}
	run, err := os.MkdirTemp(p.dir, "run-")
	if err != nil {
		return f, fmt.Errorf("make pgbench's folder: %w", err)
	}
	if err := givePostgres(p.dir, run); err != nil {
		return f, err
	}
	before, err := p.taken(ctx)
	if err != nil {
		return f, err
	}
	_, port, _ := strings.Cut(p.Addr, ":")
	seconds := max(1, int(d.Round(time.Second)/time.Second)) // pgbench knows whole ones
	out, err := output(p.command(ctx, "pgbench", "-h", "127.0.0.1", "-p", port, "-U", p.user, "-n", "-M", "prepared", "-f", script,
		"-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(2, clients)), "-T", strconv.Itoa(seconds),
		"-l", "--log-prefix="+filepath.Join(run, "tx"), "postgres"))
	if err != nil {
		return f, err
	}
	if f.PerS, err = parseTPS(out); err != nil {
		return f, err
	}
	after, err := p.taken(ctx)
	if err != nil {
		return f, err
	}
	f.Done = after - before
	f.P50, f.P99, err = latencies(run)
	return f, err
}

// taken is how many units are reserved: proof that the transactions happened.
func (p *Postgres) taken(ctx context.Context) (int, error) {
	s, err := p.ask(ctx, "select sum(reserved) from stock")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(s)
}

func parseTPS(out []byte) (float64, error) {
	for line := range bytes.Lines(out) {
		if f := bytes.Fields(line); len(f) > 2 && string(f[0]) == "tps" {
			return strconv.ParseFloat(string(f[2]), 64)
		}
	}
	return 0, fmt.Errorf("pgbench tells no tps: %.300s", out)
}

// latencies reads pgbench's transaction logs: microseconds stand third.
func latencies(dir string) (p50, p99 time.Duration, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "tx*"))
	if err != nil || len(files) == 0 {
		return 0, 0, fmt.Errorf("pgbench left no log: %w", err)
	}
	var all []int
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return 0, 0, fmt.Errorf("read pgbench's log: %w", err)
		}
		for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
			f := strings.Fields(sc.Text())
			if len(f) < 3 {
				continue
			}
			us, err := strconv.Atoi(f[2])
			if err != nil {
				return 0, 0, fmt.Errorf("read pgbench's log: %w", err)
			}
			all = append(all, us)
		}
	}
	if len(all) == 0 {
		return 0, 0, errors.New("pgbench logged no transaction")
	}
	slices.Sort(all)
	at := func(i int) time.Duration { return time.Duration(all[i]) * time.Microsecond }
	return at(len(all) / 2), at(len(all) * 99 / 100), nil
}
