package account

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

// Role of a person.
type Role string

// Roles, each with what the one before may and more.
const (
	Viewer Role = "viewer" // looks
	Ops    Role = "ops"    // decides: exceptions, drift, reservations, what agents do
	Admin  Role = "admin"  // lets in: enrolment, accounts
)

// Roles lists them, least first.
var Roles = []Role{Viewer, Ops, Admin}

// User is a local account.
type User struct {
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	Hash      string    `json:"hash"`
	CreatedAt time.Time `json:"created_at"`
	ChangedAt time.Time `json:"changed_at"` // sessions from before are void
}

// Errors of changes.
var (
	ErrExists    = errors.New("account exists already")
	ErrUnknown   = errors.New("no such account")
	ErrLastAdmin = errors.New("this is the last account with the role admin; make another first")
)

type userFile struct {
	Users []User `json:"users"`
}

func (f *userFile) find(name string) int {
	return slices.IndexFunc(f.Users, func(u User) bool { return u.Name == name })
}

func checkUser(name string, role Role) error {
	if err := protocol.CheckName(name); err != nil || len(name) > nameBytesMax {
		return fmt.Errorf("name %q: use 1 to %d letters, digits, dots, dashes or underscores", name, nameBytesMax)
	}
	if !slices.Contains(Roles, role) {
		return fmt.Errorf("role %q is not viewer, ops or admin", role)
	}
	return nil
}

// Users lists the accounts by name.
func (b *Book) Users() []User {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refresh()
	out := slices.Clone(b.users.Users)
	slices.SortFunc(out, func(x, y User) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// Add makes an account.
func (b *Book) Add(name string, role Role, password string) error {
	if err := checkUser(name, role); err != nil {
		return err
	}
	if err := CheckPassword(password); err != nil {
		return err
	}
	hash := hashPassword(password)
	return b.change(func(f *userFile, now time.Time) error {
		switch {
		case f.find(name) >= 0:
			return fmt.Errorf("add %s: %w", name, ErrExists)
		case len(f.Users) >= UsersMax:
			return fmt.Errorf("add %s: there are %d accounts, the most there may be; use OpenID Connect for so many", name, UsersMax)
		}
		f.Users = append(f.Users, User{name, role, hash, now, now})
		return nil
	})
}

// SetPassword changes a password and ends the account's sessions.
func (b *Book) SetPassword(name, password string) error {
	if err := CheckPassword(password); err != nil {
		return err
	}
	hash := hashPassword(password)
	return b.edit(name, func(f *userFile, i int) error { f.Users[i].Hash = hash; return nil })
}

// SetRole changes a role and ends the account's sessions.
func (b *Book) SetRole(name string, role Role) error {
	if err := checkUser(name, role); err != nil {
		return err
	}
	return b.edit(name, func(f *userFile, i int) error {
		if role != Admin && f.lastAdmin(i) {
			return fmt.Errorf("change %s: %w", name, ErrLastAdmin)
		}
		f.Users[i].Role = role
		return nil
	})
}

// Remove deletes an account and ends its sessions.
func (b *Book) Remove(name string) error {
	return b.change(func(f *userFile, _ time.Time) error {
		i := f.find(name)
		switch {
		case i < 0:
			return fmt.Errorf("remove %s: %w", name, ErrUnknown)
		case f.lastAdmin(i):
			return fmt.Errorf("remove %s: %w", name, ErrLastAdmin)
		}
		f.Users = slices.Delete(f.Users, i, i+1)
		return nil
	})
}

// lastAdmin tells that nobody could let people in any more without this one.
func (f *userFile) lastAdmin(i int) bool {
	admins := 0
	for k := range f.Users {
		if f.Users[k].Role == Admin {
			admins++
		}
	}
	return f.Users[i].Role == Admin && admins == 1 && len(f.Users) > 1
}

func (b *Book) edit(name string, do func(f *userFile, i int) error) error {
	return b.change(func(f *userFile, now time.Time) error {
		i := f.find(name)
		if i < 0 {
			return fmt.Errorf("change %s: %w", name, ErrUnknown)
		}
		if err := do(f, i); err != nil {
			return err
		}
		f.Users[i].ChangedAt = now
		return nil
	})
}
