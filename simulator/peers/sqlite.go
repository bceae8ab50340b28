package main

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/mattn/go-sqlite3"
)

// lite is SQLite in WAL mode, its WAL synced at every commit. Waiting writers
// share one transaction: the first becomes the leader and takes everybody's record
// along, as the product's journal does. The driver is used without database/sql,
// which would only cost it time.
type lite struct {
	conn                     driver.Conn
	begin, insert, commit, n driver.Stmt

	mu      sync.Mutex
	pending [][]byte
	waiters []chan error
	leading bool
}

func openSQLite(dir string) (s *lite, err error) {
	s = &lite{}
	if s.conn, err = new(sqlite3.SQLiteDriver).Open("file:" + filepath.Join(dir, "journal.db")); err != nil {
		return nil, fmt.Errorf("open sqlite: %w", err)
	}
	for _, sql := range []string{
		"pragma journal_mode = wal", "pragma synchronous = full", "pragma wal_autocheckpoint = 10000",
		"create table journal (seq integer primary key, record blob not null)",
	} {
		st, err := s.conn.Prepare(sql)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare %q: %w", sql, err), s.conn.Close())
		}
		if err := errors.Join(exec(st), st.Close()); err != nil {
			return nil, errors.Join(fmt.Errorf("%q: %w", sql, err), s.conn.Close())
		}
	}
	for sql, to := range map[string]*driver.Stmt{
		"begin immediate": &s.begin, "commit": &s.commit, "insert into journal (record) values (?)": &s.insert, "select count(*) from journal": &s.n,
	} {
		if *to, err = s.conn.Prepare(sql); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare %q: %w", sql, err), s.conn.Close())
		}
	}
	return s, nil
}

func exec(st driver.Stmt, args ...driver.Value) error {
	_, err := st.Exec(args) //nolint:staticcheck // a driver's statement without database/sql has this
	return err
}

func (s *lite) writer(int) (func([]byte) error, error) { return s.append, nil }

func (s *lite) append(rec []byte) error {
	done := make(chan error, 1)
	s.mu.Lock()
	s.pending, s.waiters = append(s.pending, rec), append(s.waiters, done)
	if s.leading {
		s.mu.Unlock()
		return <-done
	}
	s.leading = true
	for len(s.waiters) > 0 {
		recs, ws := s.pending, s.waiters
		s.pending, s.waiters = nil, nil
		s.mu.Unlock()
		err := s.write(recs)
		for _, w := range ws {
			w <- err
		}
		s.mu.Lock()
	}
	s.leading = false
	s.mu.Unlock()
	return <-done
}

func (s *lite) write(recs [][]byte) error {
	if err := exec(s.begin); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for _, r := range recs {
		if err := exec(s.insert, r); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
	}
	if err := exec(s.commit); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func (s *lite) count() (int, error) {
	rows, err := s.n.Query(nil) //nolint:staticcheck // as above
	if err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	dest := make([]driver.Value, 1)
	err = errors.Join(rows.Next(dest), rows.Close())
	n, _ := dest[0].(int64)
	return int(n), err
}

func (s *lite) close() error {
	return errors.Join(s.begin.Close(), s.insert.Close(), s.commit.Close(), s.n.Close(), s.conn.Close())
}
