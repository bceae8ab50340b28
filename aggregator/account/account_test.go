package account

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const password = "correct horse battery"

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex // guards at
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

func (c *clock) pass(d time.Duration) { c.mu.Lock(); c.at = c.at.Add(d); c.mu.Unlock() }

func open(t *testing.T, dir string, c *clock) *Book {
	t.Helper()
	b, err := Open(dir, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAccountsOverARestart(t *testing.T) {
	dir, c := t.TempDir(), &clock{at: time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)}
	b := open(t, dir, c)
	for _, u := range []struct {
		name string
		role Role
	}{{"ann", Admin}, {"bob", Viewer}} {
		if err := b.Add(u.name, u.role, password); err != nil {
			t.Fatal(err)
		}
	}
	secret, until, err := b.Login(t.Context(), "bob", password, "10.0.0.1:5")
	if err != nil || until.Sub(c.now()) != sessionLasts {
		t.Fatal(until, err)
	}
	for _, name := range []string{UsersFile, SessionsFile} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || strings.Contains(string(raw), password) || strings.Contains(string(raw), secret) {
			t.Errorf("%s holds a secret, or is not there: %v", name, err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(name, info.Mode(), err)
		}
	}
	b = open(t, dir, c)
	if p, ok := b.Who(secret); !ok || p != (Person{"bob", Viewer, ByPassword}) {
		t.Fatal("the session did not survive a restart:", p)
	}
	if n := b.Online()["bob"]; n != 1 {
		t.Error("sessions of bob:", n)
	}
	c.pass(sessionLasts + time.Second)
	if _, ok := b.Who(secret); ok {
		t.Error("a session outlived its end")
	}
}

// What another program does to the accounts counts a second later, and ends the
// sessions that it ought to.
func TestChangesEndSessions(t *testing.T) {
	for name, change := range map[string]func(*Book) error{
		"password": func(b *Book) error { return b.SetPassword("bob", "another long password") },
		"role":     func(b *Book) error { return b.SetRole("bob", Ops) },
		"removed":  func(b *Book) error { return b.Remove("bob") },
		"removed and made again": func(b *Book) error {
			return errors.Join(b.Remove("bob"), b.Add("bob", Viewer, password))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), &clock{at: time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)}
			b, other := open(t, dir, c), open(t, dir, c)
			if err := errors.Join(b.Add("ann", Admin, password), b.Add("bob", Viewer, password)); err != nil {
				t.Fatal(err)
			}
			secret, _, err := b.Login(t.Context(), "bob", password, "10.0.0.1:5")
			if err != nil {
				t.Fatal(err)
			}
			c.pass(time.Minute)
			if err := change(other); err != nil {
				t.Fatal(err)
			}
			c.pass(lookEvery)
			if p, ok := b.Who(secret); ok {
				t.Errorf("%+v is still in", p)
			}
		})
	}
}

func TestLogoutEndsOneSession(t *testing.T) {
	c := &clock{at: time.Now()}
	b := open(t, t.TempDir(), c)
	one, _, err1 := b.Admit(Person{"eve@example", Ops, ByOIDC})
	two, _, err2 := b.Admit(Person{"eve@example", Ops, ByOIDC})
	if err := errors.Join(err1, err2, b.Logout(one), b.Logout("nobody's")); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Who(one); ok {
		t.Error("the session that was ended stands")
	}
	if p, ok := b.Who(two); !ok || p.Role != Ops || p.By != ByOIDC {
		t.Error("the other session went too:", p)
	}
	for range sessionsPerPerson {
		if _, _, err := b.Admit(Person{"eve@example", Ops, ByOIDC}); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.Online()["eve@example"]; n != sessionsPerPerson {
		t.Error("sessions are not bounded:", n)
	}
}

func TestRefusals(t *testing.T) {
	c := &clock{at: time.Now()}
	b := open(t, t.TempDir(), c)
	if err := b.Add("ann", Admin, password); err != nil {
		t.Fatal(err)
	}
	if err := b.Add("bob", Ops, password); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"again":           {b.Add("ann", Ops, password), ErrExists.Error()},
		"short":           {b.Add("cat", Ops, "short"), "at least 10"},
		"long":            {b.Add("cat", Ops, strings.Repeat("x", passwordBytesMax+1)), "at most"},
		"not UTF-8":       {b.Add("cat", Ops, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "UTF-8"},
		"role":            {b.Add("cat", "king", password), "not viewer, ops or admin"},
		"name":            {b.Add("a b", Ops, password), "use 1 to 64"},
		"unknown":         {b.SetPassword("cat", password), ErrUnknown.Error()},
		"remove unknown":  {b.Remove("cat"), ErrUnknown.Error()},
		"last admin goes": {b.Remove("ann"), ErrLastAdmin.Error()},
		"last admin less": {b.SetRole("ann", Viewer), ErrLastAdmin.Error()},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, c.err, c.want)
		}
	}
	if _, _, err := b.Login(t.Context(), "nobody", password, "x:1"); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if _, _, err := b.Login(t.Context(), "ann", "wrong", "x:1"); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if _, _, err := b.Admit(Person{"x", "king", ByOIDC}); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// A stranger who guesses is stopped, and does not lock out the person.
func TestTriesAreBounded(t *testing.T) {
	now := time.Now()
	tr := newTries()
	n := 0
	for range 50 {
		if tr.take("ann", "10.0.0.1:1234", now) {
			n++
		}
	}
	if n != triesPerName {
		t.Error("tries of one name:", n)
	}
	if !tr.take("ann", "10.0.0.2:99", now) {
		t.Error("ann is locked out everywhere")
	}
	for i := range 100 {
		tr.take(strings.Repeat("n", i%50+1), "10.0.0.3:1", now)
	}
	if tr.take("zoe", "10.0.0.3:2", now) {
		t.Error("an address may try without end")
	}
	if !tr.take("ann", "10.0.0.1:1", now.Add(time.Minute)) {
		t.Error("nothing comes back")
	}
	tr.forgive("ann", "10.0.0.1:7")
	for i := range triesTracked * 2 {
		tr.take("x", string(rune('a'+i%26))+strings.Repeat("y", i/26)+":1", now)
	}
	if len(tr.by) > triesTracked+2 {
		t.Error("tries are remembered without end:", len(tr.by))
	}
}

func TestHashes(t *testing.T) {
	h := hashPassword(password)
	if !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") || h == hashPassword(password) {
		t.Error(h)
	}
	if !samePassword(h, password) || samePassword(h, password+"x") || samePassword(nobody, password) {
		t.Error("comparing goes wrong")
	}
	for _, bad := range []string{"", "$argon2id$", "plain", strings.Replace(h, "m=19456", "m=99999999", 1), strings.Replace(h, "t=2", "t=0", 1), strings.Replace(h, "v=19", "v=16", 1), strings.Replace(h, "argon2id", "argon2i", 1)} {
		if samePassword(bad, password) {
			t.Errorf("%q passes", bad)
		}
	}
}

// Two programs that add accounts at once lose none.
func TestTwoProgramsAtOnce(t *testing.T) {
	dir, c := t.TempDir(), &clock{at: time.Now()}
	var wg sync.WaitGroup
	for _, who := range []string{"a", "b"} {
		b := open(t, dir, c)
		wg.Go(func() {
			for _, n := range []string{"1", "2", "3"} {
				if err := b.Add(who+n, Ops, password); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(open(t, dir, c).Users()); n != 6 {
		t.Error("accounts:", n)
	}
}

func TestABrokenFileLetsNobodyIn(t *testing.T) {
	dir, c := t.TempDir(), &clock{at: time.Now()}
	if err := os.WriteFile(filepath.Join(dir, UsersFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, c.now); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Error(err)
	}
	if _, _, err := open(t, t.TempDir(), c).Login(context.Background(), "", "", ""); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}
