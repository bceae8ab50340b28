package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"tillwire/aggregator"
)

// userCommands keep the people who may log in to the ops UI. They change the data
// folder's file, whether or not the aggregator runs; it looks once a second.
func userCommands() []command {
	const at = "[--data-dir DIR]"
	return []command{
		{
			"user add", "NAME --role viewer|ops|admin [--password-stdin] " + at, "let a person log in to the ops UI; prints the password it made, unless one is given",
			"tillwire-aggregator user add ann --role admin", userAddCommand,
		},
		{"user list", at, "list the accounts of the ops UI", "", userListCommand},
		{"user passwd", "NAME [--password-stdin] " + at, "give an account another password and end its sessions; prints the one it made", "", userPasswdCommand},
		{"user role", "NAME --role viewer|ops|admin " + at, "give an account another role and end its sessions", "", userRoleCommand},
		{"user remove", "NAME " + at, "remove an account and end its sessions", "", userRemoveCommand},
	}
}

// userCall is one command on one account.
type userCall struct {
	name, role, password string
	made                 bool // the password is ours, to be printed
	people               aggregator.People
}

// userArgs reads NAME and flags in any order, and the password where one is wanted.
func userArgs(in *invocation, what string, role, password bool) (*userCall, error) {
	f := newFlags(in, what)
	var r string
	var stdin bool
	if role {
		f.StringVar(&r, "role", "", "viewer looks, ops decides, admin lets in")
	}
	if password {
		f.BoolVar(&stdin, "password-stdin", false, "read the password from standard input, one line, instead of making one")
	}
	var words []string
	for args := in.args; ; {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		if f.NArg() == 0 {
			break
		}
		words, args = append(words, f.Arg(0)), f.Args()[1:]
	}
	if len(words) != 1 {
		return nil, fmt.Errorf("%w: name one account", errUsage)
	}
	if role && r == "" {
		return nil, fmt.Errorf("%w: --role is missing; viewer looks, ops decides, admin lets in", errUsage)
	}
	c := &userCall{name: words[0], role: r}
	conf, err := f.load(in)
	if err != nil {
		return nil, err
	}
	if c.people, err = aggregator.OpenPeople(conf); err != nil {
		return nil, err
	}
	if !password {
		return c, nil
	}
	if c.made = !stdin; c.made {
		c.password = strings.ToLower(rand.Text())
		return c, nil
	}
	line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
	if c.password = strings.TrimRight(line, "\r\n"); c.password == "" {
		return nil, fmt.Errorf("%w: no password came on standard input: %w", errUsage, err)
	}
	return c, nil
}

// tell prints a password that was made, alone, so that scripts can take it.
func (c *userCall) tell(in *invocation, err error) error {
	if err == nil && c.made {
		_, err = fmt.Fprintln(in.stdout, c.password)
	}
	return err
}

func userAddCommand(_ context.Context, in *invocation) error {
	c, err := userArgs(in, "user add", true, true)
	if err != nil {
		return err
	}
	return c.tell(in, c.people.Add(c.name, c.role, c.password))
}

func userPasswdCommand(_ context.Context, in *invocation) error {
	c, err := userArgs(in, "user passwd", false, true)
	if err != nil {
		return err
	}
	return c.tell(in, c.people.SetPassword(c.name, c.password))
}

func userRoleCommand(_ context.Context, in *invocation) error {
	c, err := userArgs(in, "user role", true, false)
	if err != nil {
		return err
	}
	return c.people.SetRole(c.name, c.role)
}

func userRemoveCommand(_ context.Context, in *invocation) error {
	c, err := userArgs(in, "user remove", false, false)
	if err != nil {
		return err
	}
	return c.people.Remove(c.name)
}

func userListCommand(_ context.Context, in *invocation) error {
	conf, err := newFlags(in, "user list").parse(in)
	if err != nil {
		return err
	}
	p, err := aggregator.OpenPeople(conf)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(in.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROLE\tMADE\tCHANGED")
	for _, u := range p.List() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Name, u.Role, u.CreatedAt.Format(time.RFC3339), u.ChangedAt.Format(time.RFC3339))
	}
	return w.Flush()
}
