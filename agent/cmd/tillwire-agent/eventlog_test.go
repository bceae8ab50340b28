package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/agent"
)

// heard is the system's event log.
type heard struct{ lines []string }

func (h *heard) note(kind string, id uint32, text string) error {
	h.lines = append(h.lines, fmt.Sprintf("%s %d %s", kind, id, strings.ReplaceAll(text, "\r\n", " | ")))
	return os.ErrClosed // a full event log must not stop the log
}
func (h *heard) Info(id uint32, text string) error    { return h.note("info", id, text) }
func (h *heard) Warning(id uint32, text string) error { return h.note("warning", id, text) }
func (h *heard) Error(id uint32, text string) error   { return h.note("error", id, text) }

func TestEventLogGetsWhatAPersonShouldSee(t *testing.T) {
	var file bytes.Buffer
	to := &heard{}
	log := zerolog.New(agent.Masked(&mirror{&file, to})).With().Str("store", "S1").Logger()
	log.Info().Uint64("head", 5).Msg("agent ready")
	log.Info().Msg("inbox file taken")
	log.Error().Str("file", "x.csv").Msg("inbox file taken")
	log.Warn().Err(os.ErrPermission).Msg("journal not trimmed")
	log.Warn().Msg("of no known kind\x00")
	log.Error().Msg("of no known kind")
	log.Debug().Msg("agent ready")
	want := []string{
		"info 1 agent ready | head: 5 | store: S1",
		"error 302 inbox file taken | file: x.csv | store: S1",
		"warning 109 journal not trimmed | error: permission denied | store: S1",
		"warning 900 of no known kind | store: S1",
		"error 901 of no known kind | store: S1",
	}
	if d := cmp.Diff(want, to.lines); d != "" {
		t.Error(d)
	}
	if n := strings.Count(file.String(), "\n"); n != 7 {
		t.Errorf("the log has %d lines of 7", n)
	}
	to.lines = nil
	log.Error().Str("much", strings.Repeat("x", 2*eventBytesMax)).Msg("agent ready")
	if len(to.lines) != 1 || len(to.lines[0]) > eventBytesMax+20 {
		t.Errorf("%d events, the first of %d bytes", len(to.lines), len(to.lines[0]))
	}
}

// Every warning and error of the agent has a number of its own, and no two share one.
func TestEventsHaveStableNumbers(t *testing.T) {
	seen := map[uint32]string{}
	for message, id := range eventIDs {
		if seen[id] != "" || id < 1 || id >= eventWarning {
			t.Errorf("%q has the number %d, as %q, or out of 1…%d", message, id, seen[id], eventWarning-1)
		}
		seen[id] = message
	}
	root := filepath.Join("..", "..", "..")
	found := 0
	for _, dir := range []string{"agent", "agent/*", "agent/cmd/tillwire-agent", "store/journal"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			for _, message := range warnings(t, path) {
				found++
				if eventIDs[message] == 0 {
					t.Errorf("%s: %q has no number; give it one in eventlog.go", path, message)
				}
			}
		}
	}
	if found < 25 {
		t.Errorf("only %d warnings found in the sources", found)
	}
	doc, err := os.ReadFile(filepath.Join(root, "installers", "windows", "EVENTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for message, id := range eventIDs {
		if row := fmt.Sprintf("| %d | %s |", id, message); !bytes.Contains(doc, []byte(row)) {
			t.Errorf("EVENTS.md lacks the row %q", row)
		}
	}
}

// warnings are the constant messages that a file logs above info: x.Warn()….Msg("…").
func warnings(t *testing.T, path string) (messages []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 || !slices.Contains(chain(call), "Msg") {
			return true
		}
		lit, ok := call.Args[0].(*ast.BasicLit)
		level := slices.ContainsFunc(chain(call), func(s string) bool { return s == "Warn" || s == "Error" || s == "WithLevel" })
		if sel, is := call.Fun.(*ast.SelectorExpr); ok && level && is && sel.Sel.Name == "Msg" {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			messages = append(messages, text)
		}
		return true
	})
	return messages
}

// chain are the methods called one upon the other.
func chain(e ast.Expr) (names []string) {
	for {
		call, ok := e.(*ast.CallExpr)
		if !ok {
			return names
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return names
		}
		names, e = append(names, sel.Sel.Name), sel.X
	}
}

// The identities of two accounts that every Windows has.
func TestServiceSID(t *testing.T) {
	for name, want := range map[string]string{
		"TrustedInstaller": "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
		"wuauserv":         "S-1-5-80-1014140700-3308905587-3330345912-272242898-93311788",
	} {
		if got := serviceSID(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	t.Log(folderRights())
}
