package posting

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"

	"tillwire/protocol"
)

// Key names one ERP document: 16 upper-case characters, 80 bits of a hash.
// Among 100 million documents two share a key with a chance of 4 in a billion.
type Key string

// Subject is what one posting nets: all of one kind that one SKU did in one store
// on one business day, up to a cut. What arrives after the cut was posted is
// another Round, a correction of its own: a posted document never changes.
type Subject struct {
	Store protocol.StoreID
	SKU   protocol.SKU
	Day   string // business day, YYYY-MM-DD: the original one, also where it is posted to another
	Kind  protocol.Kind
	Round uint32
}

// crockford has no I, L, O, U: keys are read out on the telephone.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// Key derives the subject's key. Every field is preceded by its length, so that
// no two subjects are the same bytes.
func (s *Subject) Key() Key {
	b := make([]byte, 0, 128)
	for _, f := range []string{"posting/1", string(s.Store), string(s.SKU), s.Day, s.Kind.String()} {
		b = binary.AppendUvarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	sum := sha256.Sum256(binary.AppendUvarint(b, uint64(s.Round)))
	return Key(crockford.EncodeToString(sum[:KeyLen*5/8]))
}
