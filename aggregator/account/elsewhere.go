package account

// Change of an account that another program made.
type Change struct {
	Action        string // account.add, account.password, account.role, account.remove
	Name          string
	Before, After Role
}

// Elsewhere tells once what others have changed since the last call. What this
// Book changed itself is not among it.
func (b *Book) Elsewhere() (out []Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refresh()
	if b.told == nil { // the first look: what there is was there
		b.tell()
		return nil
	}
	for i := range b.users.Users {
		u := &b.users.Users[i]
		old, was := b.told[u.Name]
		switch {
		case !was:
			out = append(out, Change{"account.add", u.Name, "", u.Role})
		case old.Role != u.Role:
			out = append(out, Change{"account.role", u.Name, old.Role, u.Role})
		case old.Hash != u.Hash:
			out = append(out, Change{"account.password", u.Name, "", ""})
		}
	}
	for name, old := range b.told {
		if b.users.find(name) < 0 {
			out = append(out, Change{"account.remove", name, old.Role, ""})
		}
	}
	if len(out) > 0 {
		b.tell()
	}
	return out
}

// tell takes the accounts as known to everybody. mu is held.
func (b *Book) tell() {
	b.told = make(map[string]User, len(b.users.Users))
	for _, u := range b.users.Users {
		b.told[u.Name] = u
	}
}
