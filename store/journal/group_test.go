package journal

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// A group waits for those who are about to come, no longer than it may, and not at
// all where nobody is missing.
func TestGroupWaitsForThoseExpected(t *testing.T) {
	tests := []struct {
		name    string
		expect  int
		queued  int
		coming  int
		linger  time.Duration
		want    int
		atLeast time.Duration
	}{
		{"a till alone", 1, 0, 0, time.Hour, 1, 0},
		{"the first of all", 0, 0, 0, time.Hour, 1, 0},
		{"all are there", 3, 2, 0, time.Hour, 3, 0},
		{"more than expected are there", 2, 4, 0, time.Hour, 5, 0},
		{"two come", 4, 1, 2, time.Hour, 4, 0},
		{"nobody comes", 4, 1, 0, 3 * time.Millisecond, 2, 3 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := &Journal{queue: make(chan *request, 8)}
			j.opts.setDefaults()
			j.c.init(j)
			j.c.expect, j.c.linger = tt.expect, tt.linger
			for range tt.queued {
				j.queue <- &request{}
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for range tt.coming {
					j.queue <- &request{}
				}
			})
			began := time.Now()
			j.c.gather(&request{})
			wg.Wait()
			if took := time.Since(began); len(j.c.group) != tt.want || took < tt.atLeast {
				t.Errorf("%d in the group after %v, want %d after at least %v", len(j.c.group), took, tt.want, tt.atLeast)
			}
		})
	}
}

// Callers that commit by themselves, callers that queue, orders and marks share one
// baton: nothing is lost, doubled or out of order between them, and at the end it
// is where it belongs.
func TestBatonGoesAround(t *testing.T) {
	o := testOptions(t)
	o.SegmentEvents = 50
	j := open(t, o)
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range 60 {
				mustAppend(t, j, sale(fmt.Sprintf("B%d-%d", w, i)))
				if i%3 == w%3 {
					time.Sleep(time.Duration(w) * 200 * time.Microsecond) // alone now and then
				}
			}
		})
	}
	wg.Go(func() {
		for range 40 {
			st := j.State()
			if err := j.SetMerged(1, st.Head, st.Head, 1); err != nil {
				t.Error(err)
			}
			if err := j.do(func() error { return nil }); err != nil {
				t.Error(err)
			}
			if _, err := j.Trim(time.Now()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if docs := documents(t, j); len(docs) != 360 || j.State().Head != 360 {
		t.Errorf("%d documents, head %d, want 360", len(docs), j.State().Head)
	}
	if _, err := j.Append(context.Background(), sale("B0-0")); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(j.baton) != 1; { // it may be out to write marks
		if time.Now().After(deadline) {
			t.Fatal("the baton is out, though nobody works")
		}
		time.Sleep(time.Millisecond)
	}
}
