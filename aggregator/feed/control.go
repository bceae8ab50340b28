package feed

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// control is what is remembered of an interchange, at one of controlsMax places of
// its source: the newest of a place counts.
type control struct {
	Number string    `json:"number"`
	Sum    string    `json:"sum"` // of its content
	At     time.Time `json:"at"`
}

func (b *Batch) key(source string) string {
	sum := sha256.Sum256([]byte(b.Control))
	return "control/" + source + "/" + strconv.Itoa((int(sum[0])<<8|int(sum[1]))%controlsMax)
}

func (b *Batch) sum() string {
	s := sha256.Sum256(b.Raw)
	return hex.EncodeToString(s[:16])
}

// control parks an interchange whole whose number was seen with another content: the
// partner counts anew, or one of the two is not what it says.
func (d *Desk) control(source string, b *Batch) error {
	if b.Control == "" {
		return nil
	}
	v, err := d.o.Fact(b.key(source))
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	var was control
	if err == nil {
		err = json.Unmarshal(v, &was)
	}
	if err != nil {
		return fmt.Errorf("read control number: %w", err)
	}
	if was.Number != b.Control || was.Sum == b.sum() {
		return nil
	}
	p := problem(http.StatusConflict, causeReused, "The control number came before with another content", fmt.Sprintf("interchange %s was taken on %s", b.Control, was.At.Format(time.RFC3339)),
		"Ask the partner which of the two counts; retry takes this one beside it, discard drops it.")
	b.Items = []Item{{DocumentID: b.Control, What: b.Items[0].What, Problem: p, Raw: b.Raw, media: mediaFile}}
	return nil
}

// facts remember the control number of a batch that was taken.
func (b *Batch) facts(source string, now time.Time) func([]protocol.FeedResult) []ledger.Fact {
	if b.Control == "" || len(b.Items) == 1 && b.Items[0].Problem != nil {
		return nil
	}
	return func([]protocol.FeedResult) []ledger.Fact {
		v, err := json.Marshal(&control{b.Control, b.sum(), now.UTC()})
		if err != nil {
			return nil // cannot happen: it is strings and a time
		}
		return []ledger.Fact{{Key: b.key(source), Value: v}}
	}
}
