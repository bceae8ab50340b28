package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kardianos/service"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc/mgr"

	"tillwire/agent"
)

// platformHidden are the commands that the MSI calls.
func platformHidden() []command {
	return []command{{"service-setup", "[--store S --aggregator URL --token T | --token-file FILE] [--purge]", "what the MSI's tables cannot say about an installed service", "", setupCommand}}
}

// setupCommand completes an installation: it enrols where it is told how and no
// earlier installation did, sets what a service needs, and starts it. It fails,
// and the MSI with it, where one of these does: a silent installation that left a
// shop without its agent would be noticed days later.
func setupCommand(ctx context.Context, in *invocation) error {
	f := bareFlags(in)
	store := f.String("store", "", "`shop`")
	name := f.String("agent", "", "`name` within the shop")
	at := f.String("aggregator", "", "`URL` of the aggregator")
	token := f.String("token", "", "one-off enrolment `token`")
	file := f.String("token-file", "", "`file` whose first line is the token")
	purge := f.Bool("purge", false, "delete journal, configuration and logs")
	if err := f.parse(in); err != nil {
		return err
	}
	if *purge {
		return purgeAll(ctx)
	}
	if err := quoteProgram(); err != nil {
		return err
	}
	if err := afterInstall(); err != nil { // first: what is written next lies in a protected folder
		return err
	}
	path := agent.DefaultConfigPath()
	if *file != "" && *token == "" {
		b, err := os.ReadFile(*file)
		if err != nil {
			return fmt.Errorf("read TOKENFILE: %w", err)
		}
		first, _, _ := strings.Cut(string(b), "\n")
		*token = strings.TrimSpace(first)
	}
	if *token != "" || *store != "" && existing(path) == "" {
		if err := enrolSilently(ctx, in, *at, *token, *store, *name); err != nil {
			return err
		}
	}
	if existing(path) == "" {
		fmt.Fprintln(in.stdout, "not enrolled yet: tillwire-agent enroll, then tillwire-agent start")
		return nil
	}
	if _, err := prepare(path); err != nil {
		return err
	}
	s, err := service.New(idle{}, serviceConfig(path))
	if err != nil {
		return fmt.Errorf("find the service manager: %w", err)
	}
	status, err := s.Status()
	if err != nil {
		return fmt.Errorf("ask for the service: %w", err)
	}
	return control(s, "start", true, status)
}

// quoteProgram writes the service's command line as this program would: a path
// with blanks and without quotes lets C:\Program.exe run in its place.
func quoteProgram() error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	line := windows.ComposeCommandLine(append([]string{exe}, serviceConfig(agent.DefaultConfigPath()).Arguments...))
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("reach the service manager: %w", err)
	}
	defer func() { _ = m.Disconnect() }()
	s, err := m.OpenService(serviceName)
	if err != nil {
		return fmt.Errorf("open service: %w", err)
	}
	defer func() { _ = s.Close() }()
	text, err := windows.UTF16PtrFromString(line)
	if err != nil {
		return fmt.Errorf("write command line: %w", err)
	}
	const same = windows.SERVICE_NO_CHANGE
	if err := windows.ChangeServiceConfig(s.Handle, same, same, same, text, nil, nil, nil, nil, nil, nil); err != nil {
		return fmt.Errorf("set command line: %w", err)
	}
	return nil
}

func enrolSilently(ctx context.Context, in *invocation, at, token, store, name string) error {
	if _, err := url.Parse(at); err != nil || at == "" {
		return fmt.Errorf("%w: AGGREGATOR %q is no URL; STORE, AGGREGATOR and TOKEN or TOKENFILE go together", errUsage, at)
	}
	args := []string{"--aggregator", at, "--token", "-", "--store", store}
	if name != "" {
		args = append(args, "--agent", name)
	}
	sub := *in
	sub.args, sub.stdin = args, strings.NewReader(token+"\n")
	for _, c := range commands() {
		if c.name == "enroll" {
			sub.command = c
		}
	}
	return enrollCommand(ctx, &sub)
}

// purgeWait is how long a service that was told to stop may still hold its files.
const purgeWait = 10 * time.Second

// purgeAll is what an uninstallation with PURGE=yes asks for.
func purgeAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, purgeWait)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	dir := agent.Defaults().DataDir
	for {
		err := removeTree(dir)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("purge: %w", err)
		case <-tick.C:
		}
	}
}

// removeTree removes a folder and all that is in it, one by one: os.RemoveAll asks
// for a kind of removal that Wine and old file systems do not know.
func removeTree(dir string) error {
	var all []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		all = append(all, path)
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, path := range slices.Backward(all) {
		if removeErr := os.Remove(path); removeErr != nil && !errors.Is(removeErr, os.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}
