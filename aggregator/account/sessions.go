package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ways by which a person was let in.
const (
	ByPassword = "password"
	ByOIDC     = "oidc"
	ByKey      = "key" // an API key of ops or admin
)

// Person is who looks, as a session says.
type Person struct {
	Name string
	Role Role
	By   string
}

// session is kept by the hash of its secret: who reads the file cannot use it.
type session struct {
	Hash  string    `json:"hash"`
	Name  string    `json:"name"`
	By    string    `json:"by"`
	Role  Role      `json:"role,omitempty"` // of people who have no account here
	Made  time.Time `json:"made_at"`
	Until time.Time `json:"until"`
}

type sessionFile struct {
	Sessions []session `json:"sessions"`
}

// Book is the list of accounts and sessions. It is safe for concurrent use.
type Book struct {
	dir    string
	now    func() time.Time
	tries  *tries
	hashes chan struct{}

	mu       sync.Mutex // guards all below
	users    userFile
	looked   time.Time
	seen     time.Time // of the file, by modification time
	size     int64
	sessions sessionFile
	told     map[string]User // what Elsewhere has told; nil before its first call
}

// Open reads the lists of a data folder.
func Open(dir string, now func() time.Time) (*Book, error) {
	b := &Book{dir: dir, now: now, tries: newTries(), hashes: make(chan struct{}, hashesAtOnce)}
	if err := readJSON(b.path(UsersFile), &b.users); err != nil {
		return nil, err
	}
	if err := readJSON(b.path(SessionsFile), &b.sessions); err != nil {
		b.sessions = sessionFile{} // people log in again
	}
	return b, nil
}

// Errors of a login. They do not say whether there is such an account.
var (
	ErrRefused = errors.New("name or password is wrong")
	ErrTooMany = errors.New("too many tries; wait a minute")
)

// Login lets a person in by password. from is the address that asks.
func (b *Book) Login(ctx context.Context, name, password, from string) (secret string, until time.Time, err error) {
	if !b.tries.take(name, from, b.now()) {
		return "", time.Time{}, ErrTooMany
	}
	b.mu.Lock()
	b.refresh()
	hash, known := nobody, false
	if i := b.users.find(name); i >= 0 {
		hash, known = b.users.Users[i].Hash, true
	}
	b.mu.Unlock()
	select {
	case b.hashes <- struct{}{}:
		defer func() { <-b.hashes }()
	case <-ctx.Done():
		return "", time.Time{}, ErrTooMany
	}
	if !samePassword(hash, password) || !known {
		return "", time.Time{}, ErrRefused
	}
	b.tries.forgive(name, from)
	return b.begin(session{Name: name, By: ByPassword})
}

// Admit lets in a person whom somebody else vouches for.
func (b *Book) Admit(p Person) (secret string, until time.Time, err error) {
	if !slices.Contains(Roles, p.Role) || p.Name == "" || len(p.Name) > passwordBytesMax {
		return "", time.Time{}, fmt.Errorf("admit %q as %q: %w", p.Name, p.Role, ErrRefused)
	}
	return b.begin(session{Name: p.Name, By: p.By, Role: p.Role})
}

func (b *Book) begin(s session) (secret string, until time.Time, err error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	secret = base64.RawURLEncoding.EncodeToString(raw)
	s.Hash, s.Made = digest(secret), b.now().UTC()
	s.Until = s.Made.Add(sessionLasts).Truncate(time.Second)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.prune(s.Made)
	own := 0
	for i := len(b.sessions.Sessions) - 1; i >= 0; i-- { // newest last
		if o := &b.sessions.Sessions[i]; o.Name == s.Name && o.By == s.By {
			if own++; own >= sessionsPerPerson {
				b.sessions.Sessions = slices.Delete(b.sessions.Sessions, i, i+1)
			}
		}
	}
	if n := len(b.sessions.Sessions) - sessionsMax + 1; n > 0 {
		b.sessions.Sessions = slices.Delete(b.sessions.Sessions, 0, n)
	}
	b.sessions.Sessions = append(b.sessions.Sessions, s)
	return secret, s.Until, writeJSON(b.path(SessionsFile), &b.sessions)
}

func digest(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

// Who tells whose session it is. Accounts are looked up each time: a role that was
// changed or an account that was removed a second ago counts.
func (b *Book) Who(secret string) (Person, bool) {
	if secret == "" || len(secret) > 128 {
		return Person{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refresh()
	i := b.lookup(digest(secret))
	if i < 0 {
		return Person{}, false
	}
	s := &b.sessions.Sessions[i]
	role := b.standing(s, b.now())
	return Person{s.Name, role, s.By}, role != ""
}

// lookup compares hashes, of which nobody can steer what is compared.
func (b *Book) lookup(hash string) int {
	return slices.IndexFunc(b.sessions.Sessions, func(s session) bool { return s.Hash == hash })
}

// standing is the role that a session still gives, or none.
func (b *Book) standing(s *session, now time.Time) Role {
	if now.After(s.Until) {
		return ""
	}
	if s.By != ByPassword {
		return s.Role
	}
	i := b.users.find(s.Name)
	if i < 0 || s.Made.Before(b.users.Users[i].ChangedAt) {
		return ""
	}
	return b.users.Users[i].Role
}

func (b *Book) prune(now time.Time) {
	b.sessions.Sessions = slices.DeleteFunc(b.sessions.Sessions, func(s session) bool { return b.standing(&s, now) == "" })
}

// Logout ends a session.
func (b *Book) Logout(secret string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.lookup(digest(secret))
	if i < 0 {
		return nil
	}
	b.sessions.Sessions = slices.Delete(b.sessions.Sessions, i, i+1)
	return writeJSON(b.path(SessionsFile), &b.sessions)
}

// Online counts the sessions of each person that stand.
func (b *Book) Online() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refresh()
	out, now := map[string]int{}, b.now()
	for i := range b.sessions.Sessions {
		if s := &b.sessions.Sessions[i]; b.standing(s, now) != "" {
			out[s.Name]++
		}
	}
	return out
}

// address is the part of host:port that tries are counted by.
func address(from string) string {
	if i := strings.LastIndexByte(from, ':'); i > 0 {
		return from[:i]
	}
	return from
}
