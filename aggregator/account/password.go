package account

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Costs of a hash, as OWASP asks at least of argon2id: 19 MiB, twice.
const (
	argonTime      = 2
	argonMemoryKiB = 19 << 10
	argonThreads   = 1
	saltBytes      = 16
	hashBytes      = 32
)

// CheckPassword says what is wrong with a new password. Length is all that is
// asked: rules about signs make people write passwords down.
func CheckPassword(p string) error {
	switch {
	case len(p) < PasswordBytesMin:
		return fmt.Errorf("password has %d bytes, at least %d are needed", len(p), PasswordBytesMin)
	case len(p) > passwordBytesMax:
		return fmt.Errorf("password has %d bytes, at most %d are taken", len(p), passwordBytesMax)
	case !utf8.ValidString(p):
		return errors.New("password is not UTF-8")
	}
	return nil
}

// hashPassword returns a PHC string: the costs stand with the hash, so that they
// can rise later.
func hashPassword(p string) string {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	h := argon2.IDKey([]byte(p), salt, argonTime, argonMemoryKiB, argonThreads, hashBytes)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonTime, argonThreads, enc.EncodeToString(salt), enc.EncodeToString(h))
}

// samePassword compares in constant time. A hash that costs more than 16 times ours
// is not one that we made.
func samePassword(phc, p string) bool {
	var version, memory, passes, threads int
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || len(p) > passwordBytesMax {
		return false
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) < 16 || len(want) > 64 || memory < 1 || memory > 16*argonMemoryKiB || passes < 1 || passes > 16 || threads < 1 || threads > 16 {
		return false
	}
	got := argon2.IDKey([]byte(p), salt, uint32(passes), uint32(memory), uint8(threads), uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// nobody is compared with where there is no such account, so that an answer's time
// does not tell who has one.
var nobody = "$argon2id$v=19$m=19456,t=2,p=1$" + strings.Repeat("A", 22) + "$" + strings.Repeat("A", 43)
