// Package tillwire_test holds the house rules: where code stands, what it may
// import, and how large it may grow. It reads the sources with go/parser, so it
// sees files of every platform, and it promises nothing about behaviour. That
// each rule bites is proven in layout_bite_test.go.
package tillwire_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module           = "tillwire"
	fileLinesMax     = 600
	funcLinesMax     = 70  // lines of a body, as funlen counts them
	testFuncLinesMax = 150 // a table of cases is data
	packageWordsMin  = 12  // a promise and its end do not fit into fewer
)

// rule is one law of the house. check names every place where it is broken.
type rule struct {
	name   string
	remedy string
	check  func(*tree) []finding
}

// finding is one place where a rule is broken. line is 0 for a whole file.
type finding struct {
	path string
	line int
	what string
}

var rules = []rule{
	{
		"direction", "protocol → store → store/* → {agent/*, aggregator/*} → {agent, aggregator} → simulator: " +
			"declare a small interface or func type over protocol or store types and let the assembly wire it",
		importRule(direction),
	},
	{
		"siblings", "siblings meet in agent.go or aggregator.go, through an interface that the consumer declares",
		importRule(siblings),
	},
	{
		"owner rooms", "ask the library's owner room for what is needed; a new library gets a room in ownerRooms and a sentence in its README",
		importRule(ownerRoom),
	},
	{
		"modules", "the product is one module; what is only measured beside stands in simulator/peers, imports nothing of ours, and is imported by nobody",
		modules,
	},
	{
		"pure imports", "pure code takes bytes, times and random numbers as arguments; move the rest into the shell beside it",
		importRule(pureImport),
	},
	{
		"pure statements", "pure code takes `now` as an argument and returns effects; goroutines, channels and timers belong to the shell",
		pureStatements,
	},
	{
		"package comment", "begin doc.go with `// Package name …`: what it promises and where it stops",
		packageComments,
	},
	{
		"file length", "split the file in the order data flows; aim at 150–300 lines",
		fileLengths,
	},
	{
		"function length", "name a step of the function and move it out",
		funcLengths,
	},
	{
		"names", "name a package for what it provides: what two programs share is on the wire (protocol) or on the disk (store)",
		packageNames,
	},
	{
		"top level", "put it into the room that it belongs to; a new top-level folder changes README and this list together",
		topLevel,
	},
	{
		"paths of one machine", "use a path relative to the repository, t.TempDir() or configuration",
		machinePaths,
	},
}

func TestLayout(t *testing.T) {
	house := readTree(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, f := range r.check(house) {
				t.Errorf("%s:%d: %s\n\trule: %s\n\tremedy: %s", f.path, f.line, f.what, r.name, r.remedy)
			}
		})
	}
}

// importRule lifts a judgement of one import into a rule. judge answers "" for
// an import that is in order.
func importRule(judge func(s *source, imported string) string) func(*tree) []finding {
	return func(house *tree) (found []finding) {
		for _, s := range house.sources {
			for _, spec := range s.file.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					continue // the parser has already refused it
				}
				if what := judge(s, imported); what != "" {
					found = append(found, finding{s.path, s.line(spec), what})
				}
			}
		}
		return found
	}
}

// room is the folder of ours that an import path names.
func room(imported string) (string, bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

func within(dir, top string) bool { return dir == top || strings.HasPrefix(dir, top+"/") }

func withinAny(dir string, tops ...string) bool {
	return slices.ContainsFunc(tops, func(top string) bool { return within(dir, top) })
}

func program(dir string) string { top, _, _ := strings.Cut(dir, "/"); return top }

// isCmd tells a main package: agent/cmd/tillwire-agent.
func isCmd(dir string) bool { return slices.Contains(strings.Split(dir, "/"), "cmd") }

// pureRooms hold nothing but pure code. Other rooms keep theirs in *_core.go.
var pureRooms = []string{
	"protocol", "protocol/httphead", "protocol/poslog", "protocol/csvdoc", "protocol/epcis", "protocol/edi", "aggregator/merge", "aggregator/reserve", "aggregator/policy", "aggregator/demand",
	"aggregator/catalog", "aggregator/outcomes", "aggregator/reconcile", "aggregator/orders", "aggregator/channel/gateway", "aggregator/posting",
}

func isPure(s *source) bool {
	return !s.test && (slices.Contains(pureRooms, s.dir) || strings.HasSuffix(s.path, "_core.go"))
}

// layer is the height of a room in the house: imports point down only. A pure
// room lies below the shells of its program, so that they may fold with it.
func layer(dir string) int {
	below := strings.Contains(dir, "/")
	switch top := program(dir); {
	case isCmd(dir):
		return 8
	case top == "deploy": // texts for operators, embedded; it imports nothing of ours
		return 0
	case top == "protocol" && !below:
		return 0
	case top == "protocol":
		return 1
	case top == "store" && !below:
		return 2
	case top == "store":
		return 3
	case slices.Contains(pureRooms, dir):
		return 4
	case (top == "agent" || top == "aggregator") && below:
		return 5
	case top == "agent" || top == "aggregator":
		return 6
	default: // simulator, installers, the root's tests
		return 7
	}
}

func direction(s *source, imported string) string {
	to, ours := room(imported)
	if !ours || to == s.dir {
		return ""
	}
	from, other := program(s.dir), program(to)
	switch {
	case isCmd(to):
		return fmt.Sprintf("%s imports %s: nothing imports a program", s.dir, to)
	case from == "agent" && other == "aggregator", from == "aggregator" && other == "agent":
		return fmt.Sprintf("%s imports %s: agent and aggregator meet on the wire only", s.dir, to)
	case isCmd(s.dir) && !s.test && from != "simulator" && to != from && !withinAny(to, "protocol", "store"):
		return fmt.Sprintf("%s imports %s: a cmd imports its own assembly (%s), protocol and store only", s.dir, to, from)
	case layer(to) > layer(s.dir) && (!s.test || from != other):
		return fmt.Sprintf("%s imports %s, which stands above it", s.dir, to)
	}
	return ""
}

// siblings looks at rooms of one height in one program. A test may use the real
// sibling instead of a mock; a child (store/ledger/bolt) may use its parent.
func siblings(s *source, imported string) string {
	to, ours := room(imported)
	if !ours || s.test || layer(to) != layer(s.dir) || program(to) != program(s.dir) {
		return ""
	}
	if to == s.dir || within(s.dir, to) || isCmd(to) || program(to) == "simulator" {
		return ""
	}
	if within(to, s.dir) {
		return fmt.Sprintf("%s imports its own child %s", s.dir, to)
	}
	return fmt.Sprintf("%s imports its sibling %s", s.dir, to)
}

// ownerRooms says where a third-party library lives; the longest prefix of the
// import path decides. Pure code uses none but those that protocol owns, which do
// no I/O. The simulator measures against bare libraries and tests look from
// outside: both are exempt.
var ownerRooms = map[string][]string{
	"go.etcd.io/bbolt":                    {"store"},
	"github.com/jackc/pgx":                {"store/ledger/postgres"},
	"github.com/eclipse/paho.mqtt.golang": {"agent/link"},
	"github.com/mochi-mqtt/server":        {"aggregator/broker"},
	"github.com/kardianos/service":        {"agent/cmd", "aggregator/cmd"},
	"github.com/klauspost/compress":       {"protocol", "aggregator/backup"},
	"google.golang.org/protobuf":          {"protocol"}, // protowire: the encoding, no reflection
	"github.com/go-json-experiment/json":  {"protocol"},
	"github.com/pelletier/go-toml":        {"store/config", "agent", "aggregator"},
	"github.com/DeRuina/timberjack":       {"agent", "aggregator"},
	"github.com/rs/zerolog":               {"store", "agent", "aggregator"},
	"github.com/VictoriaMetrics/metrics":  {"store", "agent", "aggregator"},
	"golang.org/x/sys":                    {"store", "agent", "aggregator"},
	"golang.org/x/sync":                   {"store", "agent", "aggregator"},
	"golang.org/x/time":                   {"agent", "aggregator"},
	"golang.org/x/net":                    {"agent", "aggregator"},
	"golang.org/x/crypto":                 {"aggregator/account"}, // argon2
	"golang.org/x/oauth2":                 {"aggregator/account"},
	"github.com/coreos/go-oidc":           {"aggregator/account"},
	"golang.org/x/text":                   {"protocol", "agent"},
	"github.com/google/uuid":              {"agent"},
	"github.com/google/go-cmp":            {"store/ledger/ledgertest"}, // the conformance suite is test code that other packages import
	"pgregory.net/rapid":                  {"store/ledger/ledgertest"},
}

func ownerRoom(s *source, imported string) string {
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") || s.test || within(s.dir, "simulator") {
		return ""
	}
	owner := ""
	for library := range ownerRooms {
		if within(imported, library) && len(library) > len(owner) {
			owner = library
		}
	}
	switch {
	case owner == "":
		return fmt.Sprintf("%s has no owner room", imported)
	case isPure(s) && !slices.Contains(ownerRooms[owner], "protocol"):
		return fmt.Sprintf("%s is used in pure code", imported)
	case withinAny(s.dir, ownerRooms[owner]...):
		return ""
	}
	return fmt.Sprintf("%s is used in %s; it lives in %s", imported, s.path, strings.Join(ownerRooms[owner], ", "))
}

// peersModule is the one nested module: libraries that the product is only
// measured beside would make its go.mod three times as long.
const peersModule = "simulator/peers"

var required = regexp.MustCompile(`(?m)^(?:require )?\s*([a-z0-9.-]+\.[a-z]+/\S+) v\S+(?: *// *(indirect))?\s*$`)

func modules(house *tree) (found []finding) {
	var theirs []string // libraries that peersModule requires by itself
	ours := ""
	for _, b := range house.tracked {
		if path.Base(b.path) != "go.mod" {
			continue
		}
		text, _ := b.text()
		switch path.Dir(b.path) {
		case ".":
			ours = string(text)
		case peersModule:
			for _, m := range required.FindAllSubmatch(text, -1) {
				if len(m[2]) == 0 {
					theirs = append(theirs, string(m[1]))
				}
			}
		default:
			found = append(found, finding{b.path, 0, "a module inside the module"})
		}
	}
	for _, library := range theirs {
		if strings.Contains(ours, library+" v") {
			found = append(found, finding{"go.mod", 0, library + " is required by the product"})
		}
	}
	return append(found, importRule(func(s *source, imported string) string {
		_, product := room(imported)
		switch within(s.dir, peersModule) {
		case true:
			if product {
				return fmt.Sprintf("%s imports %s: a peer knows nothing of us", s.dir, imported)
			}
		default:
			if withinAny(imported, append(theirs, module+"/"+peersModule)...) {
				return fmt.Sprintf("%s imports %s", s.dir, imported)
			}
		}
		return ""
	})(house)...)
}

func pureImport(s *source, imported string) string {
	if isPure(s) && withinAny(imported, "os", "net", "sync", "syscall", "context", "log", "math/rand", "crypto/rand", "io/ioutil", "runtime", "unsafe") {
		return fmt.Sprintf("pure code imports %s", imported)
	}
	return ""
}

// readsClock are the names of package time that look at a clock or start one.
var readsClock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}

func pureStatements(house *tree) (found []finding) {
	for _, s := range house.sources {
		if !isPure(s) {
			continue
		}
		clock := s.importedAs("time")
		ast.Inspect(s.file, func(n ast.Node) bool {
			if what := impure(n, clock); what != "" {
				found = append(found, finding{s.path, s.line(n), "pure code has " + what})
			}
			return true
		})
	}
	return found
}

// impure names what is impure about a node itself, not about its children.
func impure(n ast.Node, clock string) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a go statement"
	case *ast.SelectStmt:
		return "a select statement"
	case *ast.SendStmt:
		return "a channel send"
	case *ast.ChanType:
		return "a channel type"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "a channel receive"
		}
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && clock != "" && x.Name == clock && slices.Contains(readsClock, n.Sel.Name) {
			return "time." + n.Sel.Name
		}
	case *ast.ImportSpec:
		if n.Name != nil && n.Name.Name == "." {
			return "a dot import"
		}
	}
	return ""
}

func packageComments(house *tree) (found []finding) {
	said := map[string]string{}
	first := map[string]*source{}
	for _, s := range house.sources {
		if s.test {
			continue
		}
		if first[s.dir] == nil {
			first[s.dir] = s
		}
		if s.file.Doc != nil {
			said[s.dir] += s.file.Doc.Text()
		}
	}
	for dir, s := range first {
		name, text := s.file.Name.Name, said[dir]
		opening := "Package " + name + " "
		switch {
		case text == "":
			found = append(found, finding{s.path, 1, fmt.Sprintf("package %s has no comment", name)})
		case name != "main" && !strings.HasPrefix(text, opening):
			found = append(found, finding{s.path, 1, fmt.Sprintf("the comment of package %s does not begin with %q", name, opening)})
		case len(strings.Fields(text)) < packageWordsMin:
			found = append(found, finding{s.path, 1, fmt.Sprintf("the comment of package %s says too little", name)})
		}
	}
	return found
}

func fileLengths(house *tree) (found []finding) {
	for _, s := range house.sources {
		if s.lines > fileLinesMax && !ast.IsGenerated(s.file) {
			found = append(found, finding{s.path, fileLinesMax, fmt.Sprintf("%d lines; a file ends at %d", s.lines, fileLinesMax)})
		}
	}
	return found
}

func funcLengths(house *tree) (found []finding) {
	for _, s := range house.sources {
		if ast.IsGenerated(s.file) {
			continue
		}
		linesMax := funcLinesMax
		if s.test {
			linesMax = testFuncLinesMax
		}
		measure := func(n ast.Node, name string, body *ast.BlockStmt) {
			if lines := s.fset.Position(body.Rbrace).Line - s.line(body) - 1; lines > linesMax {
				found = append(found, finding{s.path, s.line(n), fmt.Sprintf("func %s has %d lines; a function ends at %d", name, lines, linesMax)})
			}
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				if f.Body != nil {
					measure(f, f.Name.Name, f.Body)
				}
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool { // a func in a package variable hides no length
				if f, ok := n.(*ast.FuncLit); ok {
					measure(f, "literal", f.Body)
				}
				return true
			})
		}
	}
	return found
}

var emptyNames = []string{
	"util", "utils", "common", "types", "helper", "helpers", "internal", "pkg",
	"misc", "shared", "base", "lib", "tools",
}

func packageNames(house *tree) (found []finding) {
	seen := map[string]bool{}
	for _, s := range house.sources {
		names := append(strings.Split(s.dir, "/"), strings.TrimSuffix(s.file.Name.Name, "_test"))
		for _, name := range names {
			if key := s.dir + " " + name; slices.Contains(emptyNames, name) && !seen[key] {
				seen[key] = true
				found = append(found, finding{s.path, 1, fmt.Sprintf("%q says nothing about what is in it", name)})
			}
		}
	}
	return found
}

var topFolders = []string{".ci", "protocol", "store", "agent", "aggregator", "simulator", "deploy", "installers"}

var topSources = []string{"doc.go", "layout_test.go", "layout_bite_test.go", "layout_security_test.go", "layout_tree_test.go"}

func topLevel(house *tree) (found []finding) {
	seen := map[string]bool{}
	for _, b := range house.tracked {
		top, _, folder := strings.Cut(b.path, "/")
		switch {
		case seen[top]:
		case folder && !slices.Contains(topFolders, top):
			seen[top] = true
			found = append(found, finding{b.path, 0, fmt.Sprintf("%s/ is not a room of the house (%s)", top, strings.Join(topFolders, " "))})
		case !folder && path.Ext(top) == ".go" && !slices.Contains(topSources, top):
			found = append(found, finding{b.path, 0, "product code does not stand at the top"})
		}
	}
	return found
}

// machinePath is an absolute path into somebody's home or workplace. What
// stands before the slash tells it from a URL's or a relative path's part.
var machinePath = regexp.MustCompile(`(?:^|[^A-Za-z0-9_.~{}$*)/-])/+(?:home|Users|root|workspace|builds)/[A-Za-z0-9._-]+|[A-Za-z]:\\+Users\\+[A-Za-z0-9._-]+`)

func machinePaths(house *tree) (found []finding) {
	for _, b := range house.tracked {
		text, ok := b.text()
		if !ok || !machinePath.Match(text) {
			continue
		}
		for i, line := range strings.Split(string(text), "\n") {
			if at := machinePath.FindString(line); at != "" {
				found = append(found, finding{b.path, i + 1, fmt.Sprintf("%q exists on one machine only", strings.TrimSpace(at))})
			}
		}
	}
	return found
}
