package agent

import (
	"bytes"
	"context"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestNoCardNumberIsKept sends card data by every way in, and looks for it in every
// file, in the log and in the metrics.
func TestNoCardNumberIsKept(t *testing.T) {
	c := shop(t)
	c.HTTP.Tokens = []string{"till-token-7e41"}
	c.Inbox.Dir = filepath.Join(t.TempDir(), "drops")
	if err := os.MkdirAll(c.Inbox.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	a, err := New(c, Deps{Log: zerolog.New(Masked(&log)).Level(zerolog.TraceLevel), Version: "v-test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-a.Ready()
	const pan, track = "4111111111111111", ";4111111111111111=25121010000012300000?"
	send := func(kind, body string, want int) string {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.HTTPAddr()+"/v1/"+kind, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer till-token-7e41")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%.60s: %s, want %d", body, resp.Status, want)
		}
		return resp.Status
	}
	send("sales", strings.Replace(sale, "R03-187", pan, 1), 422)
	send("sales", strings.Replace(sale, `"R03",`, `"4111-1111-1111-1111",`, 1), 422)
	send("sales", `{"document_id":"`+pan, 400)
	send("counts", `{"document_id":"C1","register":"R03","occurred_at":"2026-11-23T10:15:02Z","lines":[{"sku":"4006381333931","quantity":1,"zone":"`+pan+` cvv 987, `+track+`"}]}`, 201)
	send("sales", strings.Replace(sale, "4006381333931", "4000000000006", 1), 201) // a GTIN that passes for a card stays one
	a.deps.Log.Error().Str("why", "cannot read "+pan).Msg("an error that quotes")
	_, metrics := call(t, a, http.MethodGet, "/metrics", "")
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	held := map[string]string{"log": log.b.String(), "metrics": metrics}
	err = filepath.WalkDir(c.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		held[filepath.Base(path)] = string(b)
		return err
	})
	if err != nil || len(held) < 4 {
		t.Fatalf("%d places: %v", len(held), err)
	}
	for place, text := range held {
		for _, secret := range []string{pan, "4111-1111-1111-1111", "25121010000012300000", "cvv 987", "till-token-7e41"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s", place, secret)
			}
		}
	}
	if !strings.Contains(held[JournalFile], "************1111") {
		t.Error("the text is not in the journal; this test looks at nothing")
	}
}
