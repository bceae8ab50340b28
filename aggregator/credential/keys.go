package credential

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// KeysFile lists the API keys that were issued, one JSON object a line: who, for
// what, until when, and the key's hash; never a key.
const KeysFile = "keys.jsonl"

const (
	keysFileMax = 8 << 20 // bytes; some 40,000 keys
	// KeyLife is the longest that a key may be issued for.
	KeyLife = 10 * 366 * 24 * time.Hour
)

// ErrUnknownKey is what nothing was issued under.
var ErrUnknownKey = errors.New("no key of that id or name was issued")

type keyLine struct {
	ID      string    `json:"id"`
	Role    Role      `json:"role"`
	Name    string    `json:"name"`
	Created time.Time `json:"created_at"`
	Expires time.Time `json:"expires_at,omitzero"`
	SHA256  string    `json:"sha256"`
}

// Key issues an API key for a role under a name that logs and audits show, and
// writes down that it did. valid 0 never ends.
func (k *Keyring) Key(role Role, name string, valid time.Duration) (string, error) {
	token, line, err := k.mint(role, name, valid)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(token))
	line.SHA256 = fmt.Sprintf("%x", sum)
	b, err := json.Marshal(line)
	if err == nil {
		err = appendLine(filepath.Join(k.dir, KeysFile), string(b))
	}
	if err != nil {
		return "", fmt.Errorf("write key down: %w", err)
	}
	return token, nil
}

// Passing issues a key that is not written down, for one command of somebody who
// can read the key file: it ends soon.
func (k *Keyring) Passing(role Role, name string, valid time.Duration) (string, error) {
	if valid <= 0 || valid > time.Hour {
		return "", errors.New("a passing key is good for an hour at most")
	}
	token, _, err := k.mint(role, name, valid)
	return token, err
}

func (k *Keyring) mint(role Role, name string, valid time.Duration) (string, keyLine, error) {
	if err := protocol.CheckName(name); err != nil {
		return "", keyLine{}, fmt.Errorf("key name %q %w", name, err)
	}
	if !slices.Contains(Roles, role) {
		return "", keyLine{}, fmt.Errorf("role %q is not one of %v", role, Roles)
	}
	if valid < 0 || valid > KeyLife {
		return "", keyLine{}, fmt.Errorf("a key is good for %s at most, or 0 for no end", KeyLife)
	}
	id := make([]byte, 9)
	_, _ = rand.Read(id) // never fails
	l := keyLine{ID: base64.RawURLEncoding.EncodeToString(id), Role: role, Name: name, Created: k.now().UTC().Truncate(time.Second)}
	until := int64(0)
	if valid > 0 {
		l.Expires = l.Created.Add(valid)
		until = l.Expires.Unix()
	}
	return k.sign(prefixKey2, string(role), name, strconv.FormatInt(until, 36), l.ID), l, nil
}

// CheckKey verifies an API key and tells whose it is. Keys of the first form have no
// end.
func (k *Keyring) CheckKey(token string) (Role, string, error) {
	if strings.HasPrefix(token, prefixKey+".") {
		f, err := k.open(token, prefixKey, 3)
		if err != nil {
			return "", "", err
		}
		return Role(f[0]), f[1], nil
	}
	f, err := k.open(token, prefixKey2, 4)
	if err != nil {
		return "", "", err
	}
	if f[2] != "0" {
		until, err := strconv.ParseInt(f[2], 36, 64)
		if err != nil {
			return "", "", ErrInvalid
		}
		if k.now().Unix() > until {
			return "", "", ErrExpired
		}
	}
	return Role(f[0]), f[1], nil
}

// Keys lists what was issued, oldest first.
func (k *Keyring) Keys() ([]protocol.APIKey, error) {
	lines, err := k.lines()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	out := []protocol.APIKey{}
	now := k.now()
	for _, l := range lines {
		a := protocol.APIKey{ID: l.ID, Name: l.Name, Role: string(l.Role), CreatedAt: l.Created, SHA256: l.SHA256, Status: "active"}
		if !l.Expires.IsZero() {
			a.ExpiresAt = &l.Expires
			if now.After(l.Expires) {
				a.Status = "expired"
			}
		}
		if k.list["keyid/"+l.ID] || k.list["key/"+l.Name] {
			a.Status = "revoked"
		}
		out = append(out, a)
	}
	return out, nil
}

func (k *Keyring) lines() (out []keyLine, err error) {
	b, err := os.ReadFile(filepath.Join(k.dir, KeysFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	if len(b) > keysFileMax {
		return nil, fmt.Errorf("read keys: %s has %d bytes, at most %d are read", KeysFile, len(b), keysFileMax)
	}
	for line := range bytes.Lines(b) {
		var l keyLine
		if json.Unmarshal(line, &l) == nil && l.ID != "" { // a torn last line is a key that nobody got
			out = append(out, l)
		}
	}
	return out, nil
}

// RevokeKey ends a key by its id, or all keys of a name; a name's keys of the first
// form, which were never written down, and those yet to be issued, too.
func (k *Keyring) RevokeKey(idOrName string) error {
	lines, err := k.lines()
	if err != nil {
		return err
	}
	entry := ""
	for _, l := range lines {
		if l.ID == idOrName {
			entry = "keyid/" + l.ID
		}
	}
	if entry == "" {
		if protocol.CheckName(idOrName) != nil {
			return ErrUnknownKey
		}
		entry = "key/" + idOrName
	}
	if err := appendLine(k.revoked, entry+" # "+k.now().UTC().Format(time.RFC3339)); err != nil {
		return fmt.Errorf("write revocation: %w", err)
	}
	k.mu.Lock()
	k.checked = time.Time{} // look at once
	k.mu.Unlock()
	return nil
}

// RevokeCerts notes the keys of certificates that are revoked.
func (k *Keyring) RevokeCerts(o protocol.Origin, keys []string) error {
	for _, key := range keys {
		if err := appendLine(k.revoked, "cert/"+key+" # "+o.String()+" "+k.now().UTC().Format(time.RFC3339)); err != nil {
			return fmt.Errorf("write revocation: %w", err)
		}
	}
	k.mu.Lock()
	k.checked = time.Time{}
	k.mu.Unlock()
	return nil
}

// CertRevoked tells whether the list names a certificate's key.
func (k *Keyring) CertRevoked(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return len(k.list) > 0 && k.list["cert/"+key]
}

// appendLine adds a line durably. A torn one before it is ended, not continued.
func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		last := []byte{0}
		if _, err = f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	if err == nil {
		_, err = f.WriteString(line + "\n")
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
