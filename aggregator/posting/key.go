package posting

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"

	"tillwire/protocol"
)

// crockford has no I, L, O, U: keys are read out on the telephone.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// key names one document: 16 upper-case characters, 80 bits of a hash. Among 100
// million documents two share a key with a chance of 4 in a billion. number is the
// document's in this book, generation the cloud's: a ledger that was restored from a
// copy numbers anew, and must not take its forerunner's documents for its own.
// Every field stands behind its length, so that no two documents are the same bytes.
func key(erp string, store protocol.StoreID, day string, class Class, number, generation uint64) string {
	b := make([]byte, 0, 128)
	for _, f := range []string{"posting/1", erp, string(store), day, class.String()} {
		b = binary.AppendUvarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, number), generation)
	sum := sha256.Sum256(b)
	return crockford.EncodeToString(sum[:KeyLen*5/8])
}

// isKey tells whether a text has a key's shape.
func isKey(s string) bool {
	if len(s) != KeyLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
