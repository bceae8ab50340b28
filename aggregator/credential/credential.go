// Package credential issues and verifies tokens: agents' secrets, API keys and
// one-off enrolment codes. Tokens are stateless: they carry what they say and a
// MAC under the key in the data folder, so issuing works whether or not the
// aggregator runs. It keeps nothing but that key and a list of revocations; that
// a code is used once only is the caller's to keep.
package credential

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
)

// Files in the data folder.
const (
	KeyFile     = "token.key"
	RevokedFile = "revoked.txt"
	keyBytes    = 32
)

// Token prefixes say what a string is before anything is verified: secret
// scanners find them in logs and repositories.
const (
	prefixAgent  = "twa1"
	prefixKey    = "twk1" // of before keys had ends; still good
	prefixKey2   = "twk2"
	prefixEnrol  = "twe1"
	prefixEnrol2 = "twe2" // with the pin of the authority
)

// Role of an API key.
type Role string

// Roles, each with what it may call.
const (
	RoleChannel Role = "channel" // availability
	RoleFeed    Role = "feed"    // feeds
	RoleOps     Role = "ops"     // everything that reads, and decisions on exceptions
	RoleAdmin   Role = "admin"   // ops, and enrolment
)

// Roles lists them.
var Roles = []Role{RoleChannel, RoleFeed, RoleOps, RoleAdmin}

// Errors of verification. They do not say which part was wrong.
var (
	ErrInvalid = errors.New("token is not valid")
	ErrExpired = errors.New("token has expired")
	ErrRevoked = errors.New("token is revoked")
)

// Keyring issues and verifies. It is safe for concurrent use.
type Keyring struct {
	key     []byte
	dir     string
	revoked string
	now     func() time.Time
	pin     string // in enrolment codes; "" for none

	mu      sync.Mutex // guards what follows
	read    time.Time  // of the revocations, by modification time
	size    int64
	list    map[string]bool
	checked time.Time
}

// Open reads the key of a data folder, making one at first.
func Open(dir string, now func() time.Time) (*Keyring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	path := filepath.Join(dir, KeyFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		key, err = createKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read token key: %w", err)
	}
	if len(key) != keyBytes {
		return nil, fmt.Errorf("read token key: %s has %d bytes, want %d; restore it from a backup, or delete it and enrol every agent again", path, len(key), keyBytes)
	}
	return &Keyring{key: key, dir: dir, revoked: filepath.Join(dir, RevokedFile), now: now, list: map[string]bool{}}, nil
}

// createKey writes a fresh key whole or not at all. Of two programs that do so
// at once, one wins and both use its key.
func createKey(path string) ([]byte, error) {
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), KeyFile+".*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(key)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

func (k *Keyring) sign(prefix string, fields ...string) string {
	body := prefix + "." + strings.Join(fields, ".")
	return body + "." + base64.RawURLEncoding.EncodeToString(k.mac(body))
}

// WebhookSecret is the secret that a subscription's messages are signed with. It
// follows from the key and is kept nowhere.
func (k *Keyring) WebhookSecret(id string, version int) []byte {
	return k.mac("webhook." + id + "." + strconv.Itoa(version))
}

func (k *Keyring) mac(body string) []byte {
	h := hmac.New(sha256.New, k.key)
	h.Write([]byte(body))
	return h.Sum(nil)
}

// open verifies a token's MAC and returns its n fields.
func (k *Keyring) open(token, prefix string, n int) ([]string, error) {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || len(token) > 512 {
		return nil, ErrInvalid
	}
	mac, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil || !hmac.Equal(mac, k.mac(token[:at])) {
		return nil, ErrInvalid
	}
	fields := strings.Split(token[:at], ".")
	if fields[0] != prefix || len(fields) != n+1 {
		return nil, ErrInvalid
	}
	if k.isRevoked(token[:at]) {
		return nil, ErrRevoked
	}
	return fields[1:], nil
}

// isRevoked looks a token's body up, or its name (store/agent, key name).
func (k *Keyring) isRevoked(body string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	if len(k.list) == 0 {
		return false
	}
	f := strings.Split(body, ".")
	return k.list[body] || (f[0] == prefixAgent && k.list[f[1]+"/"+f[2]]) || (f[0] != prefixAgent && len(f) > 2 && k.list["key/"+f[2]]) ||
		(f[0] == prefixKey2 && k.list["keyid/"+f[4]])
}

// Revoke makes credentials void for good: store/agent, or key/name. It is written
// to the list that operators edit by hand too.
func (k *Keyring) Revoke(name, who string) error {
	kind, rest, ok := strings.Cut(name, "/")
	if err := protocol.CheckName(rest); !ok || kind == "" || err != nil || protocol.CheckName(kind) != nil {
		return fmt.Errorf("revoke %q: name it STORE/AGENT, or key/NAME", name)
	}
	if k.IsRevoked(name) {
		return nil
	}
	f, err := os.OpenFile(k.revoked, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("revoke %s: %w", name, err)
	}
	_, err = fmt.Fprintf(f, "%s # %s by %s\n", name, k.now().UTC().Format(time.RFC3339), strings.Map(printable, who))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("revoke %s: %w", name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.checked = time.Time{}
	k.refresh()
	return nil
}

func printable(r rune) rune {
	if r < ' ' || r == '#' {
		return -1
	}
	return r
}

// IsRevoked tells whether a name stands on the list.
func (k *Keyring) IsRevoked(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k.list[name]
}

// Revoked lists what is void, by name.
func (k *Keyring) Revoked() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return slices.Sorted(maps.Keys(k.list))
}

// AgentRevoked tells whether the list names an agent.
func (k *Keyring) AgentRevoked(o protocol.Origin) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return len(k.list) > 0 && k.list[o.String()]
}

// Pin has enrolment codes name the authority that will answer. Call it before the
// keyring is shared.
func (k *Keyring) Pin(pin string) { k.pin = pin }

// refresh reads the list again where the file changed; it looks at most once a
// second.
func (k *Keyring) refresh() {
	now := k.now()
	if !k.checked.IsZero() && now.Sub(k.checked) < time.Second && now.After(k.checked) {
		return
	}
	k.checked = now
	info, err := os.Stat(k.revoked)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			k.list = map[string]bool{}
		}
		return // unreadable: what is known stays revoked
	}
	if info.ModTime().Equal(k.read) && info.Size() == k.size {
		return
	}
	b, err := os.ReadFile(k.revoked)
	if err != nil {
		return
	}
	list := map[string]bool{}
	for line := range bytes.Lines(b) {
		s, _, _ := strings.Cut(strings.TrimSpace(string(line)), "#")
		if s = strings.TrimSpace(s); s != "" {
			list[s] = true
		}
	}
	k.list, k.read, k.size = list, info.ModTime(), info.Size()
}

// Agent issues an agent's secret.
func (k *Keyring) Agent(o protocol.Origin) string { return k.AgentFrom(o, time.Time{}) }

// AgentFrom issues one that says it is of a moment, or of now, which is later.
func (k *Keyring) AgentFrom(o protocol.Origin, at time.Time) string {
	if now := k.now(); now.After(at) {
		at = now
	}
	return k.sign(prefixAgent, string(o.Store), string(o.Agent), strconv.FormatInt(at.Unix(), 36))
}

// CheckAgent verifies that a secret is this agent's, and tells when it was issued.
func (k *Keyring) CheckAgent(o protocol.Origin, token string) (issued time.Time, err error) {
	f, err := k.open(token, prefixAgent, 3)
	if err != nil {
		return time.Time{}, err
	}
	at, err := strconv.ParseInt(f[2], 36, 64)
	if err != nil || f[0] != string(o.Store) || f[1] != string(o.Agent) {
		return time.Time{}, ErrInvalid
	}
	return time.Unix(at, 0), nil
}

// Enrolment issues a one-off code with which an agent of the store enrols; an
// empty agent leaves the name to the host.
func (k *Keyring) Enrolment(store protocol.StoreID, agent protocol.AgentID, valid time.Duration) (code string, until time.Time) {
	until = k.now().Add(valid).Truncate(time.Second)
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	fields := []string{string(store), string(agent), strconv.FormatInt(until.Unix(), 36), base64.RawURLEncoding.EncodeToString(nonce)}
	if k.pin != "" {
		return k.sign(prefixEnrol2, append(fields, k.pin)...), until
	}
	return k.sign(prefixEnrol, fields...), until
}

// CheckEnrolment verifies a code for a store and returns its nonce, which the
// caller spends.
func (k *Keyring) CheckEnrolment(code string, o protocol.Origin) (nonce string, err error) {
	prefix, n := prefixEnrol, 4
	if strings.HasPrefix(code, prefixEnrol2+".") {
		prefix, n = prefixEnrol2, 5
	}
	f, err := k.open(code, prefix, n)
	if err != nil {
		return "", err
	}
	until, err := strconv.ParseInt(f[2], 36, 64)
	switch {
	case err != nil || f[0] != string(o.Store) || (f[1] != "" && f[1] != string(o.Agent)):
		return "", ErrInvalid
	case k.now().Unix() > until:
		return "", ErrExpired
	}
	return f[3], nil
}
