package aggregator

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"tillwire/aggregator/account"
	"tillwire/protocol"
)

// Bounds of what refused logins write into the audit trail: who tries names by the
// thousand must not push out of it what people decided.
const (
	loginsWindow   = time.Hour
	loginsTold     = 20   // each by itself, in a window
	loginsRemember = 1000 // pairs of name and address that are told apart in a window
)

// refusedLogins coalesces refused logins. In each window the first of a name from an
// address is told at once; what follows is summed up when the window ends.
type refusedLogins struct {
	mu    sync.Mutex // guards all below
	since time.Time
	seen  map[string]bool
	told  int
	more  int
	froms map[string]bool // of those that are summed up
}

// add takes one and tells whether it is to be recorded by itself.
func (l *refusedLogins) add(now time.Time, name, from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.since, l.seen, l.froms = now, map[string]bool{}, map[string]bool{}
	}
	key := name + "\x00" + from
	if !l.seen[key] && l.told < loginsTold {
		l.told++
		l.seen[key] = true
		return true
	}
	l.more++
	if len(l.froms) < loginsRemember {
		l.froms[from] = true
	}
	return false
}

// sum ends a window that is over and says what was not told of it; "": nothing.
func (l *refusedLogins) sum(now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil || now.Sub(l.since) < loginsWindow {
		return ""
	}
	more, froms, since := l.more, len(l.froms), l.since
	l.seen, l.froms, l.told, l.more = nil, nil, 0, 0
	if more == 0 {
		return ""
	}
	return fmt.Sprintf("%d more since %s, from %s", more, since.UTC().Format("15:04 UTC"), addresses(froms))
}

func addresses(n int) string {
	switch {
	case n == 1:
		return "1 address"
	case n >= loginsRemember:
		return fmt.Sprintf("%d addresses or more", n)
	}
	return fmt.Sprintf("%d addresses", n)
}

// away records a login that was refused. What was typed as a name is told only where
// an account is called so: people type passwords into the wrong field.
func (p people) away(ctx context.Context, name, by, from string, err error) {
	known := "somebody unknown"
	for _, u := range p.a.accounts.Users() {
		if u.Name == name {
			known = name
		}
	}
	if by != account.ByPassword {
		known = "somebody unknown"
	}
	if p.a.strays.add(p.a.deps.Now(), known, from) {
		p.d.record(ctx, known, "session.begin", by, from, nil, nil, err)
	}
}

// sumLogins records what refused logins were not told one by one.
func (d desk) sumLogins(ctx context.Context) {
	if s := d.a.strays.sum(d.a.deps.Now()); s != "" {
		d.record(ctx, "several", "session.begin", "refused logins", s, nil, nil, errRefusedLogins)
	}
}

var errRefusedLogins = protocol.NewProblem(http.StatusUnauthorized, "login_refused", "", "summed up for the hour", "")

// withoutQuery cuts from an address what a token may stand in.
func withoutQuery(s string) string {
	s, _, _ = strings.Cut(s, "?")
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	if user, host, ok := strings.Cut(rest, "@"); ok && !strings.Contains(user, "/") {
		rest = host
	}
	return scheme + "://" + rest
}
