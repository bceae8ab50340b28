package main

import (
	"bytes"
	"database/sql/driver"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A peer that acknowledges what it does not hold would make us look slow: measure
// counts in the end, so a clean run is the proof.
func TestStoresHoldWhatTheyAcknowledge(t *testing.T) {
	for _, engine := range []string{"sqlite", "nats"} {
		t.Run(engine, func(t *testing.T) {
			in, err := json.Marshal(job{
				Engine: engine, Dir: t.TempDir(), Writers: 8, For: 200 * time.Millisecond, Warm: 20 * time.Millisecond, Records: [][]byte{[]byte("one"), []byte("two")},
			})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := run(bytes.NewReader(in), &out); err != nil {
				t.Fatal(err)
			}
			var r result
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if r.Requests < 1 || r.Sent < r.Requests || r.P50 <= 0 || r.P99 < r.P50 {
				t.Errorf("result %+v", r)
			}
		})
	}
}

func TestSQLiteSyncsEveryCommit(t *testing.T) {
	s, err := openSQLite(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for pragma, want := range map[string]any{"pragma journal_mode": "wal", "pragma synchronous": int64(2)} {
		st, err := s.conn.Prepare(pragma)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := st.Query(nil) //nolint:staticcheck // a driver's statement
		if err != nil {
			t.Fatal(err)
		}
		dest := make([]driver.Value, 1)
		if err := rows.Next(dest); err != nil || dest[0] != want {
			t.Errorf("%s is %v, %v", pragma, dest[0], err)
		}
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestRunRefusesBadJobs(t *testing.T) {
	for in, want := range map[string]string{
		"{":                   "read job",
		`{"engine":"sqlite"}`: "are needed",
		`{"engine":"x","writers":1,"for_ns":1,"records":["AA=="]}`: "neither sqlite nor nats",
	} {
		if err := run(strings.NewReader(in), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", in, err)
		}
	}
}
