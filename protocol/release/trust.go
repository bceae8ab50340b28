package release

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Trust is what a shop remembers of the releases that it was shown. It only ever
// grows: what was once refused stays refused, also over restarts.
type Trust struct {
	Keys     Keys   `json:"keys"`
	Sequence uint64 `json:"sequence"` // highest seen under these keys
	Version  string `json:"version"`  // that it named
	Digest   string `json:"digest"`   // of the bytes that were signed with it
}

// skewMax is how far a shop's clock may be wrong without an expired manifest
// being believed or a fresh one refused. Shops show their clock's error elsewhere.
const skewMax = 10 * time.Minute

// Follow reads an offer and decides whether its release may be acted upon. What it
// returns is to be remembered, also with an error: a change of keys counts though
// the release behind it is refused.
//
//	not signed by enough keys ▸ refused
//	older sequence            ▸ refused: a rollback
//	same sequence, other text ▸ refused: two releases under one number
//	expired                   ▸ refused: somebody holds a newer one back
//	new keys                  ▸ sequences begin anew; that is how a number that a stolen key
//	                            drove up is got rid of
func (t Trust) Follow(offer []byte, now time.Time) (Trust, *Manifest, error) {
	if len(offer) > OfferBytesMax {
		return t, nil, fmt.Errorf("offer has %d bytes, at most %d are read", len(offer), OfferBytesMax)
	}
	var o Offer
	if err := strict(offer, &o); err != nil {
		return t, nil, fmt.Errorf("read offer: %w", err)
	}
	if len(o.Keys) > changesMax || len(o.Release.Signatures) > signaturesMax {
		return t, nil, fmt.Errorf("offer has %d changes of keys and %d signatures, at most %d and %d are looked at", len(o.Keys), len(o.Release.Signatures), changesMax, signaturesMax)
	}
	for i := range o.Keys {
		if len(o.Keys[i].Signatures) > signaturesMax {
			return t, nil, fmt.Errorf("change %d of keys has %d signatures, at most %d are looked at", i, len(o.Keys[i].Signatures), signaturesMax)
		}
		k, err := o.Keys[i].succeed(&t.Keys)
		if err != nil {
			return t, nil, err
		}
		if k.Version != t.Keys.Version {
			t = Trust{Keys: *k}
		}
	}
	m, err := o.Release.open(&t.Keys)
	if err != nil {
		return t, nil, err
	}
	sum := sha256.Sum256(o.Release.Signed)
	digest := hex.EncodeToString(sum[:])
	switch {
	case m.Sequence < t.Sequence:
		return t, nil, fmt.Errorf("release %s has sequence %d, but %d (%s) was seen before: it is an older one", m.Version, m.Sequence, t.Sequence, t.Version)
	case m.Sequence == t.Sequence && digest != t.Digest:
		return t, nil, fmt.Errorf("release %s has sequence %d, and so had %s, which was seen before: one of them is not what its signers published", m.Version, m.Sequence, t.Version)
	case !now.Add(-skewMax).Before(m.ExpiresAt):
		return t, nil, fmt.Errorf("release %s expired at %s: whoever serves it holds a newer one back, or nobody signed it again", m.Version, m.ExpiresAt.UTC().Format(time.RFC3339))
	}
	t.Sequence, t.Version, t.Digest = m.Sequence, m.Version, digest
	return t, m, nil
}
